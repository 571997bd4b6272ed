"""From a labelled run to a monitor, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import foretell
from foretell.directions.direction import Direction, DirectionSource
from foretell.errors import InputError
from foretell.monitors.labelled import calibration_samples, labelled_samples
from foretell.storage.runs import Run
from tests.stats.runs import RunOfStates, give_job, planted_run

EASY: dict[str, Any] = {"max_false_positive_rate": 0.2, "confidence": 0.8, "baseline": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunOfStates:
    return planted_run(tmp_path_factory.mktemp("made") / "run", planted=("attention",), since=4, effect=3.0, seed=2)


def labels(run: Run, value: Callable[[str], int | None]) -> None:
    ids = run.samples["id"].to_list()
    frame = {"id": ids, "behavior_label": [value(one) for one in ids], "label_source": "test", "label_reason": None}
    run.write_labels(pl.DataFrame(frame, schema_overrides={"behavior_label": pl.Int8, "label_reason": pl.String}))


def test_threshold_and_recall_are_those_of_calibration_groups(run: RunOfStates) -> None:
    monitor = foretell.fit_monitor(run, **EASY)
    samples = labelled_samples(run, None)
    held = dict(zip(samples.ids, calibration_samples(samples, 0.4, seed=0).tolist(), strict=True))
    label = dict(zip(samples.ids, samples.label.tolist(), strict=True))
    answers = monitor.apply(run).group_by("id").agg(pl.col("score").max(), pl.col("alarm").any())
    own = {one: (score, alarm) for one, score, alarm in answers.iter_rows() if held[one]}
    negative = [score for one, (score, _) in own.items() if label[one] == 0]
    positive = [alarm for one, (_, alarm) in own.items() if label[one] == 1]
    threshold = monitor.threshold
    assert threshold.score in negative
    assert (threshold.n_negative_groups, threshold.n_false_alarms) == (24, sum(s > threshold.score for s in negative))
    assert monitor.recall.share.estimate == pytest.approx(np.mean(positive))
    assert monitor.recall.share.n == len(positive) == 24
    assert monitor.recall.share.estimate is not None
    assert monitor.recall.share.estimate > 0.6
    assert monitor.made_from.n_training_groups == 72
    assert monitor.made_from.held_out_auc is not None
    assert monitor.made_from.held_out_auc > 0.8


def test_a_bar_counts_the_folds_to_its_end_and_changes_nothing(
    run: RunOfStates, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = foretell.fit_monitor(run, **EASY, progress=False)
    assert capsys.readouterr().err == ""
    shown = foretell.fit_monitor(run, **EASY, progress=True)
    assert "7/7" in capsys.readouterr().err  # reading, five folds, all of them
    assert (shown.columns, shown.intercept, shown.threshold) == (quiet.columns, quiet.intercept, quiet.threshold)


def test_groups_are_never_on_both_sides() -> None:
    from foretell.monitors.labelled import Labelled

    group, label = np.repeat(np.arange(40), 3), np.arange(120) % 2
    samples = Labelled(tuple(map(str, range(120))), label, group, tuple(map(str, range(40))), np.ones(120, int), None)
    held = calibration_samples(samples, 0.4, seed=1).reshape(40, 3)
    assert (held.all(axis=1) == held.any(axis=1)).all()
    assert held.all(axis=1).sum() == 16


def test_too_few_groups_give_a_monitor_without_alarms_or_a_refusal(run: RunOfStates) -> None:
    monitor = foretell.fit_monitor(run)
    assert monitor.threshold.score is None
    assert "not enough data: 24 groups" in str(monitor.threshold.reason)
    assert "needs 299" in str(monitor.threshold.reason)
    assert (monitor.recall.share.estimate, monitor.recall.median_first_alarm) == (None, None)
    found = monitor.apply(run)
    assert found["alarm"].is_null().all()
    assert found["score"].is_not_null().all()
    with pytest.raises(InputError, match="299 groups with label 0 are needed for calibration, and 24 of the 60"):
        foretell.fit_monitor(run, allow_no_threshold=False)


def test_the_same_seed_gives_the_same_monitor_and_another_another_split(run: RunOfStates) -> None:
    first, again, other = (foretell.fit_monitor(run, seed=seed, **EASY) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.weight, again.weight)
    assert first.threshold == again.threshold
    assert first.made_from.training_groups != other.made_from.training_groups


def test_of_a_study_its_labels_and_groups_are_taken(run: RunOfStates, tmp_path: Path) -> None:
    ids = run.samples["id"].to_list()
    given = pl.DataFrame({"id": ids, "behavior_label": [index % 2 for index in range(len(ids))]})
    groups = {one: f"g{index // 4}" for index, one in enumerate(ids)}
    study = foretell.study(run, labels=given, group=groups, compute=False)
    monitor = foretell.fit_monitor(study, **EASY)
    made = monitor.made_from
    assert made.n_training_groups + made.n_calibration_groups == len(ids) // 4
    table = foretell.study(run.table(), compute=False)
    for source in (table, tmp_path):
        with pytest.raises(InputError, match="needs a run, its folder, or a study of a run"):
            foretell.fit_monitor(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"behaviour": "sings"}, "has no behaviour or dataset 'sings', but made"),
        ({"signals": ["attention", "smell"]}, "signals must be some of 'attention'"),
        ({"signals": []}, "signals must be some of"),
        ({"signals": "attention"}, "signals must be some of"),
        ({"signals": ["activity"]}, "activity: give the directions that it was read with"),
        ({"scored_at": "every token", "signals": ["attention"]}, r"attention: .*rows=True"),
        ({"scored_at": "every token", "signals": ["hidden states"]}, "hidden states: none of the answer is stored"),
        ({"scored_at": 3}, "scored_at must be"),
        ({"max_heads": 0}, "max_heads and max_layers must be at least 1"),
        ({"calibration": 1.0}, "calibration between 0 and 1"),
        ({"max_false_positive_rate": 1.5}, "must be between 0 and 1, not 1.5"),
    ],
)
def test_wrong_calls_are_refused(run: RunOfStates, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        foretell.fit_monitor(run, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "none of its 30 answers has a label"), (1, "all 30 labelled answers have label 1")],
)
def test_labels_that_say_nothing_are_refused(tmp_path: Path, value: int | None, message: str) -> None:
    run = planted_run(tmp_path / "run", n_samples=30)
    labels(run, lambda _: value)
    with pytest.raises(InputError, match=message):
        foretell.fit_monitor(run)


def test_no_negative_group_for_calibration_gives_no_threshold(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", n_samples=40)
    few = run.samples["id"].to_list()[:3]
    labels(run, lambda one: int(one not in few))
    monitor = foretell.fit_monitor(run, calibration=0.1, **EASY)
    assert (monitor.threshold.score, monitor.threshold.n_negative_groups) == (None, 0)


def test_missing_states_and_constant_masses_are_no_error(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", planted=("confidence",), effect=3.0, since=1)
    for _, states in run.states.values():
        states[::7] = np.nan
        states[:, 1] = 2.0
    monitor = foretell.fit_monitor(run, signals=["hidden states"], **EASY)
    assert np.isfinite(monitor.weight).all()
    found = monitor.apply(run)
    assert 0 < found["score"].null_count() < found.height / 3
    assert not found.filter(pl.col("score").is_null())["alarm"].any()


def test_activity_is_watched_along_the_directions_of_the_run(tmp_path: Path) -> None:
    vectors = np.eye(2, 6, dtype=np.float32)
    source = DirectionSource("mean-difference", "mean", "none", "v2:0", 2, ("a",), 1, 4, 0, "0")
    direction = Direction("truth", vectors, np.array([0.5, 1.0]), np.array([2.0, 3.0]), (None, None), source)
    run = planted_run(tmp_path / "run", planted=("activity",), since=1, effect=2.0)
    with pytest.raises(InputError, match='was not read with this direction "truth"'):
        foretell.fit_monitor(run, directions=[direction])
    give_job(run, {**run.job, "directions": [{"concept": "truth", "vectors": sha256(vectors.tobytes()).hexdigest()}]})
    monitor = foretell.fit_monitor(run, directions=[direction], signals=["activity"], max_layers=1, **EASY)
    assert monitor.columns.activity == (("truth", 1),)
    np.testing.assert_array_equal(monitor.directions.vectors, vectors[1:])
    assert (monitor.directions.mean.tolist(), monitor.directions.standard_deviation.tolist()) == ([1.0], [3.0])
    assert monitor.listen_options == {"layers": (), "hidden": [1], "logprob": False}
