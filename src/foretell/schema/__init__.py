"""Columns of all tables: name, dtype, range, null rule and meaning."""
