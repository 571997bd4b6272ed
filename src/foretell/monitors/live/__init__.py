"""A model is watched while it writes: the numbers of a capture, scores and alarms, a stop."""
