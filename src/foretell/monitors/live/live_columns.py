"""A monitor's numbers while a model writes: the tokens that are new in a capture, added to sums of those before.

live = LiveColumns(monitor, n_samples=8)
live.new(capture)       # rows of the tokens since the last call
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from foretell.errors import InputError
from foretell.monitors.monitor_columns import N_MASSES, Numbers
from foretell.schema.tables import POOLS

if TYPE_CHECKING:
    from foretell.monitors.monitor import Monitor
    from foretell.reading.capture.results import Capture

__all__ = ["LiveColumns"]


class LiveColumns:
    """Sums over the tokens so far of each sample, in float64.

    Args:
        monitor: Whose columns.
        n_samples: Samples of the capture.
    """

    def __init__(self, monitor: Monitor, n_samples: int) -> None:
        columns = monitor.columns
        self._monitor = monitor
        self.n_tokens = 0
        """Tokens that are in the sums."""
        self._mass = np.zeros((n_samples, len(columns.heads), N_MASSES))
        self._states = np.zeros((n_samples, len(columns.layers), columns.width))
        self._activity = np.zeros((n_samples, len(columns.activity)))
        self._logprob = np.zeros(n_samples)
        self._least = np.full(n_samples, np.inf)

    def scored(self, capture: Capture) -> Float[np.ndarray, "sample token"]:
        """Return the score after each new token; nan beyond an answer."""
        n_samples, n_new = len(capture.n_generated), int(capture.n_generated.max(initial=0)) - self.n_tokens
        every = np.ones((n_samples, n_new), dtype=bool)
        return self._monitor.scores(self.new(capture, every)).reshape(n_samples, n_new)

    def new(self, capture: Capture, wanted: Bool[np.ndarray, "sample token"]) -> Numbers:
        """Add new tokens, and return the numbers after those of them that are wanted, by sample.

        Args:
            capture: What is read.
            wanted: Of the tokens that are new; the tokens behind its last column are left for the next call.

        Raises:
            InputError: The capture lacks something that the monitor looks at.
        """
        first, n_new = self.n_tokens, wanted.shape[1]
        columns = self._monitor.columns
        count = first + 1.0 + np.arange(n_new)
        layers = {layer: self._rows(capture, "mass", layer, n_new) for layer in columns.attention_layers}
        residual = {layer: self._rows(capture, "hidden", layer, n_new)[:, 0] for layer in columns.state_layers}
        mass = np.empty((len(wanted), n_new, len(columns.heads), N_MASSES))
        for place, (layer, head) in enumerate(columns.heads):
            mass[:, :, place] = layers[layer][:, head]
        states = np.empty((len(wanted), n_new, len(columns.layers), columns.width), dtype=np.float32)
        for place, layer in enumerate(columns.layers):
            states[:, :, place] = residual[layer]
        mass, self._mass = _summed(mass, self._mass)
        mass /= count[:, None, None]
        if columns.pool == POOLS[1]:
            states, self._states = _summed(states, self._states)
            states /= count[:, None, None]
        activity = self._projected(residual, len(wanted), n_new)
        mean_activity, self._activity = _summed(activity, self._activity)
        mean_activity /= count[:, None]
        logprob = np.zeros((len(wanted), n_new))
        if columns.confidence:
            logprob = self._rows(capture, "logprob", 0, n_new)[:, 0, :, 0].astype(np.float64)
        least = np.minimum.accumulate(np.column_stack([self._least, logprob]), axis=1)[:, 1:]
        total, self._logprob = _summed(logprob, self._logprob)
        self._least = least[:, -1] if n_new else self._least
        self.n_tokens += n_new
        confidence = np.stack([total / count, least], axis=2)[:, :, : 2 * columns.confidence]
        return Numbers(
            np.broadcast_to(count.astype(np.int64), wanted.shape)[wanted],
            mass[wanted].astype(np.float32),
            states[wanted].astype(np.float32),
            np.stack([mean_activity, activity], axis=3)[wanted],
            confidence[wanted],
        )

    def _rows(self, capture: Capture, quantity: str, layer: int, n_new: int) -> Float[np.ndarray, "sample head row _"]:
        rows = capture.rows_of(quantity, layer, self.n_tokens)[:, :, :n_new]
        if not rows.shape[1] or rows.shape[2] < n_new:
            where = "" if quantity == "logprob" else f" of layer {layer}"
            raise InputError(
                f"the monitor looks at {quantity}{where}, which was not read: "
                "foretell.listen(model, segments, **monitor.listen_options)"
            )
        return rows

    def _projected(
        self, residual: dict[int, Float[np.ndarray, "sample token width"]], n_samples: int, n_new: int
    ) -> Float[np.ndarray, "sample token place"]:
        """Return the activity after each new token."""
        known, places = self._monitor.directions, self._monitor.columns.activity
        found = np.empty((n_samples, n_new, len(places)))
        for place, (_, layer) in enumerate(places):
            projection = residual[layer] @ known.vectors[place]
            found[:, :, place] = (projection - known.mean[place]) / known.standard_deviation[place]
        return found


def _summed(new: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums up to each new token, `(sample, token, ...)`, and up to the last one, `(sample, ...)`."""
    sums = before[:, None] + np.cumsum(new, axis=1, dtype=np.float64)
    return sums, sums[:, -1].copy() if new.shape[1] else before
