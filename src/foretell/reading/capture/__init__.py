"""Listening to a model: which pass reads which token, and the arrays that come of it."""
