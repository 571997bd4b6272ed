"""What forward passes computed, by the column of the sequence that it belongs to.

A column is a place in the padded sequence. A pass covers the columns that it feeds. What was recorded there is
replaced, and what was recorded behind them is dropped, because the model's cache no longer holds it.

    current = recording.begin(start, width, token_ids)
    recording.write(current, [layer], {"mass": mass})
    recording.commit(current)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foretell.errors import InputError, NotReadableError
from foretell.reading.capture.row_store import Place, RowStore, RunningSums
from foretell.reading.signals.pooled_states import BinnedStates
from foretell.schema.tables import SEGMENTS

__all__ = ["GENERATED", "TOKEN_QUANTITIES", "Pass", "Recording"]

GENERATED = SEGMENTS.index("generated")
TOKEN_QUANTITIES = ("logprob", "token_entropy", "margin")
"""What logits say of a token; the last two only where entropies are read."""


@dataclass
class Pass:
    """One forward pass: the columns that it feeds, and the rows among them."""

    start: int
    """Columns before it, which the model has in its cache."""
    width: int
    query_rows: Int[Tensor, "sample row"]
    """Positions of the generated tokens within the pass, on the CPU; missing ones repeat the sample's first row."""
    place: Place
    layers: set[int] = field(default_factory=set)
    """Layers whose attention was read."""

    @property
    def end(self) -> int:
        """One past the last column."""
        return self.start + self.width

    @property
    def has_rows(self) -> bool:
        """Whether it feeds any generated token."""
        return self.query_rows.shape[1] > 0


