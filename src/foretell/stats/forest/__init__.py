"""The random forest and threshold rule of the source study, with row and grouped splits."""
