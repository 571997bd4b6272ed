"""Settings and facts of a study as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foretell.showing.rounding import count_text, number_text

__all__ = ["setting_text"]


def setting_text(value: Any) -> str:
    """Return a setting as text.

    Example:
        >>> setting_text({"folds": 1000, "level": 0.95, "names": None})
        'folds: 1,000, level: 0.950, names: none'
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, int):
        return count_text(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(setting_text(entry) for entry in value) or "none"
    return str(value)
