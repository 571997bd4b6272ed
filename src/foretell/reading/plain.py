"""Plain attention of a few rows over all keys, in pieces that fit a processor's cache.

It is the softmax of scaled scores that most models compute in one fused call; for a few rows the scores can be held,
and then everything that is to be known of them takes a few small products. It knows nothing of models and masks.

    plain = Plain(most_bytes=4 << 20, entropy=False)
    plain.weigh(question, added, counted, runs, factor)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.weighing import Runs, segment_parts, shares_of, written_norms
from foretell.schema import SEGMENTS

__all__ = ["Added", "Plain", "Question", "Weighed", "joined"]

N_SEGMENTS = len(SEGMENTS)
_CACHE_BYTES = 4 << 20
"""Scores of one piece without an accelerator: more than a processor's cache holds would be no faster."""
_SMALL_BYTES = 2 << 20
"""Scores of one layer, below which a product costs less than the calls for it."""
_LEAST_LOGARITHM = -87.0
"""Below it the exponential of a float32 is no normal number, and products with it take a hundred times as long."""
_LEAST_TOTAL, _MOST_TOTAL = 1e-15, 1e15
"""Between them a row's sum of exponentials is as good as that of shifted scores, and so are squares of its parts."""
_SAMPLED = 32
"""One row in so many is looked at for scores whose exponential is no normal number."""


@dataclass(frozen=True, slots=True)
class Question:
    """What plain attention asks its keys in some rows."""

    query: Tensor
    """`(sample, head, row, width)`; neighbouring heads share a head of keys and values."""
    key: Tensor
    """`(sample, key head, key, width)`."""
    value: Tensor | None
    """`(sample, key head, key, value width)`; None where contributions are not asked for."""
    mask: Tensor | None
    """The model's own."""
    causal: bool
    """Without a mask, whether rows see no later key."""
    scale: float
    """Factor of the scores."""
    bias: Tensor | None = None
    """`(sample or 1, head or 1, row, key)` that the model adds to the scores beside its mask."""

    @property
    def n_bytes(self) -> int:
        """What it keeps in memory, with what its keys and values are parts of."""
        parts = (self.key,) if self.value is None else (self.key, self.value)
        storages = {storage.data_ptr(): storage.nbytes() for storage in (one.untyped_storage() for one in parts)}
        return self.query.nbytes + sum(storages.values())

    @property
    def kind(self) -> tuple[object, ...] | None:
        """Small questions of one kind are answered together; None for one that is better answered by itself."""
        n_samples, n_heads, n_rows, _ = self.query.shape
        n_scores = n_samples * n_heads * n_rows * self.key.shape[2]
        if 4 * n_scores > _SMALL_BYTES or self.value is not None or self.bias is not None or n_samples > 1:
            return None
        layout = (self.query.shape, self.key.shape, self.query.dtype, self.query.device)
        return (*layout, id(self.mask), self.causal, self.scale)


def joined(questions: Sequence[Question]) -> Question:
    """Return questions of one kind as one question of as many samples."""
    first = questions[0]
    if len(questions) == 1:
        return first
    return dataclasses.replace(
        first,
        query=torch.cat([one.query for one in questions]),
        key=torch.cat([one.key for one in questions]),
    )


@dataclass(frozen=True)
class Added:
    """What is added to the scores of the last keys."""

    values: Float[Tensor, "*heads row key"]
    """`(sample or 1, head or 1, row, key)`."""
    first: int
    """Key that it begins with."""
    seen: Float[Tensor, "*heads row key"] | None = None
    """Where it only hides keys, 1 for each that is seen and 0 for each that is not."""


@dataclass(frozen=True)
class Weighed:
    """What the weights say, row by row."""

    mass: Float[Tensor, "sample head row segment"]
    entropy: Float[Tensor, "sample head row"] | None
    contribution: Float[Tensor, "sample head row segment"] | None


@dataclass(frozen=True)
class _Piece:
    """Rows that are weighed together: of several samples, or of several heads of one, or some of one head."""

    samples: slice
    groups: slice
    rows: slice
    scores: Float[Tensor, "head row key"]
    """Room for the scores: keys' heads of all samples, and the rows of all heads that share one."""
    weights: Float[Tensor, "head row key"]
    """Room for the weights, which is that for the scores unless both are needed."""
    shape: tuple[int, int, int, int, int]
    """The same room by sample, key head, head that shares it, row and key."""

    @property
    def is_first(self) -> bool:
        """Whether it is the first one of its question."""
        return not (self.samples.start or self.groups.start or self.rows.start)

    def of(self, values: Tensor) -> Tensor:
        """Return its part of `(sample, key head, shared head, row, ...)`; an axis of size 1 stands for all."""
        samples = self.samples if values.shape[0] > 1 else slice(None)
        groups = self.groups if values.shape[1] > 1 else slice(None)
        return values[samples, groups, :, self.rows]


