"""Log-probabilities, entropies and margins of generated tokens, also of a token that a later pass feeds.

The logits at a column predict the token of the next one, which may come only with the next pass. So the logits of the
last columns are held: more than one, because a cache may be cut back and continued from an earlier column.

    scores = TokenScores(recording, entropy=True, chunk_bytes=64 << 20)
    scores.begin(current, token_ids, same)
    scores.end(current, token_ids, logits)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.errors import InputError
from foretell.reading.capture.recording import GENERATED, TOKEN_QUANTITIES, Pass, Recording
from foretell.reading.capture.row_store import Place
from foretell.reading.signals.log_probabilities import token_scores

__all__ = ["TokenScores"]

_HELD_BYTES = 16 << 20
"""Logits held beside those of the last pass: at a vocabulary of 50,000 some 80 tokens of one sample."""


@dataclass(frozen=True)
class _Held:
    """Logits of neighbouring columns."""

    first: int
    logits: Float[Tensor, "sample column vocabulary"]

    @property
    def end(self) -> int:
        return self.first + self.logits.shape[1]


class TokenScores:
    """Scores the generated tokens of one pass after the other.

    Args:
        recording: where scores go.
        entropy: also read the entropy and the margin of each distribution.
        chunk_bytes: bound for copies of logits made at a time.
    """

    def __init__(self, recording: Recording, *, entropy: bool, chunk_bytes: int) -> None:
        self._recording = recording
        self._entropy = entropy
        self._chunk_bytes = chunk_bytes
        self._held: list[_Held] = []
        self._last_dropped = -1
        """The last column whose logits are no longer held."""

    def clear(self) -> None:
        """Drop all logits."""
        self._held.clear()

    def begin(self, current: Pass, token_ids: Int[Tensor, "sample token"], same: int) -> None:
        """Score the first new token of a pass by logits of an earlier pass.

        Args:
            current: the pass.
            token_ids: what it is given.
            same: columns that it does not change.

        Raises:
            InputError: The cache was cut back so far that those logits are no longer held.
        """
        known = same if current.start == 0 else current.start
        self._held = [_Held(one.first, one.logits[:, : known - one.first]) for one in self._held if one.first < known]
        is_generated = self._recording.codes(known + 1)[:, known] == GENERATED
        if not current.start <= known < current.end or not is_generated.any():
            return
        found = next((one for one in self._held if one.end == known), None)
        if found is None:
            if 0 < current.start <= self._last_dropped + 1:
                raise InputError(
                    f"the cache was cut back to {known} tokens, and the logits of so early a token are no longer held; "
                    "listen with logprob=False, or feed the whole text again"
                )
            return
        first = (self._recording.codes(known) == GENERATED).sum(1)
        place = Place(first, is_generated.astype(np.int64))
        tokens = token_ids[:, known - current.start : known - current.start + 1]
        last = torch.full_like(tokens, found.logits.shape[1] - 1)
        self._write(place, found.logits, last, tokens, torch.from_numpy(is_generated[:, None]))

    def end(
        self,
        current: Pass,
        token_ids: Int[Tensor, "sample token"] | None,
        logits: Float[Tensor, "sample position vocabulary"],
        positions: Int[np.ndarray, " position"],
    ) -> None:
        """Score the rows whose position before has logits in the same pass, and hold the last logits for later.

        Args:
            current: the pass.
            token_ids: what it was given; None scores nothing.
            logits: of some of its positions.
            positions: which, in rising order.
        """
        place_of = np.full(current.width + 1, -1)
        place_of[positions + 1] = np.arange(len(positions))
        rows = current.query_rows.numpy()
        before = torch.from_numpy(place_of[rows])
        valid = before >= 0
        if token_ids is not None and bool(valid.any()):
            tokens = token_ids.gather(1, current.query_rows.to(token_ids.device))
            self._write(current.place, logits, before.clamp_min(0), tokens, valid)
        self._hold(current, logits, positions)

    def _hold(self, current: Pass, logits: Tensor, positions: np.ndarray) -> None:
        """Hold logits from the last column of the given segments on; only their next tokens may still come."""
        first = max(current.start, self._recording.segments.shape[1] - 1)
        place = int(np.searchsorted(positions, first - current.start))
        if place == len(positions):
            place -= 1
        if place:
            self._last_dropped = max(self._last_dropped, current.start + int(positions[place]) - 1)
        last = logits.detach()[:, place:]
        # A part of them would keep all of them in memory.
        self._held.append(_Held(current.start + int(positions[place]), last.clone() if place else last))
        n_bytes = sum(one.logits.nbytes for one in self._held)
        while len(self._held) > 1 and n_bytes > _HELD_BYTES:
            oldest = self._held.pop(0)
            n_bytes -= oldest.logits.nbytes
            self._last_dropped = max(self._last_dropped, oldest.end - 1)

    def _write(self, place: Place, logits: Tensor, positions: Tensor, tokens: Tensor, valid: Tensor) -> None:
        device = logits.device
        with torch.no_grad():
            found = token_scores(
                logits.detach(),
                positions.to(device),
                tokens.to(device),
                entropy=self._entropy,
                chunk_bytes=self._chunk_bytes,
            )
            for quantity, values in zip(TOKEN_QUANTITIES, found, strict=False):
                self._recording.rows.write(quantity, 0, values[:, None, :, None], place, valid=valid.to(device))
