"""Figures and the report page; no statistic is computed here."""
