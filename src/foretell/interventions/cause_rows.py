"""What was measured of each part, as a verdict and a row of the table of causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from foretell.interventions.changing.intervention import (
    Ablation,
    DirectionIntervention,
    HeadIntervention,
    Intervention,
)
from foretell.interventions.judging.causal_effect import Effect, outcome_effect
from foretell.interventions.judging.causal_verdicts import CausalVerdict, PartEvidence
from foretell.interventions.judging.predictive_strength import Predictive
from foretell.interventions.outcomes import Outcomes
from foretell.schema.tables import CAUSES, conform

__all__ = ["HeldOut", "Part", "cause_table", "part_evidence"]


@dataclass(frozen=True)
class HeldOut:
    """The held-out samples on which effects are measured."""

    label: Int[np.ndarray, " sample"]
    """In the run."""
    group: Int[np.ndarray, " sample"]
    before: Outcomes
    no_labels: str | None = None
    """Why no answers were generated; None where they were."""
    no_odds: str | None = None
    """Why there are not enough pairs of answers; None where there are."""
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """One part, what was done to it, and what came of that."""

    intervention: Intervention
    predictive: Predictive
    after: Outcomes
    controls: Sequence[Outcomes]


def part_evidence(part: Part, held: HeldOut) -> PartEvidence:
    """Return what is known of a part, its effects compared with those of its controls."""

    def stacked(name: str) -> Float[np.ndarray, "control sample"]:
        return np.array([getattr(one, name) for one in part.controls]).reshape(len(part.controls), len(held.label))

    effects = {
        name: outcome_effect(
            getattr(held.before, name),
            getattr(part.after, name),
            stacked(name),
            2.0 * own - 1.0,
            held.group,
            bounded=name == "label",
            level=held.level,
            seed=held.seed,
        )
        for name, own in (("label", held.before.label), ("odds", held.label))
    }
    label, odds = effects["label"], effects["odds"]
    return PartEvidence(
        part.predictive,
        replace(label, reason=held.no_labels or label.reason),
        replace(odds, reason=held.no_odds or odds.reason),
    )


def cause_table(
    parts: Sequence[Part],
    evidence: Sequence[PartEvidence],
    verdicts: Sequence[CausalVerdict],
    held: HeldOut,
    ablation: Ablation,
) -> pl.DataFrame:
    """Return the table of causes, one row per part."""
    rows = [_row(*each, held, ablation) for each in zip(parts, evidence, verdicts, strict=True)]
    return conform(pl.DataFrame(rows, infer_schema_length=None), CAUSES)


def _row(
    part: Part, evidence: PartEvidence, verdict: CausalVerdict, held: HeldOut, ablation: Ablation
) -> dict[str, Any]:
    predictive, label, odds = evidence.predictive, evidence.label, evidence.odds
    answered = np.isfinite(held.before.label)
    reasons = {"prediction": predictive.reason, "label": label.reason, "log-odds": odds.reason}
    return {
        **_named(part.intervention, ablation),
        "auc": predictive.auc.estimate,
        "auc_lower": predictive.auc.lower,
        "auc_upper": predictive.auc.upper,
        "auc_within": predictive.within,
        "p_predicts": verdict.p_predicts,
        "p_added": verdict.p_added,
        "label_rate": label.before,
        "label_rate_after": label.after,
        **_effect("label_shift", label.shift),
        **_effect("label_changed", label.loss),
        "p_label": verdict.p_label,
        **_effect("odds_shift", odds.shift),
        **_effect("odds_loss", odds.loss),
        "p_odds": verdict.p_odds,
        "n_controls": len(part.controls),
        "n_label_groups": label.n_groups,
        "n_odds_groups": odds.n_groups,
        "n_unlabelled": int((answered & ~np.isfinite(part.after.label)).sum()),
        "verdict": verdict.verdict,
        "why": verdict.why,
        "reason": "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason is not None) or None,
    }


def _named(one: Intervention, ablation: Ablation) -> dict[str, Any]:
    named: dict[str, Any] = {"component": one.name, "kind": one.kind}
    if isinstance(one, HeadIntervention):
        layers = {layer for layer, _ in one.heads}
        named |= {
            "ablation": ablation if one.segment is None else None,
            "layer": next(iter(layers)) if len(layers) == 1 else None,
            "head": one.heads[0][1] if len(one.heads) == 1 else None,
            "segment": one.segment,
        }
    elif isinstance(one, DirectionIntervention):
        named |= {
            "ablation": ablation if one.dose is None else None,
            "layer": one.layer,
            "concept": one.concept,
            "dose": one.dose,
        }
    return named


def _effect(name: str, found: Effect) -> dict[str, float | None]:
    return {
        name: found.mean.estimate,
        f"{name}_lower": found.mean.lower,
        f"{name}_upper": found.mean.upper,
        f"{name}_control": found.control,
    }
