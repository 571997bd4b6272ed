"""What passes left behind, gathered by sample and layer: which tokens count, their rows, and means over them.

It is the arithmetic under `Heard`, which says what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.accumulators import mean_of
from foretell.reading.capture.recording import GENERATED, Pass, Recording

__all__ = ["Gathered", "places"]


class Gathered:
    """Rows and means of a recording, over the generated tokens that count."""

    def __init__(self, recording: Recording, *, settle: Callable[[], None]) -> None:
        self._recording = recording
        self._settle = settle

    @property
    def _passes(self) -> list[Pass]:
        """All passes, after what waited to be read was read."""
        self._settle()
        return self._recording.passes

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
        found = sorted({layer for one in self._passes for layer in one.layers})
        if not found and self.generated.any():
            raise NotReadableError(
                f"{self._recording.model_name}: none of its blocks looks its attention up in the library's interface"
            )
        return np.array(found, dtype=np.int64)

    @cached_property
    def n_heads(self) -> int:
        """Most heads that a layer has."""
        kept = [rows.shape[1] for one in self._passes for rows in one.readings.get("mass", {}).values()]
        added_up = [tally.total.shape[2] for one in self._passes for tally in one.tallies.get("mass", [])]
        return max((*kept, *added_up), default=0)

    def _of_layer(self, quantity: str, layer: int) -> Float[np.ndarray, "sample head row value"]:
        """Rows of one layer that count; nan beyond a sample's rows."""
        if quantity == "lift":
            shares = self._of_layer("share", layer)[:, :1]
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(self._of_layer("mass", layer) / np.where(shares > 0, shares, np.nan))
        generated = self.generated
        place = np.where(generated, generated.cumsum(1) - 1, -1)
        found: Float[np.ndarray, "sample head row value"] | None = None
        for one in self._passes:
            values = one.readings.get(quantity, {}).get(layer)
            if values is None:
                continue
            sample, row, target = places(one.columns, place)
            if found is None:
                n_rows = int(self.n_generated.max(initial=0))
                shape = (len(generated), self.n_heads, n_rows, values.shape[3])
                found = np.full(shape, np.nan, dtype=np.float32)
            found[sample, : values.shape[1], target] = values.float().cpu().numpy()[sample, :, row]
        return np.zeros((len(generated), self.n_heads, 0, 1), dtype=np.float32) if found is None else found

    def _mean(self, quantity: str, n_values: int, n_tokens: int | None = None) -> np.ndarray:
        """Mean over the rows, or over the first `n_tokens` of samples that have as many; nan where there are none."""
        recording, layers = self._recording, self.layers
        if recording.tallied and n_tokens is not None and n_tokens & (n_tokens - 1):
            raise InputError(f"{n_tokens} tokens: single rows were not kept, only sums over 1, 2, 4, 8, ... tokens")
        means = np.full((len(self.generated), len(layers), self.n_heads, n_values), np.nan, dtype=np.float32)
        if recording.tallied:
            tallies = [tally for one in self._passes for tally in one.tallies.get(quantity, [])]
            mean = mean_of(tallies, layers.tolist(), self.n_heads, n_tokens)
            if mean is not None:
                means[:] = mean
        else:
            for place, layer in enumerate(layers):
                mean = _mean_over_rows(self._of_layer(quantity, int(layer))[:, :, :n_tokens])
                means[:, place, : mean.shape[1]] = mean
        if n_tokens is not None:
            means[self.n_generated < n_tokens] = np.nan
        return means

    def _of_tokens(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Float[np.ndarray, "sample token"]:
        generated = self.generated
        values = np.full(generated.shape, np.nan, dtype=np.float32)
        columns = np.where(generated, np.arange(generated.shape[1]), -1)
        for where, numbers in pairs:
            sample, row, target = places(where, columns)
            values[sample, target] = numbers.cpu().numpy()[sample, row]
        return values


def places(columns: Tensor, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
