"""Jobs: what is asked, planned in batches, and done by this process or by many, where a failure is a result."""
