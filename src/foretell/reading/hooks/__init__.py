"""Where a model's forward pass can be observed: attention, residual stream, output projection."""
