"""Every table's columns: name, dtype, range, null rule and meaning."""
