"""All families of signals of a run's samples, at any moment of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.stats.detectors.features import Features
from foretell.stats.signals.activity_so_far import ACTIVITY, activity_family
from foretell.stats.signals.answer_tokens_so_far import CONFIDENCE, PERPLEXITY, AnswerTokens, answer_tokens
from foretell.stats.signals.attention_so_far import (
    ATTENTION,
    LOOKBACK,
    LOOKBACK_RATIO,
    attention_family,
    lookback_family,
)
from foretell.stats.signals.checks_so_far import checks_so_far, readable_check
from foretell.stats.signals.family import ALL, ALL_SIGNALS, Family
from foretell.stats.signals.given import GivenFamily
from foretell.stats.signals.hidden_so_far import HIDDEN_STATES, HasHiddenStates, HiddenStates
from foretell.stats.signals.moment import Moment, after_tokens, at_share, checkpoints
from foretell.stats.signals.recurrent_confidence import PREVIOUS, RAUQ, rauq_family
from foretell.storage.runs import Run

__all__ = ["FAMILIES", "RESERVED", "RunSignals", "SampleSignals"]

FAMILIES = (ATTENTION, HIDDEN_STATES, ACTIVITY, CONFIDENCE)
"""Families of a run, in the order of the tables."""
MASS_MEAN = "mass-mean probe"
SAPLMA = "SAPLMA"
RESERVED = (*FAMILIES, ALL, ALL_SIGNALS, "baseline", LOOKBACK_RATIO, MASS_MEAN, SAPLMA, PERPLEXITY, RAUQ)
"""Names that a user's family may not have."""


class RunSignals:
    """The tables of a run, each read once, and the families that a user gives.

    Args:
        run: The run.
        given: Checked families of the user.
    """

    def __init__(self, run: Run, given: Sequence[GivenFamily] = ()) -> None:
        self.run = run
        self.given = tuple(given)

    @cached_property
    def attention(self) -> pl.DataFrame:
        """The run's table attention."""
        return self.run.attention

    @cached_property
    def checkpoints(self) -> pl.DataFrame:
        """The run's table checkpoints."""
        return self.run.checkpoints

    @cached_property
    def activity(self) -> pl.DataFrame:
        """The run's table activity."""
        return self.run.activity

    @cached_property
    def tokens(self) -> pl.DataFrame:
        """The run's table tokens."""
        return self.run.tokens

    @cached_property
    def rows(self) -> pl.DataFrame:
        """What RAUQ needs of the run's table rows; empty where single rows were not stored."""
        return self.run.columns_of("rows", ["id", "layer", "head", "answer_position", PREVIOUS])

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Tokens of each answer by id."""
        samples = self.run.samples.select("id", pl.col("n_tokens_generated").fill_null(0))
        return dict(samples.iter_rows())

    @cached_property
    def checks(self) -> dict[str, Mapping[str, Any] | None]:
        """The check that each sample names, by id; None where whoever reads the conversation cannot make it."""
        samples = self.run.samples
        if "verifier" not in samples.columns:
            return dict.fromkeys(samples["id"].to_list())
        return {id_: readable_check(text) for id_, text in samples.select("id", "verifier").iter_rows()}

    def of(self, ids: Sequence[str]) -> SampleSignals:
        """Return the signals of some of the samples."""
        return SampleSignals(self, ids)


class SampleSignals:
    """The signals of some samples of a run.

    Args:
        signals: The run's.
        ids: The samples, all in the run.
    """

    def __init__(self, signals: RunSignals, ids: Sequence[str]) -> None:
        self._signals = signals
        self.ids = tuple(ids)
        self._rauq_at: dict[bytes, Family] = {}
        self.n_generated: Int[np.ndarray, " sample"] = np.array([signals.lengths[one] for one in ids], dtype=np.int64)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of generated tokens at which signals are judged."""
        return checkpoints(self.n_generated)

    def moment(self, after: int) -> Moment:
        """Return the samples after so many tokens."""
        return after_tokens(self.ids, self.n_generated, after)

    def at_share(self, share: float) -> Moment:
        """Return the samples when at most a share of each answer is written."""
        return at_share(self.ids, self.n_generated, share)

    @cached_property
    def tokens(self) -> AnswerTokens:
        """The tokens of the answers."""
        return answer_tokens(self.moment(0), self._signals.tokens)

    @cached_property
    def hidden(self) -> HiddenStates | None:
        """The hidden states; None where none are stored."""
        run: object = self._signals.run
        found = HiddenStates(run, self.ids) if isinstance(run, HasHiddenStates) else None
        return found if found is not None and found.exist else None

    def families(self, moment: Moment) -> list[Family]:
        """Return every family that the run has, at one moment; some may be undefined there."""
        found = [attention_family(moment, self._signals.attention, self._signals.checkpoints)]
        if self.hidden is not None:
            found.append(self.hidden.family(moment))
        if self._signals.activity.height:
            found.append(activity_family(moment, self._signals.activity))
        return [*found, self._confidence(moment), *(one.at(moment) for one in self._signals.given)]

    def _confidence(self, moment: Moment) -> Family:
        """Return what the answer's tokens say, and what attention passes on of it where single rows were stored."""
        family, rauq = self.tokens.confidence(moment), self._rauq(moment)
        if family.columns is None or rauq is None or rauq.columns is None:
            return family
        return replace(family, columns=np.column_stack([family.columns, rauq.columns]))

    def _rauq(self, moment: Moment) -> Family | None:
        """Return RAUQ, alone and as part of the confidence; None where single rows were not stored."""
        if not self._signals.rows.height:
            return None
        so_far = moment.so_far.tobytes()
        if so_far not in self._rauq_at:
            self._rauq_at[so_far] = rauq_family(moment, self._signals.rows, self.tokens)
        return self._rauq_at[so_far]

    def published(self, moment: Moment) -> list[Family]:
        """Return the families of detectors that others have published and that are columns of their own."""
        attention = self._signals.attention
        found = [self.tokens.perplexity(moment)]
        if (rauq := self._rauq(moment)) is not None:
            found.append(rauq)
        if LOOKBACK in attention.columns and attention.get_column(LOOKBACK).is_not_null().any():
            found.insert(0, lookback_family(moment, attention, self._signals.checkpoints))
        return found

    def so_far(self, moment: Moment) -> tuple[dict[str, Float[np.ndarray, " sample"]], tuple[str, ...]]:
        """Return length and log-probability so far, whether an answer has ended, and its text so far."""
        columns = {
            "n_tokens_generated": moment.so_far.astype(np.float64),
            "has_ended": moment.ended.astype(np.float64),
            "mean_logprob": self.tokens.mean_logprob(moment),
        }
        return columns, self.tokens.text_so_far(moment)

    def checks(self, texts: Sequence[str]) -> list[Features]:
        """Return what the samples' checks say of their texts so far, as a baseline; none where they say nothing."""
        found = checks_so_far([self._signals.checks[one] for one in self.ids], texts)
        return [] if found is None else [found]
