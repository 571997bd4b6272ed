"""Directions fitted by reading and judged by statistics."""
