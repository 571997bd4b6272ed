"""The table of a study: reading, joining with labels, cleaning, dense arrays."""
