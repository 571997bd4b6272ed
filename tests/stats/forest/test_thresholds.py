from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from foretell.stats.folds import derived_seed, grouped_folds
from foretell.stats.forest.measures import OBJECTIVES, Objective
from foretell.stats.forest.thresholds import best_cut, threshold_rules

ORACLES = {
    "accuracy": metrics.accuracy_score,
    "f1": lambda truth, said: metrics.f1_score(truth, said, zero_division=0),
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "youden": lambda truth, said: 2 * metrics.balanced_accuracy_score(truth, said) - 1,
}

rows = st.lists(
    st.tuples(st.floats(-1e3, 1e3, width=16, allow_subnormal=False), st.integers(0, 1)), min_size=2, max_size=25
).filter(lambda pairs: len({label for _, label in pairs}) == 2)


@settings(max_examples=100)
@given(rows, st.sampled_from(OBJECTIVES))
def test_no_other_cut_is_better(pairs: list[tuple[float, int]], objective: Objective) -> None:
    value, label = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    cut = best_cut(value, label, objective=objective)
    reached = ORACLES[objective](label, cut.predict(value))
    assert reached == pytest.approx(cut.value, abs=1e-12)
    for other in (-np.inf, *value):
        assert ORACLES[objective](label, value > other) <= reached + 1e-12
        assert ORACLES[objective](label, value <= other) <= reached + 1e-12


def test_neighbouring_floats_are_distinguished() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2.0))
    cut = best_cut(np.array([low, high]), np.array([0, 1]))
    assert cut.predict(np.array([low, high])).tolist() == [False, True]


def test_the_side_can_be_held_fixed() -> None:
    value, label = np.arange(6.0), np.array([1, 1, 1, 0, 0, 0])
    assert best_cut(value, label).side == "below"
    assert best_cut(value, label, side="above").value == 0.0


def test_held_out_value_is_that_of_cuts_from_training_groups(generator: np.random.Generator) -> None:
    group = np.repeat(np.arange(40), 5)
    label = (group % 2).astype(np.int64)
    value = generator.normal(size=200) + 0.8 * label
    (rule,) = threshold_rules(value, label, group, objectives=("balanced_accuracy",), n_folds=4, seed=6)
    folds = grouped_folds(label, group, n_folds=4, seed=6)
    said = np.zeros(200, dtype=bool)
    cuts = []
    for fold in range(4):
        cuts.append(best_cut(value[folds.train(fold)], label[folds.train(fold)], objective="balanced_accuracy"))
        said[folds.heldout(fold)] = cuts[-1].predict(value[folds.heldout(fold)])
    assert rule.heldout.estimate == pytest.approx(metrics.balanced_accuracy_score(label, said), abs=1e-12)
    assert rule.threshold == np.median([cut.threshold for cut in cuts])
    assert rule.train_value == pytest.approx(np.mean([cut.value for cut in cuts]))
    lower, estimate, upper = rule.heldout.lower, rule.heldout.estimate, rule.heldout.upper
    assert lower is not None
    assert estimate is not None
    assert upper is not None
    assert lower < estimate < upper
    assert rule.heldout.n_groups == 40


def test_noise_looks_better_on_training_groups_than_on_others() -> None:
    train, heldout = [], []
    for seed in range(30):
        generator = np.random.default_rng(derived_seed(seed, "noise"))
        value, label = generator.normal(size=40), generator.permutation(np.arange(40) % 2)
        (rule,) = threshold_rules(value, label, np.arange(40), objectives=("youden",), seed=seed)
        train.append(rule.train_value)
        assert rule.heldout.estimate is not None
        heldout.append(rule.heldout.estimate)
    assert np.mean(train) > 0.2
    assert abs(np.mean(heldout)) < 0.12


def test_rows_that_are_not_finite_are_left_out(generator: np.random.Generator) -> None:
    value, label = generator.normal(size=30), np.arange(30) % 2
    group = np.arange(30)
    more = threshold_rules(np.append(value, [np.nan, np.inf]), np.append(label, [0, 1]), np.append(group, [30, 31]))
    assert more == threshold_rules(value, label, group)


def test_one_label_has_a_reason() -> None:
    rules = threshold_rules(np.arange(5.0), np.ones(5, dtype=np.int64), np.arange(5))
    assert {rule.reason for rule in rules} == {"all 5 samples have one label"}
    assert all(rule.heldout.estimate is None and rule.side is None for rule in rules)


@pytest.mark.calibration
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_intervals_hold_although_other_groups_would_have_led_to_other_cuts(shift: float) -> None:
    found = []
    for seed in range(120):
        generator = np.random.default_rng(derived_seed(seed, "cover"))
        label = generator.permutation(np.arange(60) % 2)
        value = generator.normal(size=60) + shift * label
        (rule,) = threshold_rules(value, label, np.arange(60), objectives=("youden",), seed=seed)
        found.append(rule.heldout)
    truth = np.mean([one.estimate for one in found if one.estimate is not None])
    held = [one.lower <= truth <= one.upper for one in found if one.lower is not None and one.upper is not None]
    assert len(held) == 120
    assert all((one.lower or 0) >= -1 and (one.upper or 0) <= 1 for one in found)
    assert np.mean(held) >= 0.92
