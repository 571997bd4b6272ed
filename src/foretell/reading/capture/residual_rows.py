"""What is kept of the residual stream of each pass: activity of the rows, and hidden states at chosen layers.

rows = ResidualRows(recording, projection)
rows.begin()
rows.read(current, layer, hidden)
rows.end(current)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.capture.recording import Pass, Recording
from foretell.reading.capture.row_store import doubling_bins
from foretell.reading.signals.activity import Projection
from foretell.reading.signals.masks import QueryRows
from foretell.reading.signals.pooled_states import BinnedStates, binned

__all__ = ["ResidualRows"]


class ResidualRows:
    """Reads one pass after the other, layer by layer.

    Args:
        recording: where it goes; it names the layers of hidden states.
        projection: directions of the activity; None reads none.
    """

    def __init__(self, recording: Recording, projection: Projection | None) -> None:
        self._recording = recording
        self._projection = projection
        self.begin()

    def wants(self, layer: int) -> bool:
        """Whether anything is read after this block."""
        return self._projection is not None or layer in self._recording.hidden_layers

    def begin(self) -> None:
        """Start a pass; what was read of one that did not end is dropped."""
        self._rows: QueryRows | None = None
        self._projected: Tensor | None = None
        self._bins: Tensor | None = None
        self._added: dict[int, BinnedStates] = {}

    def read(self, current: Pass, layer: int, hidden: Float[Tensor, "sample token width"]) -> None:
        """Read what is wanted of the hidden states after one block."""
        hidden = hidden.detach()
        if layer in self._recording.hidden_layers:
            self._keep_prompt(current, layer, hidden)
        if current.has_rows:
            if self._rows is None:
                self._rows = QueryRows(current.query_rows, most_bytes=0)
            self._read_rows(current, layer, self._rows.of_tokens(hidden))

    def read_steps(self, current: Pass, hidden: Mapping[int, Float[Tensor, "sample step width"]]) -> None:
        """Keep what is wanted of some decode steps, of hidden states by layer."""
        of_steps = ResidualRows(self._recording, self._projection)
        for layer, one in hidden.items():
            of_steps._read_rows(current, layer, one)
        of_steps.end(current)

    def end(self, current: Pass) -> None:
        """Let the pass count."""
        if self._projection is not None and self._projected is not None:
            self._recording.rows.write("activity", 0, self._projection.activity(self._projected), current.place)
        known = self._recording.answer_states
        for layer, new in self._added.items():
            known[layer] = known[layer].joined(new) if layer in known else new

    def _read_rows(self, current: Pass, layer: int, rows: Float[Tensor, "sample row width"]) -> None:
        recording = self._recording
        if self._projection is not None:
            own = self._projection.project(layer, rows)
            if self._projected is None:
                # All layers, nan where nothing was read, as one tensor (see `row_store._Sums`).
                self._projected = own.new_full((recording.n_layers, *own.shape), torch.nan)
            self._projected[layer] = own
        if layer not in recording.hidden_layers:
            return
        if recording.keeps_rows:
            recording.rows.write("hidden", layer, rows[:, None], current.place)
            return
        if self._bins is None or self._bins.device != rows.device:
            self._bins = doubling_bins(current.place, rows.shape[1]).to(rows.device)
        self._added[layer] = binned(rows, self._bins)

    def _keep_prompt(self, current: Pass, layer: int, hidden: Float[Tensor, "sample token width"]) -> None:
        """Keep the states of last prompt tokens that are among a pass's."""
        known = self._recording.prompt_states
        places = self._recording.prompt_columns - current.start
        is_here = (places >= 0) & (places < hidden.shape[1])
        if not is_here.any() and layer in known:
            return
        rows = torch.from_numpy(np.where(is_here, places, 0)).to(hidden.device)
        states = hidden[torch.arange(len(rows), device=hidden.device), rows].float()
        is_fed = torch.from_numpy(is_here[:, None]).to(hidden.device)
        known[layer] = torch.where(is_fed, states, known.get(layer, torch.nan))
