"""What is caught without the model's internals, at the same false-positive rate on the same groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import foretell
from foretell.monitors.alarm_threshold import Threshold, alarm_threshold, highest_by_group
from foretell.monitors.baseline_monitor import baseline_scores, best_baseline
from foretell.monitors.described import beside_baseline, described
from foretell.monitors.labelled import Labelled, calibration_samples, group_mixtures, labelled_samples
from tests.stats.runs import planted_run

RATE: dict[str, Any] = {"max_false_positive_rate": 0.2, "confidence": 0.9}


def made_samples(n_groups: int, size: int, generator: np.random.Generator) -> Labelled:
    """Return answers of groups in which a third has label 0 only, a third label 1 only, and a third both."""
    n = n_groups * size
    group = np.repeat(np.arange(n_groups), size)
    label = np.select([group % 3 == 0, group % 3 == 1], [0, 1], generator.integers(0, 2, n))
    names = tuple(map(str, range(n_groups)))
    return Labelled(tuple(map(str, range(n))), label, group, names, np.full(n, 8), None)


def threshold_of(samples: Labelled, held: np.ndarray, highest: np.ndarray) -> Threshold:
    negative = held & (samples.label == 0)
    return alarm_threshold(highest_by_group(highest[negative], samples.group[negative]), **RATE)


def test_signals_that_no_baseline_has_catch_more(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", planted=("attention",), since=1, effect=3.0, n_samples=120)
    monitor = foretell.fit_monitor(run, **RATE)
    found = monitor.baseline
    assert found is not None
    assert found.more == pytest.approx((monitor.recall.share.estimate or 0) - (found.recall.estimate or 0))
    assert found.more_lower is not None
    assert 0.2 < found.more_lower < found.more < (found.more_upper or 0)
    assert 0.0 < (found.detectable or 0) < 0.7
    assert found.recall.n == monitor.recall.share.n
    assert f"Best baseline at the same false-positive rate ({found.name})" in "\n".join(described(monitor))
    assert "more than the baseline; a difference of" in described(monitor)[-1]
    assert f"({found.name})" in repr(monitor)


@pytest.mark.parametrize("scored_at", ["checkpoints", 4])
def test_words_that_say_the_label_are_caught_without_the_internals(tmp_path: Path, scored_at: str | int) -> None:
    run = planted_run(tmp_path / "run", words_since=2, n_samples=100)
    monitor = foretell.fit_monitor(run, scored_at=scored_at, **RATE)  # type: ignore[arg-type]
    assert monitor.baseline is not None
    assert monitor.baseline.name in {"words of the answer so far", "all baselines"}
    assert (monitor.baseline.recall.estimate or 0) > 0.9
    assert monitor.baseline.more < 0
    assert "not shown to be more than the baseline" in "\n".join(described(monitor))


def test_a_word_that_comes_later_is_not_known_before(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", words_since=6, n_samples=80)
    samples = labelled_samples(run, None)
    held = calibration_samples(samples, 0.4, seed=0)
    positive = held & (samples.label == 1)
    best = {}
    for scored_at in (4, 8):
        scores = baseline_scores(run, samples, held, scored_at, seed=0)
        best[scored_at] = np.median(scores["words of the answer so far"][positive])
    assert best[4] < 0.5
    assert best[8] > 1.0


def test_labels_of_held_out_groups_decide_nothing(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", words_since=2, n_samples=40)
    samples = labelled_samples(run, None)
    held = calibration_samples(samples, 0.4, seed=0)
    other = replace(samples, label=np.where(held, 1 - samples.label, samples.label))
    found, again = (baseline_scores(run, one, held, 4, seed=0) for one in (samples, other))
    assert list(found) == list(again)
    for name, score in found.items():
        np.testing.assert_array_equal(score, again[name])
        assert np.isneginf(score[~held]).all()
        assert np.isfinite(score[held]).all()


@pytest.mark.parametrize("size", [1, 3])
def test_the_interval_is_that_of_groups_drawn_anew(size: int, generator: np.random.Generator) -> None:
    samples = made_samples(120, size, generator)
    held = calibration_samples(samples, 0.5, seed=1)
    signal = samples.label + generator.normal(size=(2, len(held)))
    monitor, baseline = 2.0 * samples.label + signal[0], signal[1]
    found = best_baseline({"lengths": baseline}, monitor, samples, held, threshold_of(samples, held, monitor))
    assert found is not None
    mixture = group_mixtures(samples)
    draws = []
    for _ in range(400):
        chosen = [
            generator.choice(members, len(members))
            for value in (1, 2, 3)
            if len(members := np.unique(samples.group[held & (mixture[samples.group] == value)]))
        ]
        # Every time a group is drawn it is a group of its own.
        rows = [np.flatnonzero(samples.group == one) for one in np.concatenate(chosen)]
        group = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
        drawn, every = np.concatenate(rows), np.ones(len(group), dtype=bool)
        names = tuple(map(str, range(len(rows))))
        anew = Labelled(tuple(map(str, drawn)), samples.label[drawn], group, names, samples.n_generated[drawn], None)
        recalls = []
        for one in (monitor[drawn], baseline[drawn]):
            score = threshold_of(anew, every, one).score
            assert score is not None
            recalls.append((one[anew.label == 1] > score).mean())
        draws.append(recalls[0] - recalls[1])
    assert [found.more_lower, found.more_upper] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.06)
    assert found.detectable == pytest.approx(2.8 * np.std(draws), rel=0.15)


def test_the_best_of_several_is_taken_and_none_is_better_than_itself(generator: np.random.Generator) -> None:
    samples = made_samples(90, 1, generator)
    held = np.ones(90, dtype=bool)
    strong, weak = samples.label * 3 + generator.normal(size=90), generator.normal(size=90)
    threshold = threshold_of(samples, held, strong)
    found = best_baseline({"weak": weak, "strong": strong}, strong, samples, held, threshold)
    assert found is not None
    assert (found.name, found.more, found.more_lower, found.more_upper, found.detectable) == ("strong", 0, 0, 0, 0)


def test_where_nothing_can_be_compared_it_says_so(generator: np.random.Generator) -> None:
    samples = made_samples(30, 1, generator)
    score, held = generator.normal(size=30), np.ones(30, dtype=bool)
    known = threshold_of(samples, held, score)
    none = replace(known, score=None, reason="not enough data")
    assert best_baseline({"lengths": score}, score, samples, held, none) is None
    assert best_baseline({}, score, samples, held, known) is None
    assert best_baseline({"lengths": score}, score, samples, held & (samples.label == 0), known) is None
    # 12 groups are enough for a threshold above all of them, and say nothing of how that varies.
    few = held & (np.cumsum(samples.label == 0) <= 12)
    found = best_baseline({"lengths": score}, score, samples, few, threshold_of(samples, few, score))
    assert found is not None
    assert (found.more_lower, found.more_upper, found.detectable) == (None, None, None)
    assert "too few calibration groups of label 0 for an interval" in beside_baseline(found)


@pytest.mark.calibration
@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_the_interval_excludes_no_difference_as_seldom_as_it_says(shared: float) -> None:
    """Two scores are equally good; they may have some of their noise in common."""
    generator = np.random.default_rng(int(10 * shared))
    excluded = 0
    for _ in range(100):
        samples = made_samples(90, 2, generator)
        held, n = np.ones(180, dtype=bool), (2, 180)
        noise = np.sqrt(shared) * generator.normal(size=180) + np.sqrt(1 - shared) * generator.normal(size=n)
        first, second = 1.5 * samples.label + noise
        found = best_baseline({"other": second}, first, samples, held, threshold_of(samples, held, first))
        assert found is not None
        assert found.more_lower is not None
        excluded += found.more_lower > 0 or (found.more_upper or 0) < 0
    assert excluded <= binom.ppf(0.999, 100, 0.05)
