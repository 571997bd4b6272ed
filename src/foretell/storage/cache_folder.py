"""Where foretell keeps what it made once and can make again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "chosen_cache_folder"]


def cache_folder() -> Path:
    """Return the folder for what can be made again: `FORETELL_CACHE` if set, else the user's cache folder."""
    return chosen_cache_folder() or platformdirs.user_cache_path("foretell")


def chosen_cache_folder() -> Path | None:
    """Return the folder that `FORETELL_CACHE` names; None if it is not set."""
    chosen = os.environ.get("FORETELL_CACHE")
    return Path(chosen).expanduser() if chosen else None
