"""Batches without labels beside what a monitor was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy.stats import binom

import foretell
from foretell.monitors.monitor import Monitor
from foretell.monitors.shifts.drift import drift_sentence
from foretell.schema.tables import DRIFT
from foretell.storage.runs import Run
from tests.stats.runs import planted_run

PLANTED: dict[str, Any] = {"planted": ("hidden states",), "since": 1, "effect": 2.0}


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Monitor:
    run = planted_run(tmp_path_factory.mktemp("made") / "run", seed=2, **PLANTED)
    return foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.2, confidence=0.8)


def without_labels(run: Run) -> None:
    ids = run.samples["id"].to_list()
    frame = {"id": ids, "behavior_label": None, "label_source": "test", "label_reason": None}
    run.write_labels(pl.DataFrame(frame, schema_overrides={"behavior_label": pl.Int8(), "label_reason": pl.String()}))


def test_a_batch_like_the_calibration_does_not_drift(monitor: Monitor, tmp_path: Path) -> None:
    batch = planted_run(tmp_path / "batch", prefix="b", seed=3, **PLANTED)
    without_labels(batch)
    found = foretell.drift(monitor, batch)
    assert (found.n_groups, found.n_seen, found.n_reference_groups) == (120, 0, 48)
    assert found.p_value is not None
    assert found.p_value > 0.05
    assert found.drifted == []
    assert "no difference was found" in drift_sentence(found)
    assert found.columns.columns == list(DRIFT.dtypes)
    assert monitor.reference is not None
    assert sorted(found.columns["column"]) == sorted(monitor.reference.names)


def test_what_drifts_is_named_with_its_effect(monitor: Monitor, tmp_path: Path) -> None:
    batch = planted_run(tmp_path / "batch", prefix="b", seed=3, tokens=(30, 40), **PLANTED)
    without_labels(batch)
    found = foretell.drift(monitor, batch)
    assert found.p_value == 0.001
    assert found.drifted[0] == "number of tokens"
    top = found.columns.row(0, named=True)
    assert found.distance == top["distance"] > 0.5
    assert top["probability_above"] > 0.8
    assert "differ from those the monitor was made from in number of tokens" in drift_sentence(found)


def test_groups_that_were_seen_are_no_new_ones(monitor: Monitor, tmp_path: Path) -> None:
    again = planted_run(tmp_path / "again", seed=2, **PLANTED)
    found = foretell.drift(monitor, again)
    assert (found.p_value, found.n_groups, found.n_seen) == (None, 0, 120)
    assert "0 new groups and 48 of the monitor" in str(found.reason)
    assert drift_sentence(found).startswith("Drift: undefined: 0 new groups")


def test_the_model_must_be_the_monitors(monitor: Monitor, tmp_path: Path) -> None:
    from tests.stats.runs import give_job

    batch = planted_run(tmp_path / "batch", prefix="b", n_samples=30, seed=3, **PLANTED)
    give_job(batch, {"model": "m", "weights": "another"})
    with pytest.raises(foretell.errors.InputError, match="with another model"):
        foretell.drift(monitor, batch)
    assert foretell.drift(monitor, batch, allow=["weights"], n_permutations=19).p_value is not None


@pytest.mark.slow
@pytest.mark.calibration
def test_batches_without_drift_are_seldom_called_drifted(monitor: Monitor, tmp_path: Path) -> None:
    below = 0
    for seed in range(40):
        batch = planted_run(tmp_path / str(seed), prefix="b", n_samples=40, seed=100 + seed, **PLANTED)
        p_value = foretell.drift(monitor, batch, n_permutations=99, seed=seed).p_value
        assert p_value is not None
        below += p_value <= 0.05
    # One calibration sample for all batches, so that their p-values depend on each other.
    assert below <= binom.ppf(0.9999, 40, 0.05)
