"""Reading: what happens inside a model while it answers. Needs torch and transformers, knows no statistics."""
