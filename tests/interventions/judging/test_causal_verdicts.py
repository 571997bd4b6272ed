"""Verdicts by their rules, and how often tables of parts without effect claim one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from foretell.interventions.judging import causal_effect
from foretell.interventions.judging.causal_effect import Effect, OutcomeEffect, outcome_effect
from foretell.interventions.judging.causal_verdicts import PartEvidence, causal_verdicts
from foretell.interventions.judging.predictive_strength import JudgedSamples, Predictive, predictive_strength
from foretell.stats.auc.intervals import Estimate
from foretell.stats.verdicts.error_rate import adjusted

ESTIMATE = Estimate(0.4, 0.3, 0.5, 0.95, 30, 30, "made")
EFFECT = Effect(ESTIMATE, 0.1, 0.5)


def outcome(p: float | None) -> OutcomeEffect:
    return OutcomeEffect(EFFECT, EFFECT, p, 0.5, 0.1, 30, None if p is not None else "3 more needed")


def part(predicts: float | None, label: float | None, odds: float | None, added: float | None = 0.2) -> PartEvidence:
    reason = None if predicts is not None else "2 more groups needed"
    return PartEvidence(Predictive(ESTIMATE, None, predicts, added, reason), outcome(label), outcome(odds))


@pytest.mark.parametrize(
    ("p", "verdict"),
    [
        ((0.001, 0.001, 0.5), "predicts and causes"),
        ((0.001, 0.5, 0.001), "predicts and causes"),
        ((0.001, 0.001, None), "predicts and causes"),
        ((0.001, 0.4, 0.5), "predicts only"),
        ((0.001, None, 0.5), "predicts only"),
        ((0.4, 0.5, 0.001), "causes only"),
        ((0.04, 0.04, 0.5), "neither"),
        ((0.9, 0.5, None), "neither"),
        ((None, 0.001, 0.001), "cannot say"),
        ((0.001, None, None), "cannot say"),
        ((None, None, None), "cannot say"),
    ],
)
def test_rules(p: tuple[float | None, float | None, float | None], verdict: str) -> None:
    (found,) = causal_verdicts([part(*p)])
    assert found.verdict == verdict
    assert (found.p_predicts is None, found.p_label is None, found.p_odds is None) == tuple(one is None for one in p)


def test_all_tests_of_all_parts_are_adjusted_together() -> None:
    p = [(0.01, 0.02, 0.5), (0.6, None, 0.004), (0.9, 0.3, 0.2)]
    found = causal_verdicts([part(*one) for one in p])
    flat = adjusted(np.array([np.nan if one is None else one for row in p for one in row], dtype=np.float64))
    together = [each for one in found for each in (one.p_predicts, one.p_label, one.p_odds)]
    assert together == [None if np.isnan(one) else pytest.approx(one) for one in flat]
    # Alone the first would say that it predicts.
    assert causal_verdicts([part(*p[0])])[0].verdict == "predicts and causes"
    assert [one.verdict for one in found] == ["neither", "causes only", "neither"]
    assert causal_verdicts([]) == []


def test_what_parts_add_has_an_error_rate_of_its_own() -> None:
    p = [0.01, None, 0.03, 0.2]
    found = causal_verdicts([part(0.01, 0.02, None, added) for added in p])
    assert [one.p_added for one in found] == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.2)]
    assert [one.p_predicts for one in found] == [
        one.p_predicts for one in causal_verdicts([part(0.01, 0.02, None, None)] * len(p))
    ]


def test_a_reason_says_what_is_missing_and_a_verdict_has_its_numbers() -> None:
    missing = causal_verdicts([part(None, 0.5, 0.5), part(0.5, None, None)])
    assert missing[0].why == "whether it predicts: 2 more groups needed"
    assert missing[1].why == "whether it causes: label: 3 more needed; log-odds: 3 more needed"
    (found,) = causal_verdicts([part(0.5, 0.001, None)])
    for words in (
        "held-out AUC 0.40 (0.30 to 0.50)",
        "beside the baselines 0.2",
        "controls 0.10",
        "log-odds: 3 more",
    ):
        assert words in found.why


N_TABLES, N_PARTS, N_GROUPS, N_CONTROLS = 120, 4, 30, 20


def null_table(generator: np.random.Generator, size: Callable[..., np.ndarray]) -> list[PartEvidence]:
    """Parts that predict nothing, whose true effects are drawn like those of their controls."""
    label = np.tile([0, 1], 2 * N_GROUPS)
    samples = JudgedSamples(
        label, np.arange(len(label)) // 2, None, np.arange(len(label)) >= 2 * N_GROUPS, np.empty((len(label), 0))
    )
    own, group = label[samples.held], samples.group[samples.held]
    side = 2.0 * own - 1.0
    found = []
    for _ in range(N_PARTS):
        predictive = predictive_strength(generator.normal(size=(len(label), 5)), samples)
        # A shared part of the noise: every intervention is on the same conversations.
        shared = generator.normal(size=len(own))
        sizes = size((1 + N_CONTROLS, 2))
        odds = sizes[:, :1] + sizes[:, 1:] * side + 0.5 * shared + generator.normal(size=(1 + N_CONTROLS, len(own)))
        flips = generator.random((1 + N_CONTROLS, len(own))) < np.minimum(0.1 * np.abs(sizes[:, :1]), 1)
        after = np.where(flips, 1 - own, own).astype(float)
        before = np.zeros(len(own))
        found.append(
            PartEvidence(
                predictive,
                outcome_effect(own.astype(float), after[0], after[1:], side, group, bounded=True),
                outcome_effect(before, odds[0], odds[1:], side, group),
            )
        )
    return found


@pytest.mark.slow
@pytest.mark.calibration
@pytest.mark.parametrize("kind", ["none", "normal", "some heavy tails"])
def test_tables_without_effects_claim_one_no_more_often_than_stated(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_effect, "_N_FLIPS", 499)
    generator = np.random.default_rng(len(kind))
    sizes: dict[str, Callable[..., np.ndarray]] = {
        "none": lambda shape: np.zeros(shape),
        "normal": lambda shape: np.asarray(generator.normal(size=shape)),
        "some heavy tails": lambda shape: np.asarray(generator.standard_t(5, size=shape)),
    }
    claims = 0
    for _ in range(N_TABLES):
        verdicts = causal_verdicts(null_table(generator, sizes[kind]))
        assert "cannot say" not in {one.verdict for one in verdicts}
        claims += any(one.verdict != "neither" for one in verdicts)
    # 0.05 and two standard errors of so many tables.
    assert claims / N_TABLES <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / N_TABLES), claims


def test_planted_effects_are_found() -> None:
    generator = np.random.default_rng(1)
    (evidence, *_) = null_table(generator, lambda shape: np.asarray(0.05 * generator.normal(size=shape)))
    group = np.arange(60) // 2
    caused = outcome_effect(np.zeros(60), np.full(60, 2.0), 0.1 * generator.normal(size=(20, 60)), np.ones(60), group)
    (found,) = causal_verdicts([replace(evidence, odds=caused)])
    assert found.verdict == "causes only"
