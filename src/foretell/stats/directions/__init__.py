"""Evaluation of directions: separation, random controls, choice of the layer, effect of steering."""
