"""Where foretell keeps what it made once and can make again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder for what can be made again: `FORETELL_CACHE` if set, else the user's cache folder."""
    chosen = os.environ.get("FORETELL_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("foretell")
