"""What detectors, forests and single heads show, put into the form that verdicts are made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.detector import judge_detectors
from foretell.stats.detectors.features import Features
from foretell.stats.forest.increment import ForestOfDataset, forest_increment
from foretell.stats.forest.random_forest import ForestResult, Protocol, judge_forest
from foretell.stats.verdicts.findings import FAMILY, FOREST, detector_evidence, family_evidence, forest_evidence
from foretell.stats.verdicts.minimal_auc import minimal_auc
from foretell.stats.verdicts.rules import Verdict, verdicts
from tests.stats.fingerprints import HeadRows, head_rows

SIZES = {"n_positive": 30, "n_negative": 30}


def judged_forest(rows: HeadRows, **options: Any) -> dict[Protocol, ForestResult]:
    return judge_forest(rows.features, rows.label, rows.sample, n_trees=30, n_repeats=1, n_jobs=1, **options)


def forest_verdict(found: dict[Protocol, ForestResult], *, has_strata: bool = False, **sizes: int) -> Verdict:
    n = int(found["grouped"].sample.max(initial=-1)) + 1
    one = ForestOfDataset(replace(found["grouped"], places=np.arange(n)), None, np.arange(n))
    shown = forest_evidence(
        found, forest_increment([one]), **{**SIZES, **sizes}, has_strata=has_strata, has_baselines=False
    )
    return verdicts({"a": [shown]})["a"][0]


def test_recognised_samples_are_a_leak() -> None:
    found = judged_forest(head_rows(fingerprint=1.0))
    verdict = forest_verdict(found)
    assert verdict.verdict == "leak"
    rows, grouped = (found[protocol].auc.estimate or 0 for protocol in ("rows", "grouped"))
    assert f"a random split of rows gains {rows - grouped:.2f} of AUC by recognising samples" in verdict.why
    assert verdict.signal == FOREST
    assert "with placebo labels 0." in verdict.why


@pytest.mark.parametrize(("fingerprint", "head_spread", "noise"), [(0.0, 0.0, 0.3), (0.15, 1.5, 0.5)])
def test_no_leak_is_cried_without_fingerprints_or_where_heads_differ(
    fingerprint: float, head_spread: float, noise: float
) -> None:
    for seed in range(3):
        found = judged_forest(head_rows(fingerprint=fingerprint, head_spread=head_spread, noise=noise, seed=seed))
        assert forest_verdict(found).verdict == "no signal found"


@pytest.mark.parametrize("fingerprint", [0.0, 0.4])
def test_a_real_effect_is_a_signal_whatever_leaks_beside_it(fingerprint: float) -> None:
    assert forest_verdict(judged_forest(head_rows(fingerprint=fingerprint, effect=0.8))).verdict == "signal"


def area(estimate: float | None, half: float = 0.02) -> Estimate:
    if estimate is None:
        return Estimate(None, None, None, 0.95, 60, 60, "test", reason="nothing")
    return Estimate(estimate, estimate - half, estimate + half, 0.95, 60, 60, "test")


@pytest.mark.parametrize(
    ("rows", "placebo", "leaks"),
    [
        (area(0.70), area(0.70), True),
        (area(0.55), area(0.70), True),
        (area(0.54), area(0.70), False),  # too small a gap to care about
        (area(0.70), area(0.54, 0.01), False),  # too small a placebo to care about
        (area(0.70), area(0.60, 0.15), False),  # a placebo that chance explains
        (area(0.70), area(None), False),
        (area(None), area(0.70), False),
    ],
)
def test_a_leak_needs_a_gap_and_a_placebo(rows: Estimate, placebo: Estimate, leaks: bool) -> None:
    plain = judged_forest(head_rows(n_samples=20, n_heads=4))
    given: dict[Protocol, ForestResult] = {
        "rows": replace(plain["rows"], auc=rows),
        "grouped": replace(plain["grouped"], auc=area(0.5)),
        "placebo": replace(plain["placebo"], auc=placebo),
    }
    shown = forest_evidence(given, area(0.0), **SIZES, has_strata=False, has_baselines=True)
    assert (shown.leak is not None) == leaks
    for missing in ("rows", "placebo"):
        less = {name: one for name, one in given.items() if name != missing}
        assert forest_evidence(less, area(0.0), **SIZES, has_strata=False, has_baselines=True).leak is None


def test_a_forest_of_the_task_type_is_confounded() -> None:
    rows = head_rows(n_samples=120, n_heads=8, rate_of_kind=(0.9, 0.5, 0.1))
    kind = rows.kind_of_sample[rows.sample]
    moved = replace(rows, features=rows.features + 0.3 * kind[:, None])
    found = forest_verdict(judged_forest(moved, stratum=kind), has_strata=True, n_positive=60, n_negative=60)
    assert found.verdict == "no signal found"
    assert "confounded by task type: within one type its AUC is" in found.why
    assert forest_verdict(judged_forest(moved), n_positive=60, n_negative=60).verdict == "signal"


def test_a_single_stratum_is_no_obstacle() -> None:
    rows = head_rows(effect=0.8)
    found = judged_forest(rows, stratum=np.repeat("list", len(rows.label)))
    verdict = forest_verdict(found, has_strata=True)
    assert verdict.verdict == "signal"
    assert verdict.auc == found["grouped"].auc


def test_a_forest_without_scores_says_why() -> None:
    rows = head_rows(n_samples=6, n_heads=2)
    nothing = judge_forest(rows.features, np.ones_like(rows.label), rows.sample, n_trees=2)
    found = forest_verdict(nothing, n_positive=6, n_negative=0)
    assert (found.verdict, found.why) == ("not enough data", "all 6 samples have one label")


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("has_strata", [False, True])
def test_a_detector_shows_its_increment_and_its_p_value(
    known: bool, has_strata: bool, generator: np.random.Generator
) -> None:
    label = np.arange(60) % 2
    features = [Features("all heads", "detector", (generator.normal(size=(60, 3)) + label[:, None],))]
    if known:
        features.append(Features("known", "baseline", (generator.normal(size=(60, 1)),)))
    stratum = np.arange(60) // 20 if has_strata else None
    one = judge_detectors(features, label, stratum=stratum, n_folds=4, n_repeats=2)[0][0]
    shown = detector_evidence(one, **SIZES, has_strata=has_strata)
    assert (shown.auc, shown.increment, shown.p) == (one.auc, one.increment, one.evidence.p_above)
    assert (shown.increment.estimate is None) != known
    assert shown.within == (one.within_strata if has_strata else None)
    assert (shown.sizes.n_folds, shown.sizes.n_repeats, shown.sizes.n_columns) == (4, 2, 1)
    assert "a linear detector on all heads" in verdicts({"a": [replace(shown, p=0.9)]})["a"][0].why


def test_a_detector_without_scores_says_why() -> None:
    label = np.ones(12, dtype=np.int64)
    one = judge_detectors([Features("all heads", "detector", (np.zeros((12, 1)),))], label)[0][0]
    shown = detector_evidence(one, n_positive=12, n_negative=0, has_strata=False)
    assert (shown.reason, shown.p) == ("all 12 samples have one label", None)
    assert (shown.sizes.n_folds, shown.sizes.n_repeats) == (1, 1)


def best(**changes: Any) -> dict[str, Any]:
    row = {"layer": 3, "head": 4, "metric": "PAM_norm", "auc": 0.7, "auc_lower": 0.6, "auc_upper": 0.8, "n": 100}
    return {**row, "auc_within": 0.65, "p_max": 0.01, "q_value": 0.02, "reason": None, **changes}


def family(row: dict[str, Any] | None, *, strata: bool = False, known: bool = False, n_tests: int = 800) -> Verdict:
    shown = family_evidence(row, n_tests=n_tests, n_positive=40, n_negative=60, has_strata=strata, has_baselines=known)
    return verdicts({"a": [shown]})["a"][0]


@pytest.mark.parametrize(
    ("changes", "strata", "verdict"),
    [
        ({}, False, "signal"),
        ({"auc": 0.3}, False, "signal"),
        ({"auc": 0.55}, False, "weak signal"),
        ({"auc": 0.45}, False, "weak signal"),
        ({}, True, "signal"),
        ({"auc": 0.3, "auc_within": 0.35}, True, "signal"),
        ({"auc_within": 0.55}, True, "weak signal"),
        ({"auc_within": 0.55}, False, "signal"),
        ({"p_max": 0.2, "q_value": 0.001}, False, "no signal found"),
        ({"p_max": None}, False, "not enough data"),
        ({"auc": None}, False, "not enough data"),
        ({"auc_within": None}, True, "not enough data"),
    ],
)
def test_single_heads_are_judged_by_the_permutations(changes: dict[str, Any], strata: bool, verdict: str) -> None:
    found = family(best(**changes), strata=strata)
    assert (found.signal, found.verdict) == (FAMILY, verdict)
    assert "None" not in found.why
    if verdict != "not enough data":
        assert "layer 3 head 4 PAM_norm is the strongest of 800 by a permutation" in found.why
        assert f"max-statistic p {best(**changes)['p_max']:.2g}" in found.why
    assert found.increment.reason == "of single heads there is a permutation p-value instead"


@pytest.mark.parametrize("strata", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_the_sentence_says_what_was_permuted(strata: bool, known: bool) -> None:
    why = family(best(), strata=strata, known=known).why
    assert ("permutation within task types" in why) == strata
    assert ("of what the baselines leave of the label" in why) == known


def test_the_minimum_detectable_auc_of_the_best_head_counts_all_of_them() -> None:
    why = family(best(p_max=0.5)).why
    smallest = minimal_auc(40, 60, level=0.9, n_tests=800)
    assert f"minimum detectable AUC with this sample: {smallest:.2f} (80 % power) of any single head" in why
    assert "a detector on all heads can add up what single heads do not show" in why


def test_no_column_is_not_enough_data() -> None:
    assert family(None, n_tests=0).why == "no column has a p-value"
    assert family(best(p_max=None, reason="no permutations were requested")).why == "no permutations were requested"
