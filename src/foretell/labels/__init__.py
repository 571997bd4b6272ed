"""Labels of what a model did: from verifiers that check its answer, or from files."""
