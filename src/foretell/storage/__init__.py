"""Runs and surfaces on disk, written atomically."""
