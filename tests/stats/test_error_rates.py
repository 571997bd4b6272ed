"""Whole studies of simulated tables: how often each verdict is right where the truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from scipy.stats import binom

import foretell
from foretell.stats.auc.intervals import Estimate
from foretell.stats.study import Study
from tests.stats.fingerprints import head_rows

pytestmark = [pytest.mark.calibration, pytest.mark.slow]

QUICK: dict[str, Any] = {"n_trees": 40, "n_permutations": 99, "detector_repeats": 2, "n_jobs": 1, "progress": False}
SHARED: dict[str, Any] = {"n_samples": 60, "n_heads": 12, "fingerprint": 1.0}
KINDS: dict[str, Any] = {
    "n_samples": 120,
    "n_heads": 12,
    "kind_effect": 1.5,
    "rate_of_kind": (0.9, 0.5, 0.1),
    "noise": 0.3,
}
NOTHING: dict[str, dict[str, Any]] = {
    "no fingerprint": {"n_samples": 60, "n_heads": 12},
    "heads differ": {"n_samples": 60, "n_heads": 12, "fingerprint": 0.15, "head_spread": 1.5, "noise": 0.5},
}


def studied(seed: int, *, stratum: str | None = None, forest_rows: int | None = None, **kind: Any) -> Study:
    table = head_rows(seed=seed, **kind).table()
    return foretell.study(table, stratum=stratum, seed=seed, compute=False, forest_rows=forest_rows, **QUICK)


def verdicts(found: Study) -> dict[str, tuple[str, str]]:
    rows = found.verdicts.select("signal", "verdict", "why").iter_rows()
    return {signal: (verdict, why) for signal, verdict, why in rows}


def allowed(n: int, rate: float = 0.05) -> int:
    """Return how many of n may go wrong at a rate before chance is an excuse in fewer than one of a thousand."""
    return int(binom.isf(0.001, n, rate))


def holds(found: Estimate, value: float) -> bool:
    assert found.lower is not None
    assert found.upper is not None
    return found.lower <= value <= found.upper


@cache
def of_nothing(kind: str) -> tuple[dict[str, tuple[str, str]], ...]:
    return tuple(verdicts(studied(seed, **NOTHING[kind])) for seed in range(16))


def counted(found: Iterable[dict[str, tuple[str, str]]], signal: str) -> Counter[str]:
    return Counter(one[signal][0] for one in found)


def test_recognised_samples_are_a_leak() -> None:
    held, names = 0, Counter[str]()
    for seed in range(8):
        found = studied(seed, **SHARED)
        rows, grouped = (found.forests["alpaca"][protocol].auc for protocol in ("rows", "grouped"))
        assert (rows.estimate or 0) > 0.6
        held += holds(grouped, 0.5)
        name, why = verdicts(found)["forest on rows"]
        names[name] += 1
        assert name != "leak" or "recognising samples" in why
    assert held >= 8 - allowed(8)
    assert names["leak"] >= 7


@pytest.mark.parametrize("kind", NOTHING)
def test_no_leak_is_cried_where_nothing_can_be_recognised(kind: str) -> None:
    assert counted(of_nothing(kind), "forest on rows")["leak"] == 0


@pytest.mark.parametrize("kind", NOTHING)
@pytest.mark.parametrize(
    "signal", ["all heads", "best single head", "mean over heads", "forest on rows", "any single head"]
)
def test_a_signal_is_claimed_in_noise_no_more_often_than_stated(kind: str, signal: str) -> None:
    names = counted(of_nothing(kind), signal)
    assert sum(names.values()) == 16
    assert names["signal"] + names["weak signal"] <= allowed(16)


def test_a_real_effect_is_a_signal_although_samples_can_be_recognised() -> None:
    found = [verdicts(studied(seed, n_samples=60, n_heads=12, effect=0.8, fingerprint=0.4)) for seed in range(5)]
    for signal in ("all heads", "best single head", "mean over heads", "forest on rows", "any single head"):
        assert counted(found, signal)["signal"] >= 4, signal


def test_a_detector_of_the_task_type_does_not_predict_the_behaviour() -> None:
    held, confounded = {"all heads": 0, "best single head": 0}, 0
    names: Counter[str] = Counter()
    forests: Counter[str] = Counter()
    for seed in range(10):
        found = studied(seed, stratum="stratum", forest_rows=400, **KINDS)
        for one in found.judged["alpaca"][0]:
            if one.name in held:
                assert (one.auc.estimate or 0) > 0.6
                held[one.name] += holds(one.within_strata, 0.5)
        name, why = verdicts(found)["all heads"]
        names[name] += 1
        confounded += "confounded by task type" in why
        forest = verdicts(found)["forest on rows"]
        forests[forest[0]] += 1
        assert "within task types" in forest[1]
    assert min(held.values()) >= 10 - allowed(10)
    assert confounded >= 10 - allowed(10)
    assert names["no signal found"] >= 5
    assert names["signal"] <= allowed(10)
    assert forests["signal"] <= allowed(10)


def test_one_head_is_lost_in_rows_and_found_by_detectors() -> None:
    found = [verdicts(studied(seed, n_samples=80, n_heads=24, effect_in_one_head=1.5, noise=0.5)) for seed in range(5)]
    assert counted(found, "forest on rows")["signal"] == 0
    for signal in ("all heads", "best single head", "any single head"):
        assert counted(found, signal)["signal"] == 5, signal


def test_one_head_among_many_is_found_although_all_heads_together_drown_it() -> None:
    found = studied(1, forest_rows=2000, n_samples=100, n_heads=270, effect_in_one_head=1.2, noise=0.5)
    judged = {one.name: one for one in found.judged["alpaca"][0]}
    together, best = judged["all heads"], judged["best single head"]
    assert together.n_features == 810
    assert (together.auc.upper or 1) < (best.auc.lower or 0)
    said = verdicts(found)
    assert said["all heads"][0] == "no signal found"
    assert said["best single head"][0] == "signal"
    assert said["any single head"][0] == "signal"
