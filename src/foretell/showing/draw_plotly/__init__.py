"""Figures drawn by plotly, for the report page."""
