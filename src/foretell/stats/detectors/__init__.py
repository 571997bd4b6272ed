"""Detectors: one score per sample, judged on held-out groups beside baselines."""
