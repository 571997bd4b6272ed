"""Rows of a recording that count, and means over them, as arrays.

rows = CountedRows(recording, block)
rows.generated, rows.layers
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.recording import GENERATED, Recording

__all__ = ["CountedRows", "OpenBlock"]

_MOST_PADDING = 1e-3
"""Mass of one row on padding that rounding does not explain, also in bfloat16."""


@runtime_checkable
class OpenBlock(Protocol):
    """What a capture needs while its block is open; it holds nothing of the model afterwards."""

    def flush(self) -> None:
        """Read what is deferred."""

    def finish(self, token_ids: Tensor) -> None:
        """Feed the last tokens that no pass has seen."""


class CountedRows:
    """The generated tokens that count, and what was recorded of them."""

    def __init__(self, recording: Recording, block: OpenBlock) -> None:
        self._recording = recording
        self._block: OpenBlock | None = block

    @cached_property
    def generated(self) -> Bool[np.ndarray, "sample token"]:
        """Which tokens are generated tokens that count.

        Raises:
            InputError: Nothing was read, or not all of it, or rows attend to padding.
        """
        if self._block is not None:
            self._block.flush()
        recording = self._recording
        n_columns, n_given = recording.n_columns, recording.segments.shape[1]
        if not n_columns:
            raise InputError(
                "nothing was read: no pass of this model was finished inside the block, in its own thread or coroutine "
                "(start a thread under contextvars.copy_context() to have its passes read)"
            )
        if n_columns < n_given:
            raise InputError(f"segments are for {n_given} tokens, and the model was given {n_columns}")
        every = np.asarray(recording.codes(n_columns) == GENERATED)
        if not every.any():
            raise InputError("segments have no generated token (code 4), and no token was generated: nothing was read")
        counted = every if recording.kept is None else every & (every.cumsum(1) <= recording.kept[:, None])
        missing = np.flatnonzero(counted.any(0) & ~recording.seen)
        if len(missing):
            raise InputError(f"the token at position {missing[0]} was never fed inside the block")
        # Behind a window, masses alone do not show that the tokens in it saw padding.
        is_seen = any(float(mass) > _MOST_PADDING for mass in recording.padding.values())
        if is_seen or recording.has_unmasked_padding:
            raise InputError(
                "generated tokens attend to padding (code -1): give the model the attention_mask that hides it"
            )
        return counted

    @cached_property
    def n_generated(self) -> Int[np.ndarray, " sample"]:
        """Number of generated tokens that count, per sample."""
        return np.asarray(self.generated.sum(1), dtype=np.int64)

    @cached_property
    def layers(self) -> Int[np.ndarray, " layer"]:
        """Block index of each place on the layer axis of `mass`, `row_mass`, `lift`, `contribution` and `entropy`.

        Raises:
            NotReadableError: No attention call was seen.
        """
        expected = self.generated.any()
        found = self._recording.quantities.layers("mass")
        if not found and expected:
            raise NotReadableError(
                f"{self._recording.model_name}: none of its blocks looks its attention up in the library's interface"
            )
        return np.array(found, dtype=np.int64)

    @property
    def n_heads(self) -> int:
        """Most heads that a layer has."""
        return self._recording.quantities.n_heads("mass")

    def _token_numbers(self, quantity: str) -> Float[np.ndarray, "sample token"]:
        n_samples, n_tokens = self.generated.shape
        values = np.full((n_samples, 1, n_tokens, 1), np.nan, dtype=np.float32)
        self._to_tokens(quantity, values)
        return values[:, 0, :, 0]

    def _to_tokens(self, quantity: str, values: Float[np.ndarray, "sample layer token value"]) -> None:
        """Put rows of a quantity that no head has at the places of their tokens."""
        rows = self._recording.rows.rows(quantity, 0, int(self.n_generated.max(initial=0)))
        if rows is not None:
            for sample, counted in enumerate(self.generated):
                values[sample][:, counted] = rows[sample, :, : int(counted.sum())]

    def rows_of(self, quantity: str, layer: int, first: int = 0) -> Float[np.ndarray, "sample head row value"]:
        """Rows of one layer that count, from the row `first` on; nan beyond a sample's rows (see `RowStore`)."""
        n_rows = int(self.n_generated.max(initial=0))
        rows = self._recording.rows.rows(quantity, layer, n_rows)
        if rows is None:
            return np.zeros((len(self.generated), 0, max(n_rows - first, 0), 1), dtype=np.float32)
        beyond = np.arange(first, n_rows) >= self.n_generated[:, None]
        return np.where(beyond[:, None, :, None], np.float32(np.nan), rows[:, :, first:])

    def _mean(self, quantity: str, n_values: int, n_tokens: int | None = None) -> np.ndarray:
        """Mean over the rows, or over the first `n_tokens` of samples that have as many; nan where there are none."""
        recording, layers = self._recording, self.layers
        if not recording.keeps_rows and n_tokens is not None and n_tokens & (n_tokens - 1):
            raise InputError(f"{n_tokens} tokens: single rows were not kept, only sums over 1, 2, 4, 8, ... tokens")
        means = np.full((len(self.generated), len(layers), self.n_heads, n_values), np.nan, dtype=np.float32)
        of_layer: Callable[[int], np.ndarray | None] = (
            (lambda layer: _mean_over_rows(self.rows_of(quantity, layer)[:, :, :n_tokens]))
            if recording.keeps_rows
            else (lambda layer: recording.sums.mean(quantity, layer, n_tokens))
        )
        for place, layer in enumerate(layers):
            mean = of_layer(int(layer))
            if mean is not None:
                means[:, place, : mean.shape[1]] = mean
        if n_tokens is not None:
            means[self.n_generated < n_tokens] = np.nan
        return means


def _mean_over_rows(values: Float[np.ndarray, "sample head row value"]) -> Float[np.ndarray, "sample head value"]:
    """Mean over the rows of what is not nan, in double precision; nan if nothing is."""
    counted = ~np.isnan(values)
    total = np.where(counted, values, 0).sum(2, dtype=np.float64)
    number = counted.sum(2)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return np.asarray(mean, dtype=np.float32)
