"""What was heard of a model: masses, lift, activity and log-probabilities of the generated tokens.

It gathers what single forward passes left behind into arrays, and knows nothing of hooks.

    heard.mass            # (sample, layer, head, segment)
    heard.keep([12, 40])  # only the first 12 and 40 generated tokens count
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.errors import InputError, NotReadableError
from foretell.schema import SEGMENTS

__all__ = ["Heard", "Pass", "Recording"]

N_SEGMENTS = len(SEGMENTS)
GENERATED = SEGMENTS.index("generated")


@dataclass
class Pass:
    """What one forward pass left behind; every tensor's row axis is that of `columns`."""

    start: int
    """Tokens that were in the cache before the pass."""
    width: int
    """Tokens that the pass itself was given."""
    columns: Tensor
    """`(sample, row)` place of each row in its sequence, on the CPU; -1 where a sample has fewer rows."""
    masses: dict[int, Tensor] = field(default_factory=dict)
    """Layer to `(sample, head, row, segment)`."""
    shares: dict[int, Tensor] = field(default_factory=dict)
    """Layer to `(sample, row, segment)`."""
    activities: dict[int, Tensor] = field(default_factory=dict)
    """Layer to `(sample, row, direction)`."""
    logprobs: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Pairs of columns and log-probabilities, both `(sample, some)`."""


@dataclass
class Recording:
    """Everything that was read since the last fresh pass."""

    segments: Int[np.ndarray, "sample token"]
    n_layers: int
    n_directions: int
    model_name: str
    passes: list[Pass] = field(default_factory=list)
    kept: Int[np.ndarray, " sample"] | None = None
    """How many generated tokens of each sample count; None means all that were fed."""

    @property
    def n_columns(self) -> int:
        """Tokens fed so far, prompt included."""
        return max((one.start + one.width for one in self.passes), default=0)

    def codes(self, n_columns: int) -> Int[np.ndarray, "sample column"]:
        """Return the segment code of the first `n_columns` tokens; those beyond the given segments are generated."""
        missing = max(n_columns - self.segments.shape[1], 0)
        return np.pad(self.segments, ((0, 0), (0, missing)), constant_values=GENERATED)[:, :n_columns]


class Heard:
    """What was heard; arrays are built when they are asked for, after the passes they speak of.

    A *row* is a generated token as a query. The token axis has one place per token fed: those of `segments`, then
    those that `generate` added. After `generate` only tokens up to and including the first end of sequence count.
    """

    def __init__(self, recording: Recording, *, finish: Callable[[Tensor], None]) -> None:
        self._recording = recording
        self._feed = finish

    def finish(self, token_ids: Int[Tensor, "sample token"], *, end_ids: Sequence[int] = ()) -> None:
        """Feed the last generated token once more, so that it has a row too, and find where each answer ends.

        `generate` does this by itself inside `listen`; a decoding loop of one's own calls it at its end.

        Args:
            token_ids: prompts and generated tokens, as `generate` returns them.
            end_ids: tokens that end a sequence; what follows the first one in a sample does not count.

        Raises:
            InputError: The block of `listen` has been left.
        """
        self._feed(token_ids)
        width = self._recording.segments.shape[1]
        generated = token_ids[:, width:].detach().cpu().numpy()
        ended = np.isin(generated, list(end_ids))
        self.keep(np.where(ended.any(1), ended.argmax(1) + 1, generated.shape[1]) if generated.shape[1] else None)

    def keep(self, n_generated: Sequence[int] | Int[np.ndarray, " sample"] | None) -> None:
        """Let only the first generated tokens of each sample count.

        Args:
            n_generated: one count per sample, 0 or more; None lets every token count that was fed.

        Raises:
            InputError: There is not one count per sample.
        """
        counts = None if n_generated is None else np.asarray(n_generated, dtype=np.int64)
        n_samples = self._recording.segments.shape[0]
        if counts is not None and (counts.shape != (n_samples,) or (counts < 0).any()):
            raise InputError(f"keep: one count of 0 or more is needed for each of {n_samples} samples")
        self._recording.kept = counts
        self.forget()

    def forget(self) -> None:
        """Drop built arrays, because more was read."""
        for name in ("generated", "layers", "_rows", "mass", "lift", "row_mass", "activity", "logprob"):
            self.__dict__.pop(name, None)

    @cached_property
    def generated(self) -> Bool[np.ndarray, "sample token"]:
        """Which tokens are generated tokens that count."""
        recording = self._recording
        if recording.n_columns < recording.segments.shape[1]:
            raise InputError(
                f"segments tell of {recording.segments.shape[1]} tokens, and the model was given {recording.n_columns}"
            )
        generated = np.asarray(recording.codes(recording.n_columns) == GENERATED)
        if recording.kept is not None:
            generated &= generated.cumsum(1) <= recording.kept[:, None]
        return generated

    @property
    def n_generated(self) -> Int[np.ndarray, " sample"]:
        """Number of generated tokens that count, per sample."""
        return np.asarray(self.generated.sum(1), dtype=np.int64)

    @cached_property
    def layers(self) -> Int[np.ndarray, " layer"]:
        """Block index of each place on the layer axis of `mass`, `row_mass` and `lift`.

        Raises:
            NotReadableError: Rows were asked for, and no attention call was seen.
        """
        found = sorted({layer for one in self._recording.passes for layer in one.masses})
        if not found and self.generated.any():
            raise NotReadableError(
                f"{self._recording.model_name}: none of its blocks looks its attention up in the library's interface"
            )
        return np.array(found, dtype=np.int64)

    @cached_property
    def _rows(
        self,
    ) -> tuple[Float[np.ndarray, "sample layer head row segment"], Float[np.ndarray, "sample layer row segment"]]:
        """Masses and shares of every row that counts; nan beyond a sample's rows."""
        recording, layers, generated = self._recording, self.layers, self.generated
        place = np.where(generated, generated.cumsum(1) - 1, -1)
        n_rows = int(self.n_generated.max(initial=0))
        n_heads = max((mass.shape[1] for one in recording.passes for mass in one.masses.values()), default=0)
        n_samples = len(generated)
        masses = np.full((n_samples, len(layers), n_heads, n_rows, N_SEGMENTS), np.nan, dtype=np.float32)
        shares = np.full((n_samples, len(layers), n_rows, N_SEGMENTS), np.nan, dtype=np.float32)
        for one in recording.passes:
            sample, row, target = _places(one.columns, place)
            for layer, mass in one.masses.items():
                index = int(np.searchsorted(layers, layer))
                values = mass.cpu().numpy()
                masses[sample, index, : values.shape[1], target] = values[sample, :, row]
                shares[sample, index, target] = one.shares[layer].cpu().numpy()[sample, row]
        return masses, shares

    @cached_property
    def mass(self) -> Float[np.ndarray, "sample layer head segment"]:
        """Fraction of each head's attention that lands in each segment, averaged over the rows.

        Undefined:
            nan for a sample without generated tokens, and for heads that a layer does not have.
        """
        return _mean_over_rows(self._rows[0])

    @cached_property
    def row_mass(self) -> Float[np.ndarray, "sample layer head row segment"]:
        """The masses of every row, in the order the tokens were generated; nan beyond a sample's rows."""
        return self._rows[0]

    def mass_after(self, n_tokens: int) -> Float[np.ndarray, "sample layer head segment"]:
        """Return the masses averaged over the first `n_tokens` rows only.

        Undefined:
            nan for a sample that has fewer generated tokens.
        """
        if n_tokens < 1:
            raise InputError(f"mass_after: at least one token is needed, not {n_tokens}")
        mass = _mean_over_rows(self._rows[0][:, :, :, :n_tokens])
        return np.where((self.n_generated >= n_tokens)[:, None, None, None], mass, np.float32(np.nan))

    @cached_property
    def lift(self) -> Float[np.ndarray, "sample layer head segment"]:
        """Mass over the segment's share of the tokens that a row sees, averaged over rows; 1 is uniform attention.

        Undefined:
            nan where no row of the sample sees a token of the segment.
        """
        masses, shares = self._rows
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = masses / np.where(shares > 0, shares, np.nan)[:, :, None]
        return _mean_over_rows(ratio)

    @cached_property
    def activity(self) -> Float[np.ndarray, "sample layer token direction"]:
        """(hidden . direction - mean) / standard deviation, after each block and for each generated token.

        Undefined:
            nan where no generated token counts, and in layers where the direction has no standard deviation.
        """
        recording, generated = self._recording, self.generated
        shape = (*generated.shape, recording.n_layers, recording.n_directions)
        values = np.full(shape, np.nan, dtype=np.float32)
        columns = np.where(generated, np.arange(generated.shape[1]), -1)
        for one in recording.passes:
            sample, row, target = _places(one.columns, columns)
            for layer, activity in one.activities.items():
                values[sample, target, layer] = activity.cpu().numpy()[sample, row]
        return np.ascontiguousarray(values.transpose(0, 2, 1, 3))

    @cached_property
    def logprob(self) -> Float[np.ndarray, "sample token"]:
        """Log-probability (nats) of each generated token given all before it, before any sampling temperature.

        Undefined:
            nan where no generated token counts, where no token stands before it, and where the pass made no
            logits for the position before it.
        """
        generated = self.generated
        values = np.full(generated.shape, np.nan, dtype=np.float32)
        columns = np.where(generated, np.arange(generated.shape[1]), -1)
        for one in self._recording.passes:
            for where, logprob in one.logprobs:
                sample, row, target = _places(where, columns)
                values[sample, target] = logprob.cpu().numpy()[sample, row]
        return values


def _places(columns: Tensor, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sample, row and target of every row in `columns` whose column has a `place`."""
    where = torch.as_tensor(columns).numpy()
    sample, row = np.nonzero(where >= 0)
    column = where[sample, row]
    inside = column < place.shape[1]
    sample, row, column = sample[inside], row[inside], column[inside]
    target = place[sample, column]
    counted = target >= 0
    return sample[counted], row[counted], target[counted]


def _mean_over_rows(values: np.ndarray) -> np.ndarray:
    """Mean over the row axis (second to last) of what is not nan, in double precision; nan if nothing is."""
    counted = ~np.isnan(values)
    total = np.where(counted, values, 0).sum(-2, dtype=np.float64)
    number = counted.sum(-2)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return np.asarray(mean, dtype=np.float32)