class Plain:
    """Weighs rows, with room for scores that is used again and again.

    Args:
        most_bytes: bound for the scores of one piece (at least one row of a head's group), and for its weights.
        entropy: whether entropies are wanted.
    """

    def __init__(self, *, most_bytes: int, entropy: bool) -> None:
        self._most_bytes = most_bytes
        self._entropy = entropy
        self._shifting = False
        self._room: dict[tuple[torch.device, str], Tensor] = {}
        for name in ("scores", "weights")[: 2 if entropy else 1]:
            # It is there before a pass, so that it is not in the way of what comes and goes in one.
            self._room_for(name, (min(most_bytes, _CACHE_BYTES) // 4,), torch.device("cpu"))
        self._known: tuple[tuple[object, ...], list[_Piece]] = ((), [])
        _make_room_for_products(torch.get_num_threads())

    def weigh(
        self,
        question: Question,
        added: list[Added],
        counted: Float[Tensor, "sample count key"],
        runs: Runs,
        factor: Float[Tensor, "head width width"] | None,
    ) -> Weighed:
        """Return masses, and what else is wanted, of every row.

        Args:
            question: queries, keys and values; everything is computed in float32.
            added: what is added to scores, the mask first of all.
            counted: 1 where a key belongs to a segment, and one row of ones, with which the sum of all weights comes.
            runs: where segments are; used for contributions.
            factor: what each head writes through; None measures its output itself.
        """
        n_samples, n_heads, n_rows, width = question.query.shape
        n_groups, n_keys = question.key.shape[1:3]
        shape = (n_samples, n_groups, n_heads // n_groups, n_rows)
        device = question.query.device
        # An accelerator would have to be waited for to see whether scores need no shift.
        self._shifting |= device.type != "cpu"
        query = question.query.float().view(*shape, width)
        grouped = [_grouped(one, n_groups) for one in added]
        sums = torch.empty((n_samples, N_SEGMENTS + 1, *shape[1:]), device=device)
        surprise = torch.empty(shape, device=device) if self._entropy else None
        contribution = torch.empty((*shape, N_SEGMENTS), device=device) if question.value is not None else None
        for piece in self._pieces(shape, n_keys, device):
            weights = self._weights(query, question, grouped, piece)
            # (sample, segment, key) x (sample, key, head and row): this way round the narrow product is a fast one.
            folded = weights.view(piece.shape[0], -1, n_keys).transpose(1, 2)
            found = torch.bmm(counted[piece.samples], folded)
            sums[piece.samples, :, piece.groups, :, piece.rows] = found.view(piece.shape[0], -1, *piece.shape[1:4])
            place = (piece.samples, piece.groups, slice(None), piece.rows)
            if surprise is not None:
                surprise[place] = piece.scores.mul_(weights).sum(-1).view(piece.shape[:4])
            if contribution is not None:
                contribution[place] = _contribution(question, weights.view(piece.shape), piece, runs, factor)
        total = sums[:, N_SEGMENTS]
        if not self._shifting and not _is_ordinary(total, surprise):
            self._shifting = True
            return self.weigh(question, added, counted, runs, factor)
        return Weighed(
            mass=(sums[:, :N_SEGMENTS] / total[:, None]).movedim(1, -1).flatten(1, 2),
            entropy=None if surprise is None else (total.log() - surprise / total).flatten(1, 2),
            contribution=None if contribution is None else contribution.flatten(1, 2),
        )

    def _weights(self, query: Tensor, question: Question, added: list[Added], piece: _Piece) -> Tensor:
        """Return a piece's weights, up to a factor in every row.

        Where entropies are wanted, their logarithms are left as the scores: what is hidden has a finite one and a
        weight of 0.
        """
        scores = piece.scores
        asked = query[piece.samples, piece.groups, :, piece.rows].reshape(*scores.shape[:2], -1)
        keys = question.key[piece.samples, piece.groups].float().flatten(0, 1).transpose(1, 2)
        torch.baddbmm(scores, asked, keys, beta=0, alpha=question.scale, out=scores)
        if not self._shifting and piece.is_first:
            self._shifting = bool(scores[:, ::_SAMPLED].amin() < _LEAST_LOGARITHM)
        # Of what is hidden an exponential takes long, and without a shift none is needed.
        hiding = [] if self._shifting else [(one.first, one.seen) for one in added if one.seen is not None]
        for one in added:
            if self._shifting or one.seen is None:
                scores.view(piece.shape)[..., one.first :].add_(piece.of(one.values))
        if self._shifting and not self._entropy:
            return torch.softmax(scores, -1, out=piece.weights)
        if self._shifting:
            # What no mask hides but is far below the largest is nothing beside it.
            scores.sub_(scores.amax(-1, keepdim=True)).clamp_min_(_LEAST_LOGARITHM)
        weights = torch.exp(scores, out=piece.weights)
        for first, seen in hiding:
            weights.view(piece.shape)[..., first:].mul_(piece.of(seen))
        return weights

    def _pieces(self, shape: tuple[int, int, int, int], n_keys: int, device: torch.device) -> list[_Piece]:
        """Cut an array of rows into pieces; layers one after the other mostly have the same."""
        identity = (shape, n_keys, device)
        if self._known[0] != identity:
            self._known = (identity, list(self._cut(shape, n_keys, device)))
        return self._known[1]

    def _cut(self, shape: tuple[int, int, int, int], n_keys: int, device: torch.device) -> Iterator[_Piece]:
        n_samples, n_groups, n_shared, n_rows = shape
        n_bytes = min(self._most_bytes, _CACHE_BYTES) if device.type == "cpu" else self._most_bytes
        most = max(1, n_bytes // (4 * n_shared * n_keys))
        rows = _even(n_rows, most)
        groups = _even(n_groups, most // n_rows) if rows == n_rows else 1
        samples = _even(n_samples, most // (n_rows * n_groups)) if groups == n_groups else 1
        for sample, group, row in itertools.product(
            _steps(n_samples, samples), _steps(n_groups, groups), _steps(n_rows, rows)
        ):
            sizes = (sample.stop - sample.start, group.stop - group.start, n_shared, row.stop - row.start, n_keys)
            folded = (sizes[0] * sizes[1], sizes[2] * sizes[3], n_keys)
            scores = self._room_for("scores", folded, device)
            weights = self._room_for("weights", folded, device) if self._entropy else scores
            yield _Piece(sample, group, row, scores, weights, sizes)

    def _room_for(self, name: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
        size = math.prod(shape)
        room = self._room.get((device, name))
        if room is None or len(room) < size:
            # Room outlives the inference mode that it may be made in.
            with torch.inference_mode(mode=False):
                room = self._room[device, name] = torch.empty(size, device=device)
        return room[:size].view(shape)


@functools.cache
def _make_room_for_products(_n_threads: int) -> None:
    """Take products as large as a piece's, once: the library that takes them keeps the room it makes for that.

    Made in the middle of a pass, that room would stand between its large tensors, which cost five times as much.
    """
    n_rows, width, n_keys = 128, 128, _CACHE_BYTES // (4 * 128)
    asked, keys, counted = torch.zeros(1, n_rows, width), torch.zeros(1, n_keys, width), torch.zeros(1, 6, n_keys)
    scores = torch.baddbmm(torch.zeros(1, n_rows, n_keys), asked, keys.transpose(1, 2))
    torch.bmm(counted, scores.transpose(1, 2))
    torch.bmm(scores, keys)


def _is_ordinary(total: Tensor, surprise: Tensor | None) -> bool:
    """Tell whether no sum of exponentials is too small or too large for all its parts to be exact."""
    least, most = torch.aminmax(total)
    # What two masks hide can have a score of minus infinity, and that times a weight of 0 is no number.
    finite = surprise is None or bool(surprise.isfinite().all())
    return finite and bool(least >= _LEAST_TOTAL) and bool(most <= _MOST_TOTAL)


def _even(n: int, most: int) -> int:
    """Return how many of `n` go into one piece, so that pieces of at most so many are about the same."""
    n_pieces = -(-n // max(1, most))
    return -(-n // n_pieces)


def _steps(n: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def _grouped(added: Added, n_groups: int) -> Added:
    """Return it with `(sample or 1, key head or 1, shared or 1, row, key)` for `(sample or 1, head or 1, row, key)`."""
    n_samples, n_heads, n_rows, n_keys = added.values.shape
    groups = 1 if n_heads == 1 else n_groups
    shape = (n_samples, groups, n_heads // groups, n_rows, n_keys)
    return Added(added.values.reshape(shape), added.first, None if added.seen is None else added.seen.reshape(shape))


def _contribution(
    question: Question, weights: Tensor, piece: _Piece, runs: Runs, factor: Tensor | None
) -> Float[Tensor, "sample group shared row segment"]:
    """Return each segment's share of what a piece's heads write."""
    values = question.value[piece.samples, piece.groups] if question.value is not None else weights
    parts = segment_parts(weights, values, runs[piece.samples])
    if factor is not None:
        n_shared = weights.shape[2]
        factor = factor[piece.groups.start * n_shared : piece.groups.stop * n_shared]
    norms = written_norms(parts.flatten(2, 3), factor)
    return shares_of(norms.movedim(1, -1)).view(*weights.shape[:4], N_SEGMENTS)
