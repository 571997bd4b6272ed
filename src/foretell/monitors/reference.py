"""What a monitor keeps of the answers it was made from, so that new ones can be compared with them.

One answer of every calibration group, which had no part in the score, as a few dozen numbers; and the hashes of the
names of all groups, so that groups the monitor has seen are not taken for new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt64

from foretell.monitors.monitor_columns import Columns
from foretell.monitors.run_columns import Moments
from foretell.schema.tables import MASSES

__all__ = ["Reference", "components_of", "drawn_answers", "group_hashes", "names_of", "profiles"]

_COMPONENTS = 3
"""Principal components that stand for the hidden states of a layer."""
_MOST = 500
"""Most groups of which an answer is kept."""


@dataclass(frozen=True)
class Reference:
    """What is kept of the answers a monitor was made from."""

    names: tuple[str, ...]
    """Of the numbers that are compared: the monitor's columns, with principal components in place of hidden states, the
    number of tokens, and the highest score."""
    values: Float32[np.ndarray, "answer number"]
    """Of one answer of each calibration group, at its last moment; nan is missing."""
    components: Float32[np.ndarray, "layer component width"]
    """Principal components of the hidden states of training answers, by layer of the monitor."""
    training_groups: UInt64[np.ndarray, " training"]
    """Hashes of the names of the groups that the score was fitted on, in order."""
    calibration_groups: UInt64[np.ndarray, " calibration"]
    """Those of the groups that the threshold was found on."""

    def has_seen(self, groups: Sequence[str], *, only_training: bool = False) -> Bool[np.ndarray, " group"]:
        """Return which groups the monitor was made from.

        Args:
            groups: Names.
            only_training: Leave those for the threshold out.
        """
        known = self.training_groups
        if not only_training:
            known = np.concatenate([known, self.calibration_groups])
        return np.asarray(np.isin(group_hashes(groups), known))


def group_hashes(names: Sequence[str]) -> UInt64[np.ndarray, " group"]:
    """Return a hash of each name."""
    found = (sha256(name.encode("utf-8", "surrogatepass")).digest()[:8] for name in names)
    return np.array([int.from_bytes(one, "big") for one in found], dtype=np.uint64)


def drawn_answers(
    ids: Sequence[str], group: Int[np.ndarray, " sample"], *, most: int | None = _MOST
) -> Int[np.ndarray, " group"]:
    """Return one answer of each group, drawn by a hash of its id, so that large groups weigh no more than small ones.

    Args:
        ids: Of the answers.
        group: Codes of their groups.
        most: Most groups, drawn in the same way; None: all.
    """
    order = np.argsort(group_hashes(ids), kind="stable")
    first = np.sort(np.unique(group[order], return_index=True)[1])[:most]
    return np.sort(order[first])


def components_of(
    columns: Columns, matrix: Float[np.ndarray, "answer column"]
) -> Float32[np.ndarray, "layer component width"]:
    """Return the first principal components of each layer's hidden states; zeros where there are too few answers.

    Args:
        columns: What the monitor looks at.
        matrix: Columns of training answers at their last moment.
    """
    found = np.zeros((len(columns.layers), _COMPONENTS, columns.width), dtype=np.float32)
    for place, block in enumerate(_layer_blocks(columns)):
        states = matrix[:, block]
        states = states[np.isfinite(states).all(axis=1)]
        if len(states) > _COMPONENTS:
            rows = np.linalg.svd(states - states.mean(axis=0), full_matrices=False)[2][:_COMPONENTS]
            found[place, : len(rows)] = rows
    return found


def names_of(columns: Columns) -> tuple[str, ...]:
    """Return the names of the numbers that are compared, in order."""
    return (
        "score",
        "number of tokens",
        *(f"{mass} of layer {layer}, head {head}" for layer, head in columns.heads for mass in MASSES),
        *(f"hidden states of layer {one}, component {k + 1}" for one in columns.layers for k in range(_COMPONENTS)),
        *(
            f"activity of {name} at layer {layer}, {how}"
            for name, layer in columns.activity
            for how in ("mean", "last")
        ),
        *(("mean log-probability", "least log-probability") if columns.confidence else ()),
    )


def profiles(
    columns: Columns,
    components: Float32[np.ndarray, "layer component width"],
    rows: Moments,
    matrix: Float[np.ndarray, "row column"],
    score: Float[np.ndarray, " row"],
) -> Float32[np.ndarray, "sample number"]:
    """Return the numbers of every answer, in the order of `names_of`.

    Args:
        columns: What the monitor looks at.
        components: From `components_of`.
        rows: Moments of the answers, by answer; every answer has one.
        matrix: The monitor's columns at them.
        score: Its score at them.
    """
    last = rows.last
    highest = np.full(len(last), -np.inf)
    np.fmax.at(highest, rows.sample, score)
    end = matrix[last]
    size = columns.sizes
    heads, rest = size["attention"], size["attention"] + columns.width * len(columns.layers)
    states = [end[:, block] @ part.T for block, part in zip(_layer_blocks(columns), components, strict=True)]
    more = end[:, rest : rest + size["activity"] + size["confidence"]]
    parts = [highest[:, None], rows.n_generated[last][:, None], end[:, :heads], *states, more]
    found = np.concatenate(parts, axis=1).astype(np.float32)
    found[np.isneginf(found)] = np.nan
    return found


def _layer_blocks(columns: Columns) -> Iterator[slice]:
    """Yield the columns of each layer's hidden states."""
    first = columns.sizes["attention"]
    for place in range(len(columns.layers)):
        yield slice(first + place * columns.width, first + (place + 1) * columns.width)
