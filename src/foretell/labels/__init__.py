"""Labels of answers, from verifiers or from files."""
