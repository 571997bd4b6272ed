"""Figures as plain data, independent of the plotting library."""
