"""Conversations: one sample each, from files of any kind or built in."""
