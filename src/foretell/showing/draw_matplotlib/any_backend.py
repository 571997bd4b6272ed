"""Import matplotlib whatever `MPLBACKEND` says: figures are drawn without a display and need no backend.

A process that a notebook started inherits the notebook's backend. Where that is not installed, matplotlib refuses to be
imported at all. Whoever imports this module has it imported; a backend that there is stays chosen for the user.
"""

from __future__ import annotations

import contextlib
import os
import sys

__all__: list[str] = []

if "matplotlib" not in sys.modules:
    _chosen = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if _chosen is not None:
            os.environ["MPLBACKEND"] = _chosen
    if _chosen:
        with contextlib.suppress(ValueError):
            mpl.rcParams["backend"] = _chosen
