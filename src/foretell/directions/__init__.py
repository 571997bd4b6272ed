"""Fitting and evaluating directions: combines `reading` and `stats`."""
