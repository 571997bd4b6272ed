"""Figures drawn by matplotlib, for papers."""
