"""What is known of answers while they are written: their scores so far, alarms, and lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from foretell.display import Displayed, DisplayedRecord, Facts
from foretell.monitors.live.live_columns import LiveColumns
from foretell.monitors.run_columns import is_moment

if TYPE_CHECKING:
    from foretell.monitors.monitor import Monitor
    from foretell.reading.capture.results import Capture

__all__ = ["ROUNDING", "OnScore", "Scored", "Watching"]


@dataclass(frozen=True, repr=False)
class Scored(DisplayedRecord):
    """One score of an answer so far."""

    sample: int
    """Row of the batch."""
    n_generated: int
    """Tokens so far."""
    score: float
    """nan where something the monitor looks at was not finite."""
    probability: float
    """Of label 1, as held-out training groups had it."""
    alarm: bool
    """Whether it is above the threshold, at a moment that the threshold was calibrated for."""


ROUNDING = 1e-4
"""Live scores agree with those of a run to this; the most that was seen of SmolLM2 is 1.1e-5, on one of two processors.
An alarm has to be that far above the threshold, so that rounding makes none of answers whose score is the threshold
itself, of which there are many where scores are tied."""

OnScore: TypeAlias = Callable[[Scored], object]


class Watching(Displayed):
    """The scores of one call of `generate`; see `foretell.watch`.

    Args:
        monitor: What scores.
        on_score: Called with every score.
        every: Also score after every so many tokens.
    """

    def __init__(self, monitor: Monitor, on_score: OnScore | None = None, *, every: int | None = None) -> None:
        self.monitor = monitor
        self.scored: list[Scored] = []
        """Every score, in the order in which they became known."""
        self._on_score, self._every = on_score, every
        self.start(0)

    def start(self, n_samples: int) -> None:
        """Begin anew with so many answers."""
        self.scored = []
        self._n_samples = n_samples
        self._first_alarm: dict[int, int] = {}
        self._live = LiveColumns(self.monitor, n_samples)
        self._length: Int[np.ndarray, " sample"] = np.full(n_samples, -1)

    @property
    def scores(self) -> Float[np.ndarray, "sample token"]:
        """Score of each answer, token n - 1 after n tokens; nan where it was not scored."""
        longest = max((one.n_generated for one in self.scored), default=0)
        found = np.full((self._n_samples, longest), np.nan)
        for one in self.scored:
            found[one.sample, one.n_generated - 1] = one.score
        return found

    @property
    def probabilities(self) -> Float[np.ndarray, "sample token"]:
        """Probability of label 1, in the places of `scores`."""
        return self.monitor.probability(self.scores)

    @property
    def alarms(self) -> dict[int, int]:
        """Tokens at the first alarm, by sample; samples without an alarm are not in it."""
        return dict(self._first_alarm)

    @property
    def has_alarm(self) -> Bool[np.ndarray, " sample"]:
        """Whether each sample has had an alarm."""
        return np.isin(np.arange(self._n_samples), list(self._first_alarm))

    @property
    def n_generated(self) -> Int[np.ndarray, " sample"]:
        """Tokens of each answer that are known by now, without what ended its turn."""
        return np.where(self._length >= 0, self._length, self._live.n_tokens)

    def facts(self) -> Facts:
        """Return the last score of every answer, and its alarm."""
        last = {one.sample: one for one in self.scored}
        rows = [
            (sample, one.n_generated, one.score, one.probability, self._first_alarm.get(sample))
            for sample, one in sorted(last.items())
        ]
        known = [("answers", f"{self._n_samples}, of them {len(self._first_alarm)} with an alarm")]
        known.append(("scores", f"{len(self.scored):,}"))
        columns = ("answer", "tokens", "score", "probability", "first alarm after")
        return Facts("Watching", self.monitor.made_from.behaviour or "", known, columns, rows)

    def end(self, is_end: Bool[np.ndarray, " sample"], n_tokens: int) -> None:
        """Note that answers end with so many tokens, unless they ended before."""
        self._length = np.where(is_end & (self._length < 0), n_tokens, self._length)

    def update(self, capture: Capture, n_tokens: int) -> None:
        """Score what is to be scored of the first tokens, as far as they are new.

        Args:
            capture: What was read.
            n_tokens: Tokens that have been fed.
        """
        first = self._live.n_tokens
        count = np.arange(first, max(n_tokens, first)) + 1
        # A token is chosen, and so the end known, before the token before it is read here.
        ended = self._length[:, None] == count
        wanted = is_moment(self.monitor.scored_at, np.broadcast_to(count, ended.shape), ended=ended)
        if self._every is not None:
            wanted = wanted | (count % self._every == 0)
        wanted &= (self._length[:, None] < 0) | (count <= self._length[:, None])
        if not wanted.any():
            return
        numbers = self._live.new(capture, wanted)
        self._note(numbers.n_generated, np.nonzero(wanted)[0], self.monitor.scores(numbers))

    def _note(
        self, count: Int[np.ndarray, " row"], sample: Int[np.ndarray, " row"], score: Float[np.ndarray, " row"]
    ) -> None:
        """Keep scores and alarms, and pass them on in the order of their tokens."""
        alarm = self.monitor.alarms(score - ROUNDING, count, ended=self._length[sample] == count)
        probability = self.monitor.probability(score)
        for row in np.lexsort((sample, count)):
            index, tokens = int(sample[row]), int(count[row])
            one = Scored(index, tokens, float(score[row]), float(probability[row]), bool(alarm[row]))
            if one.alarm:
                self._first_alarm.setdefault(index, tokens)
            self.scored.append(one)
            if self._on_score is not None:
                self._on_score(one)
