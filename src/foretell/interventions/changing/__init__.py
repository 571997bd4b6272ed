"""A model that computes differently inside a block: heads replaced or masked, states changed along a direction."""
