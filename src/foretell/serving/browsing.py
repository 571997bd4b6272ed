"""What lies in the folder: a run's samples in pages, one sample to be asked again, and reports as they are.

page = samples_of(run, first=0)
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from foretell.errors import InputError, RunError
from foretell.serving.found_files import FoundFile
from foretell.serving.request_bounds import RefusedError
from foretell.storage.runs import Run, open_run

__all__ = ["ROWS", "opened_run", "sample_of", "samples_of"]

ROWS = 50
"""Samples of one page."""
_COLUMNS = ("id", "dataset", "behaviour", "behavior_label", "reason", "answer", "n_tokens_generated", "messages")
_SHORT = 300
"""Characters of a text in a list."""


def opened_run(named: FoundFile) -> Run:
    """Return the run of an entry of the catalogue.

    Raises:
        RefusedError: It is no longer there, or damaged.
    """
    try:
        return open_run(named.checked())
    except (InputError, RunError, OSError) as error:
        raise RefusedError(404, f"{named.name}: cannot be opened: {error}") from error


def samples_of(run: Run, first: int, search: str = "") -> dict[str, Any]:
    """Return one page of a run's samples, with what is said of the whole.

    Args:
        run: An opened run.
        first: Samples before the page.
        search: Only samples whose id, question or answer holds this text, whatever its case.
    """
    frame = run.sample_columns(list(_COLUMNS))
    n_samples = frame.height
    if search:
        texts = [pl.col(name).fill_null("").str.to_lowercase() for name in ("id", "answer", "messages")]
        frame = frame.filter(pl.any_horizontal(*(text.str.contains(search.lower(), literal=True) for text in texts)))
    rows = frame.slice(first, ROWS).to_dicts()
    return {
        "model": run.job.get("model"),
        "n_samples": n_samples,
        "n_found": frame.height,
        "first": first,
        "samples": [_row(row) for row in rows],
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    messages = json.loads(row.pop("messages"))
    question = messages[-1]["content"] if messages else ""
    answer = row.pop("answer")
    return row | {"question": question[:_SHORT], "answer": None if answer is None else answer[:_SHORT]}


def sample_of(run: Run, name: str) -> dict[str, Any]:
    """Return one sample with its whole messages and answer, as a question is asked with.

    Raises:
        RefusedError: The run has no sample of that id.
    """
    frame = run.sample_columns(["id", "messages", "answer", "answer_token_ids", "behavior_label"])
    found = frame.filter(pl.col("id") == name).to_dicts()
    if not found:
        raise RefusedError(404, "the run has no such sample")
    row = found[0]
    return row | {"messages": json.loads(row["messages"])}
