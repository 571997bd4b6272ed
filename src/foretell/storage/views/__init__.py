"""What stored objects show of themselves: text, small tables, arrays and figures."""
