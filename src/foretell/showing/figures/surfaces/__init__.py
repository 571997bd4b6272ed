"""Figures of activity surfaces: what is drawn, from which side, and bars where a surface is small."""
