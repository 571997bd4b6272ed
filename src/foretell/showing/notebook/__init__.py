"""What objects show at a prompt and in a notebook: text, small tables, and figures of either library."""
