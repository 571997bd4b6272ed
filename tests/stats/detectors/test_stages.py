"""A stage adds to what is known: its slope, its choice of a candidate, and what its models are fitted on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit

from foretell.stats.detectors.learners import Linear
from foretell.stats.detectors.stages import Predictor, Training, best_slope, fit_stage


def training(generator: np.random.Generator, n: int = 60, per_group: int = 1) -> Training:
    offset = generator.normal(size=n)
    label = (generator.random(n) < expit(offset)).astype(np.int64)
    return Training(label, np.arange(n) // per_group, offset)


def log_loss(slope: float, change: np.ndarray, known: Training) -> float:
    margin = known.offset + slope * change
    return float(np.sum(np.logaddexp(0, margin) - known.label * margin))


@dataclass
class Spy:
    """Gives the changes of its candidates by the only column, and remembers what it was fitted on."""

    candidates: tuple[float, ...] = (1.0,)
    fits: list[tuple[Training, int | None]] = field(default_factory=list)
    columns: list[np.ndarray] = field(default_factory=list)
    predicted: list[np.ndarray] = field(default_factory=list)

    @property
    def n_candidates(self) -> int:
        return len(self.candidates)

    def learn(self, features: np.ndarray, training: Training, *, only: int | None, seed: int) -> Predictor:
        self.fits.append((training, only))
        self.columns.append(features[:, 0])
        factors = np.array(self.candidates if only is None else self.candidates[only : only + 1])

        def predict(others: np.ndarray) -> np.ndarray:
            self.predicted.append(others[:, 0])
            return np.asarray(factors[:, None] * others[:, 0])

        return predict


@pytest.mark.parametrize("effect", [-1.0, 0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("steepest", [2.0, 20.0])
def test_the_slope_has_the_lowest_log_loss(effect: float, steepest: float, generator: np.random.Generator) -> None:
    known = training(generator)
    change = generator.normal(size=60) + effect * (known.label - expit(known.offset))
    found = best_slope(change, known, steepest=steepest)
    oracle = minimize_scalar(
        log_loss, bounds=(0, steepest), args=(change, known), method="bounded", options={"xatol": 1e-9}
    )
    assert found == pytest.approx(oracle.x, abs=1e-4)
    assert log_loss(found, change, known) <= oracle.fun + 1e-9


@pytest.mark.parametrize(
    ("change", "slope"), [(np.array([-1.0, 1.0]), 2.0), (np.array([1.0, -1.0]), 0.0), (np.zeros(2), 0.0)]
)
def test_the_slope_stays_within_its_bounds(change: np.ndarray, slope: float) -> None:
    known = Training(np.array([0, 1]), np.arange(2), np.zeros(2))
    assert best_slope(change, known) == slope


def test_a_slope_of_zero_adds_exactly_nothing_inside(generator: np.random.Generator) -> None:
    known = training(generator)
    wrong = -(known.label - 0.5)[:, None]
    stage = fit_stage(Spy(), wrong, known, seed=0)
    assert stage.slope == 0.0
    assert (stage.inner == 0.0).all()


def test_inner_changes_are_the_slope_times_the_change_of_the_chosen_candidate(generator: np.random.Generator) -> None:
    known = training(generator)
    column = generator.normal(size=60) + 1.5 * known.label
    stage = fit_stage(Spy((-1.0, 0.6, 0.0)), column[:, None], known, seed=0)
    assert stage.chosen == 1
    assert stage.slope == pytest.approx(best_slope(0.6 * column, known))
    assert stage.inner == pytest.approx(stage.slope * 0.6 * column)
    assert stage.change(column[:, None]) == pytest.approx(0.6 * column)  # before the slope


def test_of_equal_candidates_the_most_cautious_is_chosen(generator: np.random.Generator) -> None:
    known = training(generator)
    assert fit_stage(Spy((0.5, 0.5)), known.label[:, None].astype(float), known, seed=0).chosen == 0


@pytest.mark.parametrize("per_group", [1, 4])
def test_no_model_sees_a_group_that_it_scores(per_group: int, generator: np.random.Generator) -> None:
    known, spy = training(generator, per_group=per_group), Spy()
    stage = fit_stage(spy, np.arange(60.0)[:, None], known, seed=3)
    assert [only for _, only in spy.fits] == [None, None, None, stage.chosen]
    scored: list[int] = []
    for (part, _), here in zip(spy.fits, spy.predicted, strict=False):
        held_out = here.astype(np.int64)
        assert set(part.group).isdisjoint(known.group[held_out])
        scored += held_out.tolist()
    assert sorted(scored) == list(range(60))
    last, _ = spy.fits[-1]
    assert (last.label == known.label).all()


def test_a_part_of_the_training_samples_keeps_everything_together(generator: np.random.Generator) -> None:
    known, spy = training(generator, per_group=2), Spy()
    fit_stage(spy, np.arange(60.0)[:, None], known, seed=3)
    for (part, _), column in zip(spy.fits, spy.columns, strict=True):
        here = column.astype(np.int64)
        for name in ("label", "group", "offset"):
            assert (getattr(part, name) == getattr(known, name)[here]).all()


@pytest.mark.parametrize(
    "group", [np.zeros(10, dtype=np.int64), np.r_[np.zeros(9, dtype=np.int64), 1]], ids=["one group", "one of a label"]
)
def test_groups_that_cannot_be_split_leave_the_most_cautious_candidate(group: np.ndarray) -> None:
    label = (np.arange(10) == 9).astype(np.int64)
    spy = Spy((1.0, 2.0))
    stage = fit_stage(spy, np.arange(10.0)[:, None], Training(label, group, np.zeros(10)), seed=0)
    assert (stage.chosen, stage.slope) == (0, 1.0)
    assert (stage.inner == 0).all()
    assert [only for _, only in spy.fits] == [0]


def test_noise_gets_a_stronger_penalty_than_signal(generator: np.random.Generator) -> None:
    known = Training(np.arange(200) % 2, np.arange(200), np.zeros(200))
    learner = Linear(np.zeros(50, dtype=np.int64))
    lost, found = [], []
    for seed in range(5):
        noise = generator.normal(size=(200, 50))
        lost.append(fit_stage(learner, noise, known, seed=seed))
        noise[:, 0] += 6 * known.label
        found.append(fit_stage(learner, noise, known, seed=seed))
    assert np.mean([stage.chosen for stage in lost]) < min(stage.chosen for stage in found)
    assert min(stage.slope for stage in found) > 1.0


def test_the_seed_decides_the_inner_folds(generator: np.random.Generator) -> None:
    known, features = training(generator), generator.normal(size=(60, 3))
    learner = Linear(np.zeros(3, dtype=np.int64), (1.0,))
    first, again, other = (fit_stage(learner, features + known.label[:, None], known, seed=seed) for seed in (1, 1, 2))
    assert (first.inner == again.inner).all()
    assert (first.inner != other.inner).any()
    assert (first.change(features) == other.change(features)).all()  # of the fit on all samples nothing is random
