"""Detectors and baselines: one score per sample, evaluated on held-out groups."""
