"""Which answers of a run a monitor is tried on."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import foretell
from foretell.errors import InputError
from foretell.monitors.shifts.tried_run import _of_behaviour, tried_run
from tests.stats.runs import RunOfStates, planted_run

SAMPLES = pl.DataFrame(
    {"id": ["b", "a", "c"], "dataset": ["x", "x", "y"], "behaviour": ["lied", "sang", None]},
    schema_overrides={"behaviour": pl.String},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunOfStates:
    return planted_run(tmp_path_factory.mktemp("made") / "run", planted=("attention",), effect=2.0, hidden=False)


@pytest.mark.parametrize(
    ("wanted", "made", "ids"),
    [(None, "sang", ["a"]), ("lied", "sang", ["b"]), ("x", "sang", ["a", "b"]), (None, None, ["a", "b", "c"])],
)
def test_answers_are_of_the_monitors_behaviour_or_the_wanted_one(
    run: RunOfStates, wanted: str | None, made: str | None, ids: list[str]
) -> None:
    assert _of_behaviour(run, SAMPLES, wanted, made)["id"].to_list() == ids


def test_runs_that_name_no_behaviour_are_taken_whole(run: RunOfStates) -> None:
    samples = SAMPLES.with_columns(behaviour=pl.lit(None, dtype=pl.String))
    assert _of_behaviour(run, samples, None, "sang").height == 3


def test_a_run_of_another_behaviour_is_refused(run: RunOfStates) -> None:
    with pytest.raises(InputError, match="no behaviour 'danced', which is the monitor's, but 'lied', 'sang', 'x', 'y'"):
        _of_behaviour(run, SAMPLES, None, "danced")


def test_alarms_are_those_of_apply(run: RunOfStates, tmp_path: Path) -> None:
    monitor = foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.3, confidence=0.8)
    other = planted_run(tmp_path / "o", planted=("attention",), prefix="o", effect=2.0, hidden=False, seed=1)
    tried = tried_run(monitor, other)
    expected = monitor.apply(other).group_by("id").agg(pl.col("alarm").any()).sort("id")
    assert tried.samples["has_alarm"].to_list() == expected["alarm"].to_list()
    assert tried.samples["has_alarm"].any()
    assert not tried.samples["is_seen"].any()
    assert tried.profile is not None
    assert monitor.reference is not None
    assert tried.profile.shape == (other.samples.height, len(monitor.reference.names))


def test_a_run_that_lacks_what_is_looked_at_is_refused(run: RunOfStates, tmp_path: Path) -> None:
    from dataclasses import replace

    from foretell.monitors.monitor_columns import Columns

    monitor = foretell.fit_monitor(
        run, baseline=False, signals=["attention"], max_false_positive_rate=0.3, confidence=0.8
    )
    columns = Columns(heads=tuple((layer + 9, head) for layer, head in monitor.columns.heads))
    n = sum(columns.sizes.values())
    other = replace(monitor, columns=columns, centre=monitor.centre[:n], weight=monitor.weight[:n], reference=None)
    with pytest.raises(InputError, match="no answer has all the numbers that the monitor looks at"):
        tried_run(other, run)
