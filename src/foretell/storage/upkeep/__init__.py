"""Looking after runs on disk: checking, repairing and compacting them."""
