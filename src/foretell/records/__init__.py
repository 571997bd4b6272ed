"""One reader of records for tables, labels, conversations and pairs: files of every kind, data frames, plain Python."""
