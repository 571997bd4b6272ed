"""Signals of a run's samples after so many generated tokens, as families of columns."""
