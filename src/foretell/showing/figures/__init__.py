"""Every figure as plain data, before anything is drawn."""
