"""Verdicts on parts of a model: predicts and causes, predicts only, causes only, neither, or cannot say.

All p-values of all parts share one error rate. What parts add to the baselines decides no verdict; it has an error rate
of its own over all parts, so that asking it too takes no power from what does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foretell.interventions.judging.causal_effect import Effect, OutcomeEffect
from foretell.interventions.judging.predictive_strength import Predictive
from foretell.stats.verdicts.error_rate import adjusted
from foretell.stats.verdicts.rules import span

__all__ = ["CausalVerdict", "CausalVerdictName", "PartEvidence", "causal_verdicts"]

CausalVerdictName = Literal["predicts and causes", "predicts only", "causes only", "neither", "cannot say"]


@dataclass(frozen=True)
class PartEvidence:
    """What is known of one part: how well it predicts, and what changing it does."""

    predictive: Predictive
    label: OutcomeEffect
    odds: OutcomeEffect


@dataclass(frozen=True)
class CausalVerdict:
    """The verdict on one part."""

    verdict: CausalVerdictName
    why: str
    """The numbers of the rule that applied."""
    p_predicts: float | None
    """Adjusted for all tests of all parts, as the next two."""
    p_label: float | None
    p_odds: float | None
    p_added: float | None
    """Adjusted for the same test of all parts."""


def causal_verdicts(evidence: Sequence[PartEvidence], *, error_rate: float = 0.05) -> list[CausalVerdict]:
    """Return a verdict for each part; the p-values of all parts are adjusted together.

    A part *predicts* if the adjusted p-value of its held-out score is at most `error_rate`, and *causes* if that of its
    effect on the label or on the log-odds is. Rules, the first that applies:

    1. *cannot say*: the test of the prediction, or both tests of effects, cannot be made; the reason says what is
       missing;
    2. *predicts and causes*, *predicts only*, *causes only*, *neither*.

    *Only* and *neither* say that nothing more was found with this sample; `why` has the intervals that remain.

    Args:
        evidence: Of all parts.
        error_rate: Share of such tables in which any part without an effect (or with one like that of random parts) is
            said to cause, or any part that does not predict is said to predict.

    Source:
        `foretell.stats.verdicts.error_rate.adjusted`.
    """
    p = np.array([[one.predictive.p, one.label.p, one.odds.p] for one in evidence], dtype=np.float64).reshape(-1, 3)
    together = adjusted(p.ravel()).reshape(p.shape)
    added = adjusted(np.array([one.predictive.p_added for one in evidence], dtype=np.float64))
    return [
        _verdict(one, tuple(map(_number, (*row, beside))), error_rate=error_rate)
        for one, row, beside in zip(evidence, together, added, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _verdict(one: PartEvidence, p: tuple[float | None, ...], *, error_rate: float) -> CausalVerdict:
    p_predicts, p_label, p_odds, p_added = p

    def say(verdict: CausalVerdictName, why: str) -> CausalVerdict:
        return CausalVerdict(verdict, why, p_predicts, p_label, p_odds, p_added)

    effects = [p for p in (p_label, p_odds) if p is not None]
    if p_predicts is None:
        return say("cannot say", f"whether it predicts: {one.predictive.reason}")
    if not effects:
        return say("cannot say", f"whether it causes: label: {one.label.reason}; log-odds: {one.odds.reason}")
    predicted = _predicts(one.predictive, p_predicts, p_added)
    why = "; ".join([predicted, _label(one.label, p_label), _odds(one.odds, p_odds)])
    predicts, causes = p_predicts <= error_rate, min(effects) <= error_rate
    if predicts:
        return say("predicts and causes" if causes else "predicts only", why)
    return say("causes only" if causes else "neither", why)


def _predicts(found: Predictive, p: float, p_added: float | None) -> str:
    within = "" if found.within is None else f", within task types {found.within:.2f}"
    added = "" if p_added is None else f", beside the baselines {p_added:.2g}"
    return f"{span(found.auc, 'held-out AUC')}{within} (adjusted p {p:.2g}{added})"


def _label(found: OutcomeEffect, p: float | None) -> str:
    if p is None:
        return f"label: {found.reason}"
    parts = [_effect(found.shift, "label rate changed by"), _effect(found.loss, "label changed in a share of")]
    return f"{', '.join(parts)} (adjusted p {p:.2g})"


def _odds(found: OutcomeEffect, p: float | None) -> str:
    if p is None:
        return f"log-odds: {found.reason}"
    parts = [_effect(found.shift, "log-odds shifted by"), _effect(found.loss, "those of its own label lowered by")]
    return f"{', '.join(parts)} (adjusted p {p:.2g})"


def _effect(found: Effect, name: str) -> str:
    beside = "" if found.control is None else f", controls {found.control:.2f}"
    return span(found.mean, name) + beside
