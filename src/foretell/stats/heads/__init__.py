"""One statistic per layer and head, with corrections for testing many."""
