"""What a monitor keeps of the answers it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import foretell
from foretell.monitors.labelled import calibration_samples, labelled_samples
from foretell.monitors.monitor import Monitor
from foretell.monitors.monitor_columns import Columns
from foretell.monitors.reference import components_of, drawn_answers, group_hashes
from foretell.monitors.run_columns import ScoredAt, moments
from tests.stats.runs import RunOfStates, planted_run

EASY = {"max_false_positive_rate": 0.2, "confidence": 0.8}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunOfStates:
    return planted_run(tmp_path_factory.mktemp("made") / "run", planted=("hidden states",), effect=2.0)


@pytest.mark.parametrize("scored_at", ["checkpoints", 8])
def test_one_answer_of_each_calibration_group_is_kept_and_of_no_other(run: RunOfStates, scored_at: ScoredAt) -> None:
    monitor = foretell.fit_monitor(run, baseline=False, scored_at=scored_at, **EASY)  # type: ignore[arg-type]
    samples = labelled_samples(run, None)
    held = calibration_samples(samples, 0.4, seed=0)
    reference = monitor.reference
    assert reference is not None
    names = np.array(samples.ids)
    assert reference.has_seen(samples.ids).all()
    np.testing.assert_array_equal(reference.has_seen(samples.ids, only_training=True), ~held)
    assert not reference.has_seen(["another", ""]).any()
    highest = dict(monitor.apply(run).group_by("id").agg(pl.col("score").max()).iter_rows())
    columns = dict(zip(reference.names, reference.values.T, strict=True))
    np.testing.assert_allclose(columns["score"], [highest[one] for one in names[held]], rtol=1e-6)
    tokens = samples.n_generated[held] if scored_at == "checkpoints" else np.minimum(samples.n_generated[held], 8)
    np.testing.assert_array_equal(columns["number of tokens"], tokens)
    assert reference.components.shape == (len(monitor.columns.layers), 3, 6)
    gram = np.einsum("lkw,lmw->lkm", reference.components, reference.components)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-5)


def test_a_file_of_before_has_no_reference_and_is_read(run: RunOfStates, tmp_path: Path) -> None:
    from dataclasses import replace

    monitor = foretell.fit_monitor(run, baseline=False, **EASY)  # type: ignore[arg-type]
    replace(monitor, reference=None).save(tmp_path / "old")
    old = Monitor.load(tmp_path / "old")
    assert old.reference is None
    assert old.apply(run).equals(monitor.apply(run))
    monitor.save(tmp_path / "new")
    loaded = Monitor.load(tmp_path / "new").reference
    assert loaded is not None
    assert monitor.reference is not None
    assert loaded.names == monitor.reference.names
    for name in ("values", "components", "training_groups", "calibration_groups"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(monitor.reference, name))


def test_each_group_is_drawn_once_whatever_its_size_and_order() -> None:
    ids = [f"s{index}" for index in range(60)]
    group = np.repeat(np.arange(4), [1, 2, 7, 50])
    drawn = drawn_answers(ids, group)
    assert sorted(group[drawn].tolist()) == [0, 1, 2, 3]
    order = np.random.default_rng(0).permutation(60)
    again = drawn_answers([ids[one] for one in order], group[order])
    assert {ids[order[one]] for one in again} == {ids[one] for one in drawn}
    assert len(drawn_answers(ids, group, most=2)) == 2
    assert drawn_answers([], np.zeros(0, dtype=np.int64)).size == 0


def test_too_few_answers_have_no_components() -> None:
    columns = Columns(layers=(3,), width=5)
    states = np.random.default_rng(0).normal(size=(3, 5))
    assert not components_of(columns, states).any()
    states = np.vstack([states, np.full((2, 5), np.nan)])
    assert not components_of(columns, states).any()


def test_hashes_depend_on_the_name_alone() -> None:
    hashes = group_hashes(["a", "b", "a", "\ud800"])
    assert hashes[0] == hashes[2]
    assert len(set(hashes.tolist())) == 3


def test_the_last_moment_of_each_answer() -> None:
    assert moments(np.array([3, 1, 4]), "checkpoints").last.tolist() == [2, 3, 6]
    assert moments(np.zeros(0, dtype=np.int64), "checkpoints").last.tolist() == []
