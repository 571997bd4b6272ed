"""Loading a model, naming its weights, and checking that it can be read exactly."""
