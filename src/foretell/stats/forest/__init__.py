"""The source's random forest and threshold rule, beside how they must be judged."""
