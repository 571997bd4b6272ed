"""Showing: figures as plain data, drawn twice, and the report page. Computes no statistic."""
