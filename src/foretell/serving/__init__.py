"""A local page on which a model answers and is read while it does; reachable from this machine alone."""
