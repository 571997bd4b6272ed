"""The score of a monitor and its probability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from foretell.errors import InputError
from foretell.monitors.fitted_score import Choice, FittedScore, fit_score
from foretell.monitors.monitor_columns import Columns, linear_score
from foretell.monitors.run_columns import RunColumns, moments
from foretell.stats.signals.run_signals import FAMILIES
from foretell.storage.runs import Run
from tests.stats.runs import planted_run

CHOICE = Choice(FAMILIES, max_heads=2, max_layers=1, concepts=("truth",), state_dtype="float32", seed=0)


def source(run: Run) -> tuple[RunColumns, np.ndarray]:
    samples = run.samples
    lengths = samples["n_tokens_generated"].cast(pl.Int64).to_numpy()
    rows = moments(lengths, "checkpoints")
    return RunColumns(run, samples["id"].to_list(), rows, "checkpoints"), samples["behavior_label"].cast(
        pl.Int64
    ).to_numpy()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted_run(tmp_path_factory.mktemp("made") / "run", planted=("attention", "hidden states"), since=1, seed=5)


@pytest.fixture(scope="module")
def fitted(run: Run) -> FittedScore:
    columns, label = source(run)
    return fit_score(columns, label, np.arange(len(label)), np.arange(len(label)) < 80, CHOICE)


def test_it_looks_at_no_more_than_it_may_and_at_what_carries_the_label(fitted: FittedScore) -> None:
    columns = fitted.columns
    assert len(columns.heads) <= 2
    assert (1, 0) in columns.heads
    assert len(columns.layers) == 1
    assert len(columns.activity) == 1
    assert fitted.centre.shape == fitted.weight.shape == (sum(columns.sizes.values()),)


def test_it_predicts_the_labels_of_samples_that_it_has_not_seen(run: Run, fitted: FittedScore) -> None:
    columns, label = source(run)
    numbers = columns.numbers(fitted.columns)
    score = linear_score(fitted.columns.matrix(numbers), fitted.centre, fitted.weight, fitted.intercept)
    others = columns.rows.sample >= 80
    assert roc_auc_score(label[columns.rows.sample[others]], score[others]) > 0.85


def test_the_probability_is_platts_of_held_out_scores(run: Run, fitted: FittedScore) -> None:
    columns, label = source(run)
    known = label[columns.rows.sample[fitted.rows]]
    model = LogisticRegression(C=1e3, tol=1e-10, max_iter=1000).fit(fitted.held_out[:, None], known)
    assert fitted.slope == pytest.approx(float(model.coef_[0, 0]), rel=1e-3)
    assert fitted.shift == pytest.approx(float(model.intercept_[0]), abs=1e-3)
    assert fitted.slope > 0


def test_labels_and_numbers_of_other_samples_do_not_matter(run: Run, fitted: FittedScore) -> None:
    columns, label = source(run)
    training = np.arange(len(label)) < 80
    other = fit_score(columns, np.where(training, label, 1 - label), np.arange(len(label)), training, CHOICE)
    assert other.columns == fitted.columns
    np.testing.assert_array_equal(other.weight, fitted.weight)


def test_noise_has_held_out_scores_that_say_nothing(tmp_path: Path) -> None:
    columns, label = source(planted_run(tmp_path / "run", seed=8))
    fitted = fit_score(columns, label, np.arange(len(label)), np.ones(len(label), dtype=bool), CHOICE)
    known = label[columns.rows.sample[fitted.rows]]
    assert 0.3 < roc_auc_score(known, fitted.held_out) < 0.7


@pytest.mark.parametrize("n", [1, 5])
def test_a_score_does_not_depend_on_the_rows_beside_it(generator: np.random.Generator, n: int) -> None:
    matrix, centre, weight = generator.normal(size=(200, 1203)), np.zeros(1203), generator.normal(size=1203)
    every = linear_score(matrix, centre, weight, 0.25)
    np.testing.assert_array_equal(linear_score(matrix[7 : 7 + n].copy(), centre, weight, 0.25), every[7 : 7 + n])
    assert every == pytest.approx(matrix @ weight + 0.25)


def test_columns_that_vary_by_rounding_have_no_weight(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", planted=("hidden states",), since=1, seed=5)
    noise = np.random.default_rng(0)
    for _, states in run.states.values():
        states[:, 3] = 7.0 * (1 + 1e-7 * noise.normal(size=len(states)))
    columns, label = source(run)
    choice = Choice(("hidden states",), 2, 1, (), "float32", 0)
    fitted = fit_score(columns, label, np.arange(len(label)), np.ones(len(label), dtype=bool), choice)
    assert fitted.weight[3] == 0.0
    assert (fitted.weight[[0, 1, 2, 4, 5]] != 0).all()


def test_one_label_among_the_training_groups_is_refused(run: Run) -> None:
    columns, label = source(run)
    with pytest.raises(InputError, match="a monitor cannot be fitted: all 60 samples have one label"):
        fit_score(columns, label, np.arange(len(label)), label == 1, CHOICE)


def test_sizes_and_blocks_of_columns() -> None:
    columns = Columns(
        heads=((0, 1), (2, 0)), layers=(3, 5), width=4, activity=(("a", 1),), confidence=True, length=True
    )
    assert list(columns.sizes.values()) == [10, 4, 4, 2, 2, 1]
    assert columns.blocks.tolist() == [0] * 10 + [1] * 4 + [2] * 4 + [3] * 2 + [4] * 2 + [5]
    assert columns.attention_layers == (0, 2)
    assert columns.state_layers == (1, 3, 5)
