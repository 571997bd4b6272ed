"""What each segment adds to the outputs of attention heads: their weights applied to the values of its keys only.

It is given weights and values, and knows nothing of how a model computes them.

    parts = SegmentParts(weights, runs_of(codes), width=values.shape[3])
    parts.of(values)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.schema.tables import SEGMENTS

__all__ = ["Run", "Runs", "SegmentParts", "longest_segment", "runs_of"]

N_SEGMENTS = len(SEGMENTS)
_LONGEST_RUN = 8192
"""Keys; for longer products the library that takes them keeps more room of its own, which is never given back."""
_WORTH_LEAVING = 256
"""Keys; the product of fewer costs no more than what it takes to find out what others leave."""


@dataclass(frozen=True)
class Run:
    """Neighbouring keys of one segment."""

    segment: int
    keys: slice


Runs: TypeAlias = Sequence[Sequence[Run]]
"""The runs of every sample."""


def runs_of(codes: Tensor) -> list[list[Run]]:
    """Return each sample's neighbouring keys of one segment as runs of bounded length; padding is in none.

    Samples with the same segments have the very same runs.
    """
    known: dict[bytes, list[Run]] = {}
    runs = []
    for row in codes.cpu().numpy():
        if row.tobytes() in known:
            runs.append(known[row.tobytes()])
            continue
        changes = (np.flatnonzero(np.diff(row)) + 1).tolist()
        edges = sorted({0, *changes, *range(0, len(row), _LONGEST_RUN), len(row)})
        pairs = itertools.pairwise(edges)
        named = ((int(row[start]), slice(start, stop)) for start, stop in pairs if stop > start)
        known[row.tobytes()] = [Run(segment, keys) for segment, keys in named if segment >= 0]
        runs.append(known[row.tobytes()])
    return runs


@dataclass(frozen=True, slots=True)
class _Product:
    """Weights of one run, and where what they make of its values is added."""

    weights: Float[Tensor, "head row key"]
    keys: slice
    part: Float[Tensor, "head row width"]
    is_first: bool
    """Whether nothing of the segment was there before."""


@dataclass(frozen=True, slots=True)
class _Alike:
    """Samples that have the same runs."""

    samples: slice
    products: list[_Product]
    begun: list[Tensor]
    """Parts that products make, `(sample, group, row, width)` each."""
    empty: list[Tensor]
    """Parts of segments without keys."""
    left: Tensor | None
    """The part that the others leave of the whole."""


class SegmentParts:
    """Takes the products for weights that stand in the same place again and again.

    Args:
        weights: of chosen rows, in groups of heads that share values.
        runs: where the segments are; neighbours with the very same ones take one product.
        width: of a value.
        room: where parts are put; made where it is None.
        whole: whether heads' outputs will be given too: then a long segment's part is what the others leave of them.
    """

    def __init__(
        self,
        weights: Float[Tensor, "sample group row key"],
        runs: Runs,
        *,
        width: int,
        room: Float[Tensor, " number"] | None = None,
        whole: bool = False,
    ) -> None:
        shape = (N_SEGMENTS, *weights.shape[:3], width)
        size = torch.Size(shape).numel()
        self._parts = (weights.new_empty(size) if room is None else room[:size]).view(shape)
        self._alike = list(self._of_alike(weights, runs, whole=whole))

    def of(
        self,
        values: Float[Tensor, "sample group key width"],
        output: Float[Tensor, "sample group row width"] | None = None,
        total: Float[Tensor, "sample group row"] | None = None,
    ) -> Float[Tensor, "segment sample group row width"]:
        """Return the parts, which stand in the same place every time; their sum is each head's output.

        Args:
            values: as the model attends to them.
            output: what heads returned, if that was announced.
            total: sum of each row's weights, which it is to be taken times.
        """
        for alike in self._alike:
            own = values[alike.samples].float().flatten(0, 1)
            for one in alike.products:
                beta = 0 if one.is_first else 1
                torch.baddbmm(one.part, one.weights, own[:, one.keys], beta=beta, out=one.part)
            for part in alike.empty:
                part.zero_()
            if alike.left is not None and output is not None and total is not None:
                torch.mul(output[alike.samples], total[alike.samples, ..., None], out=alike.left)
                for part in alike.begun:
                    alike.left.sub_(part)
        return self._parts

    def _of_alike(self, weights: Tensor, runs: Runs, *, whole: bool) -> Iterator[_Alike]:
        first = 0
        for _, same in itertools.groupby(runs, key=id):
            alike = list(same)
            samples = slice(first, first + len(alike))
            first = samples.stop
            left = longest_segment(alike[0], weights.shape[3]) if whole else None
            products: list[_Product] = []
            begun: set[int] = set()
            for run in alike[0]:
                if run.segment != left:
                    part = self._parts[run.segment, samples].flatten(0, 1)
                    own = weights[samples, :, :, run.keys].flatten(0, 1)
                    products.append(_Product(own, run.keys, part, run.segment not in begun))
                    begun.add(run.segment)
            empty = set(range(N_SEGMENTS)) - begun - {left}
            yield _Alike(
                samples,
                products,
                [self._parts[segment, samples] for segment in sorted(begun)],
                [self._parts[segment, samples] for segment in sorted(empty)],
                None if left is None else self._parts[left, samples],
            )


def longest_segment(runs: Sequence[Run], n_keys: int) -> int | None:
    """Return the segment of most keys, if its part is worth being what the others leave of the whole.

    It is not where it is short, and cannot be where some key is in no segment.
    """
    counts = [0] * N_SEGMENTS
    for run in runs:
        counts[run.segment] += run.keys.stop - run.keys.start
    most = max(counts)
    return counts.index(most) if sum(counts) == n_keys and most >= _WORTH_LEAVING else None
