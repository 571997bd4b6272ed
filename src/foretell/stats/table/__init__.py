"""The table of a study: read, joined with labels, cleaned and made dense."""
