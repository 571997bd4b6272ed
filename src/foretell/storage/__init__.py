"""Runs and surfaces on disk, written whole or not at all."""
