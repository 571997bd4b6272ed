"""A bar with rate and time left, on a terminal and in a notebook.

with progress_bar(total=len(samples), done=n_done, desc="reading", unit="sample") as bar:
    bar.update()
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(
    work: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str,
    total: int | None = None,
    done: int = 0,
    unit_scale: bool = False,
    progress: bool | None = None,
) -> Any:
    """Return a bar of tqdm; it counts from what was done before, which does not enter its rate.

    Args:
        work: What is gone through; None: the bar is updated by hand.
        total: Of everything, what was done before included; None: the length of the work.
        done: Before.
        desc: What is done.
        unit: What is counted.
        unit_scale: Count in thousands and millions.
        progress: Show it; None: on a terminal and in a notebook only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without widgets gets the bar of a terminal
        from tqdm.autonotebook import tqdm
    if progress is None:
        progress = sys.stderr.isatty() or "ipykernel" in sys.modules
    options: dict[str, Any] = {"desc": desc, "unit": unit, "unit_scale": unit_scale, "mininterval": 0.5}
    return tqdm(work, total=total, initial=done, disable=not progress, **options)
