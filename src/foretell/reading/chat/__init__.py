"""Conversations as tokens, each in exactly one segment."""
