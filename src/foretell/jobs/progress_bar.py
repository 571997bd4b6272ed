"""A bar with rate and time left, on a terminal and in a notebook.

with progress_bar(total=len(samples), done=n_done, desc="reading", unit="sample") as bar:
    bar.update()
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(*, total: int, done: int = 0, desc: str, unit: str, progress: bool | None = None) -> Any:
    """Return a bar of tqdm; it counts from what was done before, which does not enter its rate.

    Args:
        total: Of everything, what was done before included.
        done: Before.
        desc: What is done.
        unit: What is counted.
        progress: Show it; None: on a terminal and in a notebook only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without widgets gets the bar of a terminal
        from tqdm.autonotebook import tqdm
    if progress is None:
        progress = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(total=total, initial=done, desc=desc, unit=unit, disable=not progress, mininterval=0.5)
