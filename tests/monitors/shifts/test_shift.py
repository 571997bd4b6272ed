"""A monitor on other runs: what is counted, what is refused, and what the verdicts rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

import foretell
from foretell.errors import InputError
from foretell.monitors.monitor import Monitor
from foretell.monitors.recall import Share
from foretell.monitors.shifts.shift import _change
from foretell.schema.tables import SHIFT
from tests.stats.runs import RunOfStates, give_job, planted_run

PLANTED: dict[str, Any] = {"planted": ("attention",), "since": 1, "effect": 3.0, "hidden": False}
JOB = {"model": "m", "weights": "v2:1", "template": "t", "dtype": "float32", "answers": "generate", "directions": []}


def made(path: Path, **options: Any) -> RunOfStates:
    """Return a run of groups that no other run of another prefix has."""
    job = options.pop("job", {})
    run = planted_run(path, **{**PLANTED, **options})
    give_job(run, {**JOB, **job})
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shifts")


@pytest.fixture(scope="module")
def run(folder: Path) -> RunOfStates:
    return made(folder / "made", seed=2)


@pytest.fixture(scope="module")
def other(folder: Path) -> RunOfStates:
    return made(folder / "other", seed=3, prefix="o", n_samples=80, strata=True)


@pytest.fixture(scope="module")
def monitor(run: RunOfStates) -> Monitor:
    return foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.2, confidence=0.8)


def shares(monitor: Monitor, run: RunOfStates, ids: list[str]) -> tuple[float, float]:
    """Return false-positive rate and recall of groups of one answer, counted by hand."""
    found = monitor.apply(run).group_by("id").agg(pl.col("alarm").any())
    joined = run.samples.join(found, on="id").filter(pl.col("id").is_in(ids))
    negative, positive = (joined.filter(pl.col("behavior_label") == label)["alarm"].to_numpy() for label in (0, 1))
    return float(negative.mean()), float(positive.mean())


def test_rates_of_a_run_and_of_its_parts_are_those_of_its_answers(monitor: Monitor, other: RunOfStates) -> None:
    [row] = foretell.shift(monitor, other, n_permutations=49).iter_rows(named=True)
    samples = other.samples
    ids = samples["id"].to_list()
    assert (row["run"], row["part"], row["differs"]) == ("other", "all", None)
    assert (row["false_positive_rate"], row["recall"]) == pytest.approx(shares(monitor, other, ids))
    assert row["n_negative_groups"] == row["n_negative"] == row["n_positive"] == 40
    assert row["n_false_alarms"] == round(40 * row["false_positive_rate"])
    assert row["recall_change"] == pytest.approx(row["recall"] - monitor.recall.share.estimate)
    assert row["recall_change_lower"] < row["recall_change"] < row["recall_change_upper"]
    assert row["false_positive_rate_lower"] <= row["false_positive_rate"] <= row["false_positive_rate_upper"]
    assert row["n_seen_groups"] == 0
    parts = foretell.shift(monitor, other, by="stratum", n_permutations=9)
    assert parts["part"].to_list() == ["kind 0", "kind 1", "kind 2"]
    for one in parts.iter_rows(named=True):
        own = samples.filter(pl.col("stratum") == one["part"])["id"].to_list()
        assert (one["false_positive_rate"], one["recall"]) == pytest.approx(shares(monitor, other, own))
    given = dict(samples.select("id", "stratum").iter_rows())
    assert foretell.shift(monitor, other, by=given, n_permutations=9).equals(parts)
    assert parts.columns == list(SHIFT.dtypes)


def test_short_and_long_answers_are_parted_at_the_usual_length(monitor: Monitor, other: RunOfStates) -> None:
    table = foretell.shift(monitor, other, by="length", n_permutations=9)
    assert monitor.reference is not None
    middle = int(np.median(monitor.reference.values[:, 1]))
    assert table["part"].to_list() == [f"at most {middle} tokens", f"more than {middle} tokens"]
    short = (other.samples["n_tokens_generated"] <= middle).sum()
    assert table["n_negative"][0] + table["n_positive"][0] == short


def test_an_alarm_of_any_answer_makes_the_group_a_false_positive(
    monitor: Monitor, other: RunOfStates, tmp_path: Path
) -> None:
    grouped = made(tmp_path / "grouped", seed=3, prefix="o", n_samples=80, strata=True)
    names = {one: f"group {index // 8}" for index, one in enumerate(grouped.samples["id"])}
    samples = grouped.samples.with_columns(group=pl.col("id").replace_strict(names))
    alarms = monitor.apply(other).group_by("id").agg(pl.col("alarm").any())
    expected = (
        samples.join(alarms, on="id").filter(pl.col("behavior_label") == 0).group_by("group").agg(pl.col("alarm").any())
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(grouped), "samples", property(lambda _: samples))
        [row] = foretell.shift(monitor, grouped, n_permutations=9).iter_rows(named=True)
    assert row["n_negative_groups"] == 10
    assert row["n_negative"] == 40
    assert row["n_false_alarms"] == expected["alarm"].sum()


def test_a_shift_that_raises_scores_breaks_the_rate_and_one_that_does_not_holds(
    monitor: Monitor, folder: Path, tmp_path: Path
) -> None:
    """Labels dealt at random leave the alarms as they are: then half of the alarms are false."""
    same = made(folder / "same", seed=4, prefix="n", n_samples=160)
    broken = made(tmp_path / "broken", seed=5, prefix="b", n_samples=160)
    ids = broken.samples["id"].to_list()
    label = np.random.default_rng(0).integers(0, 2, len(ids))
    frame = {"id": ids, "behavior_label": label, "label_source": "test", "label_reason": None}
    schema = {"behavior_label": pl.Int8(), "label_reason": pl.String()}
    broken.write_labels(pl.DataFrame(frame, schema_overrides=schema))
    few = made(tmp_path / "few", seed=6, prefix="f", n_samples=12)
    table = foretell.shift(monitor, {"same": same, "few": few, "broken": broken}, n_permutations=199)
    assert table["verdict"].to_list() == ["holds", "cannot say yet", "breaks"]
    assert table["n_more_needed"].to_list()[::2] == [0, 0]
    assert table["n_more_needed"][1] > 0
    assert table["recall_change_upper"][2] < 0
    assert table["drift_p"][0] > 0.05


def test_groups_that_the_monitor_was_made_from_are_left_out(monitor: Monitor, run: RunOfStates) -> None:
    [row] = foretell.shift(monitor, run, n_permutations=9).iter_rows(named=True)
    assert (row["verdict"], row["n_negative_groups"], row["n_seen_groups"]) == ("cannot say yet", 0, 120)
    assert (row["false_positive_rate"], row["recall"], row["drift_p"]) == (None, None, None)
    assert "120 groups that the monitor was made from are left out" in row["reason"]
    assert "no new group with label 0" in row["reason"]
    [kept] = foretell.shift(monitor, run, keep_seen=True, n_permutations=9).iter_rows(named=True)
    assert (kept["n_negative_groups"], kept["n_positive"]) == (60, 60)
    [old] = foretell.shift(replace(monitor, reference=None), run).iter_rows(named=True)
    assert (old["n_negative_groups"], old["n_seen_groups"], old["drift_p"]) == (60, None, None)
    assert "saved without what it was made from" in old["reason"]


def test_without_a_threshold_there_is_no_rate_to_hold(run: RunOfStates, other: RunOfStates) -> None:
    bare = foretell.fit_monitor(run)
    [row] = foretell.shift(bare, other, n_permutations=9).iter_rows(named=True)
    assert (row["verdict"], row["n_more_needed"], row["p_holds"]) == ("cannot say yet", None, None)
    assert (row["false_positive_rate"], row["recall"]) == (None, None)
    assert "no threshold: not enough data" in row["reason"]


@pytest.mark.parametrize(
    ("job", "allow", "differs"),
    [
        ({"dtype": "bfloat16"}, "precision", "precision bfloat16, not float32"),
        ({"weights": "v2:2", "model": "q"}, "weights", "model q, not m"),
        ({"weights": "v2:2"}, "weights", "weights v2:2, not v2:1"),
        ({"template": "u"}, "template", "template u, not t"),
    ],
)
def test_another_model_is_tried_only_where_that_is_asked_for(
    monitor: Monitor, tmp_path: Path, job: dict[str, Any], allow: str, differs: str
) -> None:
    other = made(tmp_path / "run", seed=3, prefix="o", n_samples=40, job=job)
    with pytest.raises(InputError, match=r"with another .* foretell\.shift"):
        foretell.shift(monitor, other)
    others = {"weights", "template", "precision"} - {allow}
    with pytest.raises(InputError, match="with another"):
        foretell.shift(monitor, other, allow=others)
    [row] = foretell.shift(monitor, other, allow=[allow], n_permutations=9).iter_rows(named=True)
    assert row["differs"] == differs


def test_sampled_answers_and_longer_ones_are_named(folder: Path, tmp_path: Path) -> None:
    greedy = {"max_new_tokens": 24, "temperature": 0.0, "seed": 0}
    run = made(tmp_path / "made", job={"sampling": greedy})
    monitor = foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.3, confidence=0.8)
    sampled = {"max_new_tokens": 48, "temperature": 1.0, "seed": 7}
    other = made(tmp_path / "other", prefix="o", n_samples=40, job={"sampling": sampled})
    given = made(tmp_path / "given", prefix="g", n_samples=40, job={"answers": "given"})
    table = foretell.shift(monitor, {"sampled": other, "given": given}, n_permutations=9)
    assert table["differs"].to_list() == [
        "max new tokens 48, not 24; temperature 1.0, not 0.0",
        "answers given, not generate",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow": ["dtype"]}, "allow must be some of 'weights', 'template', 'precision', not 'dtype'"),
        ({"allow": "precision"}, "allow must be some of"),
        ({"by": "topic"}, "samples have no column 'topic'; \"length\", or one of id"),
        ({"by": {"nobody": "x"}}, "none of its ids is in the run"),
        ({"behaviour": "sings"}, "has no behaviour or dataset 'sings', but 'made'"),
        ({"level": 1.5}, "level must be between 0 and 1, not 1.5"),
    ],
)
def test_wrong_calls_are_refused(monitor: Monitor, other: RunOfStates, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        foretell.shift(monitor, other, **options)


def test_no_runs_and_runs_without_labels_are_refused(monitor: Monitor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give at least one run"):
        foretell.shift(monitor, {})
    bare = made(tmp_path / "bare", prefix="p", n_samples=20)
    ids = bare.samples["id"].to_list()
    frame = {"id": ids, "behavior_label": None, "label_source": "test", "label_reason": None}
    schema = {"behavior_label": pl.Int8(), "label_reason": pl.String()}
    bare.write_labels(pl.DataFrame(frame, schema_overrides=schema))
    with pytest.raises(InputError, match="mine: none of its 20 answers has a label"):
        foretell.shift(monitor, {"mine": bare})


def test_a_change_of_recall_is_newcombes_interval() -> None:
    """Against the method's published example: 56 of 70 and 48 of 80, with Wilson's intervals."""
    first, second = (
        Share(k / n, *binomtest(k, n).proportion_ci(0.95, "wilson"), 0.95, n, n) for k, n in ((56, 70), (48, 80))
    )
    found = _change(first, second)
    assert (found.estimate, found.lower, found.upper) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
