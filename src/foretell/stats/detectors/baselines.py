"""Baselines: features that are known without the model's internals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped

from foretell.stats.detectors.features import Features

__all__ = ["ALL_BASELINES", "baselines", "one_hot"]

ALL_BASELINES = "all baselines"

_LENGTHS = ("n_tokens_system", "n_tokens_prompt", "n_tokens_query", "n_tokens_template")
_COLUMNS: tuple[tuple[str, Sequence[str]], ...] = (
    ("segment lengths", _LENGTHS),
    ("answer length", ("n_tokens_generated",)),
    ("log-probability", ("mean_logprob",)),
)


def one_hot(names: Shaped[np.ndarray, " sample"]) -> Float[np.ndarray, "sample name"]:
    """Return one 0 / 1 column per distinct name, in sorted order.

    Example:
        >>> one_hot(np.array(["a", "b", "a"])).tolist()
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    return np.asarray(names[:, None] == np.unique(names)[None, :], dtype=np.float64)


def baselines(
    stratum: Shaped[np.ndarray, " sample"] | None, columns: Mapping[str, Float[np.ndarray, " sample"]]
) -> tuple[list[Features], list[str]]:
    """Return the baselines that the table has columns for, and a note for each missing one.

    They are the kind of task (one column per stratum), the segments' lengths in tokens, the answer's length, the
    answer's mean log-probability, and all of these together. Constant and entirely missing columns are ignored.

    Args:
        stratum: `(sample,)` names of task types; None if there are none.
        columns: `(sample,)` numbers by column name; nan is missing.

    Example:
        >>> found, notes = baselines(None, {"n_tokens_generated": np.array([3.0, 9.0])})
        >>> [features.name for features in found], len(notes)
        (['answer length'], 3)
    """
    found: list[Features] = []
    notes: list[str] = []
    if stratum is not None and len(np.unique(stratum)) > 1:
        found.append(Features("kind of task", "baseline", (one_hot(stratum),)))
    else:
        notes.append("baseline kind of task: there is no column stratum with two or more values")
    for name, wanted in _COLUMNS:
        usable = [columns[column] for column in wanted if column in columns and _varies(columns[column])]
        if usable:
            found.append(Features(name, "baseline", (np.column_stack(usable),)))
        else:
            notes.append(f"baseline {name}: no column {' or '.join(wanted)} with two or more values")
    if len(found) > 1:
        blocks = tuple(block for features in found for block in features.blocks)
        found.append(Features(ALL_BASELINES, "baseline", blocks))
    return found, notes


def _varies(column: Float[np.ndarray, " sample"]) -> bool:
    present = column[np.isfinite(column)]
    return len(present) > 1 and bool(present.min() < present.max())
