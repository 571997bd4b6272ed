"""Monitors: detectors that are saved, have a threshold with a guarantee, and score answers while they are written."""
