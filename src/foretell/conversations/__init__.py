"""Conversations, read from files or built in."""