@dataclass
class Recording:
    """Everything that was read of one text per sample."""

    segments: Int[np.ndarray, "sample token"]
    n_layers: int
    n_directions: int
    model_name: str
    keeps_rows: bool = True
    """Whether rows are kept; otherwise they are added up."""
    rows: RowStore = field(default_factory=RowStore)
    sums: RunningSums = field(init=False)
    kept: Int[np.ndarray, " sample"] | None = None
    """How many generated tokens of each sample count; None: all that were fed."""
    hidden_layers: tuple[int, ...] = ()
    """Layers whose hidden states are kept."""
    prompt_states: dict[int, Float[Tensor, "sample width"]] = field(default_factory=dict)
    """Hidden state of each last prompt token, by layer; nan where none was fed."""
    answer_states: dict[int, BinnedStates] = field(default_factory=dict)
    """Hidden states of the answers by layer, where rows are added up."""
    projected: set[int] = field(default_factory=set)
    """Layers whose contributions were measured after the output projection."""
    seen: Bool[np.ndarray, " column"] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Columns that a pass inside the block fed, up to the last one."""
    layers: set[int] | None = None
    """Layers whose attention every pass was read in; None before the first pass with rows."""
    has_unmasked_padding: bool = False
    """Whether a pass was given no mask although there is padding before its tokens."""
    padding: dict[torch.device, Tensor] = field(default_factory=dict)
    """The largest mass that a row has on padding, by device."""
    _ids: Tensor | None = None
    _codes: Int[np.ndarray, "sample column"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.sums = RunningSums(self.n_layers)
        self._codes = self.segments

    @property
    def n_samples(self) -> int:
        """Samples of every pass."""
        return len(self.segments)

    @cached_property
    def has_padding(self) -> bool:
        """Whether any sample is padded."""
        return bool((self.segments < 0).any())

    @cached_property
    def prompt_columns(self) -> Int[np.ndarray, " sample"]:
        """Column of each last token before the answer; -1 where there is none."""
        width = self.segments.shape[1]
        codes = self.codes(width + 1)
        is_prompt = (codes >= 0) & ~np.logical_or.accumulate(codes == GENERATED, axis=1)
        return np.asarray(np.where(is_prompt, np.arange(width + 1), -1).max(1))

    @property
    def n_columns(self) -> int:
        """Columns fed so far, prompt included."""
        return len(self.seen)

    @property
    def quantities(self) -> RowStore | RunningSums:
        """Where rows of attention are."""
        return self.rows if self.keeps_rows else self.sums

    def codes(self, n_columns: int) -> Int[np.ndarray, "sample column"]:
        """Return the segment code of the first `n_columns` columns; those beyond the given segments are generated.

        It is a view that must not be changed.
        """
        if n_columns > self._codes.shape[1]:
            # Every step of an answer asks for one more.
            wider = np.full((self.n_samples, 2 * n_columns), GENERATED, dtype=self.segments.dtype)
            wider[:, : self.segments.shape[1]] = self.segments
            self._codes = wider
        return self._codes[:, :n_columns]

    def token_ids(self, n_columns: int) -> Int[Tensor, "sample column"] | None:
        """Return the token ids that were fed, -1 where embeddings were; None before the first pass."""
        return None if self._ids is None else self._ids[:, :n_columns]

    def begin(
        self, start: int, width: int, token_ids: Int[Tensor, "sample token"] | None, *, n_same: int = 0
    ) -> tuple[Pass, int]:
        """Start a pass over `width` columns after `start`, and drop what it replaces.

        Args:
            start: columns before it.
            width: columns that it feeds.
            token_ids: what they are fed; None where that is embeddings.
            n_same: columns that are known to be fed again as they were.

        Returns:
            The pass, and how many of the columns so far it does not change.

        Raises:
            InputError: Rows are added up, and some of those were of columns that the pass feeds again.
        """
        same = max(self._unchanged(start, width, token_ids), n_same)
        if same < self.n_columns:
            self._drop(same, start)
        self.seen = np.pad(self.seen, (0, max(start - self.n_columns, 0)))[:start]
        if start == 0:
            # Without a cache the whole text is fed, and everything but the log-probabilities of known tokens is new.
            self.sums.clear()
            self.answer_states.clear()
            self.layers, self.padding, self.has_unmasked_padding = None, {}, False
        self._remember(start, width, token_ids)
        codes = self.codes(start + width)
        n_before = (codes[:, :start] == GENERATED).sum(1)
        query_rows, n_rows = _query_rows(codes[:, start:] == GENERATED)
        return Pass(start, width, torch.from_numpy(query_rows), Place(n_before, n_rows)), same

    def write(
        self, current: Pass, layers: Sequence[int], values: Mapping[str, Float[Tensor, "sample layer head row _"]]
    ) -> None:
        """Keep rows of attention by quantity, or add them up."""
        if not self.keeps_rows:
            self.sums.add(layers, values, current.place)
            return
        for quantity, rows in values.items():
            for layer, own in zip(layers, rows.unbind(1), strict=True):
                self.rows.write(quantity, layer, own, current.place)

    def note_padding(self, current: Pass, padding: Tensor) -> None:
        """Remember the largest mass on padding, `(sample, layer, head, row)`; missing rows repeat others."""
        if not self.has_padding:
            return
        valid = torch.from_numpy(np.arange(padding.shape[3]) < current.place.n_rows[:, None])[:, None, None]
        largest = padding.masked_fill(~valid.to(padding.device), 0.0).amax()
        before = self.padding.get(padding.device)
        self.padding[padding.device] = largest if before is None else torch.maximum(before, largest)

    def note_missing_mask(self, end: int) -> None:
        """Remember that a pass up to column `end` was given no mask; padding behind a text needs none."""
        is_token = self.codes(end) >= 0
        self.has_unmasked_padding |= bool((~is_token & (is_token[:, ::-1].cumsum(1)[:, ::-1] > 0)).any())

    def commit(self, current: Pass) -> None:
        """Let a finished pass count.

        Raises:
            NotReadableError: Attention was read in other layers than before.
        """
        if current.has_rows and current.layers:
            if self.layers is not None and self.layers != current.layers:
                different = min(self.layers ^ current.layers)
                raise NotReadableError(
                    f"{self.model_name}: block {different} was not run in every pass (an early exit does that), so "
                    "the layers have different tokens"
                )
            self.layers = set(current.layers)
        self.seen = np.pad(self.seen[: current.start], (0, current.width), constant_values=True)

    def truncate(self, n_columns: int) -> None:
        """Forget columns from `n_columns` on."""
        if n_columns < self.n_columns:
            self._drop(n_columns, n_columns)
            self.seen = self.seen[:n_columns]

    def _unchanged(self, start: int, width: int, token_ids: Tensor | None) -> int:
        """Return how many of the columns so far the pass does not change."""
        known = self._ids
        if start or known is None or token_ids is None:
            return min(start, self.n_columns)
        n_columns = min(self.n_columns, width)
        same = (known[:, :n_columns] == token_ids[:, :n_columns].to(known.device)).all(0)
        return int(same.long().cumprod(0).sum())

    def _drop(self, same: int, start: int) -> None:
        """Forget what belongs to columns from `same` on."""
        if not self.keeps_rows and start > 0 and bool((self.codes(self.n_columns)[:, same:] == GENERATED).any()):
            raise InputError(
                "rows were added up, and the cache was cut back to feed other tokens; listen with rows=True"
            )
        first = (self.codes(same) == GENERATED).sum(1)
        for quantity in TOKEN_QUANTITIES:
            self.rows.forget(quantity, first)
        self.kept = None

    def _remember(self, start: int, width: int, token_ids: Tensor | None) -> None:
        ids = self._ids
        if ids is None or ids.shape[1] < start + width:
            device = torch.device("cpu") if token_ids is None else token_ids.device
            capacity = max(start + width + 64, 0 if ids is None else 2 * ids.shape[1])
            with torch.inference_mode(mode=False):
                self._ids = torch.full((self.n_samples, capacity), -1, dtype=torch.long, device=device)
                if ids is not None:
                    self._ids[:, : ids.shape[1]] = ids
        if self._ids is not None:
            self._ids[:, start : start + width] = -1 if token_ids is None else token_ids


def _query_rows(
    generated: Bool[np.ndarray, "sample token"],
) -> tuple[Int[np.ndarray, "sample row"], Int[np.ndarray, " sample"]]:
    """Return the positions of generated tokens, and how many each sample has.

    A sample's missing rows repeat its first one, so that every row can be computed; they are never used.
    """
    n_rows = generated.sum(1)
    # Generated tokens first, in their order.
    order = np.argsort(~generated, axis=1, kind="stable")[:, : int(n_rows.max(initial=0))]
    missing = np.arange(order.shape[1]) >= np.maximum(n_rows, 1)[:, None]
    return np.where(missing, order[:, :1], order), n_rows
