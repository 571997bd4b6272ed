"""Directions: contrast pairs, estimators, cross-validation, steering and activity surfaces."""
