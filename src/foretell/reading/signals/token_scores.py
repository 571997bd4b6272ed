"""Log-probabilities and entropies of a pass's tokens, also of the one that the pass before spoke of.

It knows nothing of how passes come about.

    scoring = Scoring(entropy=True, chunk_bytes=64 << 20)
    scoring.begin(current, token_ids)
    scoring.end(current, logits, token_ids, query_rows)
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.reading.capture.recording import Pass
from foretell.reading.signals.log_probabilities import token_scores

__all__ = ["Scoring"]


class Scoring:
    """Scores the generated tokens of one pass after the other.

    Args:
        entropy: also read the entropy of each distribution.
        chunk_bytes: bound for copies of logits held at a time.
    """

    def __init__(self, *, entropy: bool, chunk_bytes: int) -> None:
        self._entropy = entropy
        self._chunk_bytes = chunk_bytes
        self._pending: tuple[int, Tensor] | None = None

    def forget(self) -> None:
        """Let go of the last logits."""
        self._pending = None

    @property
    def inferring(self) -> bool:
        """Whether the last logits were made in inference mode."""
        return self._pending is not None and self._pending[1].is_inference()

    def begin(self, current: Pass, token_ids: Int[Tensor, "sample token"]) -> None:
        """Score the first new token of a pass by the last logits of the pass before."""
        pending = self._pending
        if pending is None or not 0 <= pending[0] - current.start < current.width:
            return
        place = pending[0] - current.start
        first = current.columns[:, :1]
        columns = first.masked_fill(first != pending[0], -1)
        tokens = token_ids[:, place : place + 1].to(pending[1].device)
        with torch.no_grad():
            self._score(current, columns, pending[1], torch.zeros_like(tokens), tokens)

    def end(
        self,
        current: Pass,
        logits: Float[Tensor, "sample position vocabulary"],
        token_ids: Int[Tensor, "sample token"] | None,
        query_rows: Int[Tensor, "sample row"],
    ) -> None:
        """Score the rows whose position before has logits in the same pass, and keep the last logits for later.

        Args:
            current: the pass.
            logits: of its last positions.
            token_ids: what the pass was given; None scores nothing.
            query_rows: positions of its rows, on the CPU.
        """
        positions = query_rows - 1 - (current.width - logits.shape[1])
        columns = current.columns.masked_fill(positions < 0, -1)
        with torch.no_grad():
            if token_ids is not None and bool((columns >= 0).any()):
                tokens = token_ids.to(logits.device).gather(1, query_rows.to(logits.device))
                self._score(current, columns, logits, positions.clamp_min(0).to(logits.device), tokens)
            # A later pass may bring the token that the last position's logits speak of.
            self._pending = (current.start + current.width, logits[:, -1:].clone())

    def _score(self, current: Pass, columns: Tensor, logits: Tensor, positions: Tensor, tokens: Tensor) -> None:
        logprobs, entropies = token_scores(
            logits, positions, tokens, entropy=self._entropy, chunk_bytes=self._chunk_bytes
        )
        current.logprobs.append((columns, logprobs))
        if entropies is not None:
            current.token_entropies.append((columns, entropies))
