"""Plain attention of a few rows over all keys, in pieces that fit a processor's cache.

For a few rows the scores can be held, and then everything that is to be known of them takes a few small products of
the tensor library. It knows nothing of models and masks.

    piecewise = Piecewise(most_bytes=4 << 20, entropy=False)
    piecewise.weigh(question, added, indicators, factor)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.capture.rooms import borrowed
from foretell.reading.signals.contribution import shares_of, written_norms
from foretell.reading.signals.indicators import Indicators
from foretell.reading.signals.parts import Runs, SegmentParts
from foretell.reading.signals.pieces import CACHE_BYTES, Piece, Pieces
from foretell.reading.signals.questions import Added, Question, Weighed
from foretell.schema.tables import SEGMENTS

__all__ = ["Piecewise"]

N_SEGMENTS = len(SEGMENTS)
_LEAST_LOGARITHM = -87.0
"""Below it the exponential of a float32 is no normal number, and products with it take a hundred times as long."""
_LEAST_TOTAL, _MOST_TOTAL = 1e-15, 1e15
"""Between them a row's sum of exponentials is as good as that of shifted scores, and so are squares of its parts."""
_SAMPLED = 8
"""About so many rows are looked at for scores whose exponential is no normal number."""


class Piecewise:
    """Weighs rows, with room for scores that is used again and again.

    Args:
        most_bytes: bound for the scores of one piece (at least one row of a head's group), and for its weights.
        entropy: whether entropies are wanted.
    """

    def __init__(self, *, most_bytes: int, entropy: bool) -> None:
        self._entropy = entropy
        self._shifting = False
        self._pieces = Pieces(most_bytes=most_bytes, n_rooms=2 if entropy else 1)
        self._parts = _PieceParts()
        _make_room_for_products(torch.get_num_threads())

    def close(self) -> None:
        """Give room back to those who come after."""
        self._parts = _PieceParts()
        self._pieces.close()

    def weigh(
        self,
        question: Question,
        added: list[Added],
        indicators: Indicators,
        factor: Float[Tensor, "_ head width width"] | None,
    ) -> Weighed:
        """Return masses, and what else is wanted, of every row; see `Plain`. Everything is computed in float32."""
        n_samples, n_heads, n_rows, width = question.query.shape
        n_groups, n_keys = question.key.shape[1:3]
        shape = (n_samples, n_groups, n_heads // n_groups, n_rows)
        device = question.query.device
        counted = indicators.counted(n_keys, n_samples, device)
        runs = [] if question.value is None else [*indicators.runs(n_keys)] * (n_samples // indicators.n_samples)
        # An accelerator would have to be waited for to see whether scores need no shift.
        self._shifting |= device.type != "cpu"
        query = question.query.float().reshape(*shape, width)
        grouped = [_grouped(one, n_groups) for one in added]
        sums = torch.empty((n_samples, N_SEGMENTS + 1, *shape[1:]), device=device)
        surprise = torch.empty(shape, device=device) if self._entropy else None
        norms = torch.empty((N_SEGMENTS, *shape), device=device) if question.value is not None else None
        # Beside scores, what segments add to a head's output and what is written of it are held.
        least_width = 0 if question.value is None else 2 * N_SEGMENTS * question.value.shape[3]
        n_together = n_samples if factor is None else n_samples // len(factor)
        pieces = self._pieces.of(shape, n_keys, device, n_together=n_together, least_width=least_width)
        parts = self._parts.of(pieces, question, runs)
        for piece, own_parts in zip(pieces, parts, strict=True):
            weights = self._weights(query, question, grouped, piece)
            # (sample, segment, key) x (sample, key, head and row): this way round the narrow product is a fast one.
            folded = weights.view(piece.shape[0], -1, n_keys).transpose(1, 2)
            found = torch.bmm(counted[piece.samples], folded).view(piece.shape[0], -1, *piece.shape[1:4])
            sums[piece.samples, :, piece.groups, :, piece.rows] = found
            if surprise is not None:
                surprise[piece.place] = piece.rooms[0].mul_(weights).sum(-1).view(piece.shape[:4])
            if norms is not None and own_parts is not None:
                norms[:, *piece.place] = _norms(question, own_parts, found[:, N_SEGMENTS], piece, factor)
        total = sums[:, N_SEGMENTS]
        if not self._shifting and not _is_ordinary(total, surprise):
            self._shifting = True
            return self.weigh(question, added, indicators, factor)
        if norms is not None and question.output is not None:
            # What the others leave of a whole is never quite nothing.
            norms.masked_fill_(sums[:, :N_SEGMENTS].movedim(1, 0) == 0, 0.0)
        return Weighed(
            mass=(sums[:, :N_SEGMENTS] / total[:, None]).movedim(1, -1).flatten(1, 2),
            entropy=None if surprise is None else (total.log() - surprise / total).flatten(1, 2),
            contribution=None if norms is None else shares_of(norms).movedim(0, -1).flatten(1, 2),
        )

    def _weights(self, query: Tensor, question: Question, added: list[Added], piece: Piece) -> Tensor:
        """Return a piece's weights, up to a factor in every row.

        Where entropies are wanted, their logarithms are left as the scores: what is hidden has a finite one and a
        weight of 0.
        """
        scores, room = piece.rooms[0], piece.rooms[-1]
        asked = query[piece.samples, piece.groups, :, piece.rows].reshape(*scores.shape[:2], -1)
        keys = question.key[piece.samples, piece.groups].float().flatten(0, 1).transpose(1, 2)
        torch.baddbmm(scores, asked, keys, beta=0, alpha=question.scale, out=scores)
        if not self._shifting and piece.is_first:
            step = -(-scores.shape[1] // _SAMPLED)
            self._shifting = float(scores[:, ::step].amin()) < _LEAST_LOGARITHM
        # Of what is hidden an exponential takes long, and without a shift none is needed.
        hiding = [] if self._shifting else [(one.first, one.seen) for one in added if one.seen is not None]
        for one in added:
            if self._shifting or one.seen is None:
                scores.view(piece.shape)[..., one.first :].add_(piece.of(one.values))
        if self._shifting and not self._entropy:
            return torch.softmax(scores, -1, out=room)
        if self._shifting:
            # What no mask hides but is far below the largest is nothing beside it.
            scores.sub_(scores.amax(-1, keepdim=True)).clamp_min_(_LEAST_LOGARITHM)
        weights = torch.exp(scores, out=room)
        for first, seen in hiding:
            weights.view(piece.shape)[..., first:].mul_(piece.of(seen))
        return weights


@functools.cache
def _make_room_for_products(_n_threads: int) -> None:
    """Take products as large as a piece's, once: the library that takes them keeps the room it makes for that.

    Made in the middle of a pass, that room would stand between its large tensors, which cost five times as much.
    """
    n_rows, width, n_keys = 128, 128, CACHE_BYTES // (4 * 128)
    asked, keys, counted = torch.zeros(1, n_rows, width), torch.zeros(1, n_keys, width), torch.zeros(1, 6, n_keys)
    scores = torch.baddbmm(torch.zeros(1, n_rows, n_keys), asked, keys.transpose(1, 2))
    torch.bmm(counted, scores.transpose(1, 2))
    torch.bmm(scores, keys)


def _is_ordinary(total: Tensor, surprise: Tensor | None) -> bool:
    """Tell whether no sum of exponentials is too small or too large for all its parts to be exact."""
    least, most = map(float, torch.aminmax(total))
    # What two masks hide can have a score of minus infinity, and that times a weight of 0 is no number.
    finite = surprise is None or math.isfinite(surprise.sum())
    return finite and least >= _LEAST_TOTAL and most <= _MOST_TOTAL


def _grouped(added: Added, n_groups: int) -> Added:
    """Return it with `(sample or 1, key head or 1, shared or 1, row, key)` for `(sample or 1, head or 1, row, key)`."""
    n_samples, n_heads, n_rows, n_keys = added.values.shape
    groups = 1 if n_heads == 1 else n_groups
    shape = (n_samples, groups, n_heads // groups, n_rows, n_keys)
    return Added(added.values.reshape(shape), added.first, None if added.seen is None else added.seen.reshape(shape))


class _PieceParts:
    """What takes the products of values in the pieces that rows were cut into last; layers mostly have the same."""

    def __init__(self) -> None:
        self._known: tuple[list[Piece], Runs, int, bool] = ([], [], 0, False)
        self._parts: list[SegmentParts] = []

    def of(self, pieces: list[Piece], question: Question, runs: Runs) -> Sequence[SegmentParts | None]:
        """Return one for each piece; None where no contributions are asked for."""
        if question.value is None:
            return [None] * len(pieces)
        width, whole = question.value.shape[3], question.output is not None
        if self._known[0] is not pieces or self._known[1:] != (runs, width, whole):
            self._known = (pieces, runs, width, whole)
            most = max(math.prod(piece.shape[:4]) for piece in pieces)
            room = borrowed(N_SEGMENTS * most * width, question.value.device)
            self._parts = [
                SegmentParts(
                    piece.rooms[-1].view(piece.shape[0], piece.shape[1], -1, piece.shape[4]),
                    runs[piece.samples],
                    width=width,
                    room=room,
                    whole=whole,
                )
                for piece in pieces
            ]
        return self._parts


def _norms(
    question: Question, parts: SegmentParts, total: Tensor, piece: Piece, factor: Tensor | None
) -> Float[Tensor, "segment sample group shared row"]:
    """Return the norm of what each segment writes through a piece's heads, whose sums of weights are known."""
    n_samples, n_groups, n_shared, n_rows, _ = piece.shape
    values = question.query if question.value is None else question.value[piece.samples, piece.groups]
    heads = slice(piece.groups.start * n_shared, piece.groups.stop * n_shared)
    if question.output is None:
        made = parts.of(values)
    else:
        # The model's weights sum to 1.
        output = question.output[piece.samples, heads, piece.rows]
        made = parts.of(values, output.reshape(n_samples, n_groups, n_shared * n_rows, -1), total.flatten(2))
    made = made.view(N_SEGMENTS, n_samples, n_groups * n_shared, n_rows, -1)
    if factor is not None:
        n_together = len(question.query) // len(factor)
        layers = slice(piece.samples.start // n_together, -(-piece.samples.stop // n_together))
        factor = factor[layers, heads]
    return written_norms(made, factor).view(N_SEGMENTS, *piece.shape[:4])
