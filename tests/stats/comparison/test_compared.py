"""Two studies side by side: what differs is found, what does not is not, and the reasons are given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import ttest_rel

import foretell
from foretell.errors import InputError
from foretell.schema.tables import COMPARISON, COMPARISON_HEADS, conform
from foretell.stats.comparison.comparison import Comparison
from foretell.stats.study import Study
from foretell.stats.verdicts.error_rate import adjusted
from tests.stats.runs import planted_run
from tests.stats.tables import head_table

QUICK = {"n_trees": 5, "n_permutations": 0, "detector_repeats": 2, "n_jobs": 1, "compute": False, "progress": False}


def studied(table: pl.DataFrame, **options: object) -> Study:
    return foretell.study(table, **(QUICK | options))  # type: ignore[arg-type]


def made(effect: float = 0.0, *, n_samples: int = 60, seed: int = 1) -> Study:
    return studied(head_table(n_samples=n_samples, effect=effect, datasets=("alpaca",), seed=seed))


@pytest.fixture(scope="module")
def sides() -> tuple[Study, Study]:
    """The same samples with the same labels; the second side has a head that carries the label."""
    return made(), made(4.0)


@pytest.fixture(scope="module")
def found(sides: tuple[Study, Study]) -> Comparison:
    return foretell.compare(*sides, n_permutations=500)


def test_the_head_that_differs_is_found_in_attention_and_auc(found: Comparison) -> None:
    for kind in ("attention", "head AUC"):
        row = found.table.row(by_predicate=pl.col("kind") == kind, named=True)
        assert row["what"].startswith("layer 1, head 2, PAM_norm (largest of 18)")
        assert row["p_adjusted"] < 0.05
        assert row["upper"] < 0
        others = found.heads.filter((pl.col("kind") == kind) & ~((pl.col("layer") == 1) & (pl.col("head") == 2)))
        assert others["difference"].abs().max() == 0
    rate = found.table.row(by_predicate=pl.col("kind") == "label rate", named=True)
    assert (rate["difference"], rate["p"]) == (0.0, 1.0)
    assert rate["lower"] < 0 < rate["upper"]


def test_numbers_of_each_side_are_those_of_its_study(sides: tuple[Study, Study], found: Comparison) -> None:
    for side, study in zip(("first", "second"), sides, strict=True):
        auc = dict(study.detectors.select("detector", "auc").iter_rows())
        for what, value in found.table.filter(kind="detector AUC").select("what", side).iter_rows():
            assert value == pytest.approx(auc[what])
        association = study.association.select("layer", "head", "metric", auc="auc")
        heads = found.heads.filter(kind="head AUC").join(association, on=["layer", "head", "metric"])
        np.testing.assert_allclose(heads[side], heads["auc"])


def test_attention_of_the_same_samples_is_a_paired_t_test(sides: tuple[Study, Study], found: Comparison) -> None:
    values = [
        study.table.frame.filter((pl.col("layer") == 1) & (pl.col("head") == 2)).sort("id")["QAM_norm"].to_numpy()
        for study in sides
    ]
    row = found.heads.row(
        by_predicate=(pl.col("kind") == "attention")
        & (pl.col("layer") == 1)
        & (pl.col("head") == 2)
        & (pl.col("metric") == "QAM_norm"),
        named=True,
    )
    expected = ttest_rel(values[0], values[1])
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["difference"] == pytest.approx(values[0].mean() - values[1].mean())
    assert row["lower"] == pytest.approx(expected.confidence_interval().low)


def test_there_is_one_error_rate_over_the_table(found: Comparison) -> None:
    np.testing.assert_allclose(found.table["p_adjusted"], adjusted(found.table["p"].to_numpy()))
    assert (found.table["p_adjusted"] >= found.table["p"]).all()
    assert (found.heads["p_max"].drop_nulls() >= 1 / 501).all()


def test_swapping_the_sides_turns_every_sign(sides: tuple[Study, Study], found: Comparison) -> None:
    turned = foretell.compare(sides[1], sides[0], n_permutations=500)
    for frame, other in ((found.table, turned.table), (found.heads, turned.heads)):
        np.testing.assert_allclose(frame["difference"], -other["difference"], atol=1e-12)
        np.testing.assert_allclose(frame["p"].fill_null(2), other["p"].fill_null(2), atol=1e-12)
        np.testing.assert_allclose(frame["lower"].fill_null(9), -other["upper"].fill_null(-9), atol=1e-12)
        assert_frame_equal(frame.select("first", "second"), other.select(first="second", second="first"))
    assert turned.names == found.names == ("first", "second")


def test_a_side_and_itself_differ_in_nothing(sides: tuple[Study, Study]) -> None:
    found = foretell.compare(sides[0], sides[0], n_permutations=50)
    assert set(found.table["difference"]) == {0.0}
    assert set(found.table["p"]) == {1.0}
    without = found.table.filter(pl.col("kind") != "label rate")
    assert without["lower"].null_count() == without.height
    assert set(without["reason"]) == {"no sample distinguishes the sides: no interval"}


def test_the_order_of_rows_and_the_names_of_sides_change_no_number(sides: tuple[Study, Study]) -> None:
    shuffled = studied(
        head_table(n_samples=60, effect=4.0, datasets=("alpaca",), seed=1).sample(fraction=1, shuffle=True, seed=3)
    )
    one = foretell.compare(*sides, n_permutations=50)
    other = foretell.compare(sides[0], shuffled, n_permutations=50, names=("before", "after"))
    assert_frame_equal(one.table, other.table)
    assert_frame_equal(one.heads, other.heads)
    assert other.names == ("before", "after")


def test_without_common_ids_the_intervals_are_wider_and_it_says_so(
    sides: tuple[Study, Study], found: Comparison
) -> None:
    renamed = head_table(n_samples=60, effect=4.0, datasets=("alpaca",), seed=1).with_columns(pl.col("id") + "x")
    apart = foretell.compare(sides[0], studied(renamed), n_permutations=50)
    assert not apart.table["paired"].any()
    assert "two independent sets" in apart.notes[0]
    for kind in ("label rate", "attention", "head AUC"):
        one, other = (
            frame.row(by_predicate=pl.col("kind") == kind, named=True) for frame in (found.table, apart.table)
        )
        assert one["difference"] == pytest.approx(other["difference"])
        assert other["upper"] - other["lower"] > one["upper"] - one["lower"]


def test_groups_count_once(sides: tuple[Study, Study]) -> None:
    """Four copies of every sample in one group say no more than one sample."""
    tables = []
    for effect in (0.0, 4.0):
        table = head_table(n_samples=60, effect=effect, datasets=("alpaca",), seed=1).with_columns(group=pl.col("id"))
        copies = [table.with_columns(pl.col("id") + f"-{index}") for index in range(4)]
        tables.append(studied(pl.concat(copies), group="group"))
    once, copied = foretell.compare(*sides, n_permutations=0), foretell.compare(*tables, n_permutations=0)
    one, other = (
        frame.heads.filter(kind="attention", layer=1, head=2, metric="PAM_norm").row(0, named=True)
        for frame in (once, copied)
    )
    assert other["upper"] - other["lower"] == pytest.approx(one["upper"] - one["lower"], rel=1e-6)
    assert set(copied.table["n_groups"]) == {60}
    assert set(copied.table["n_first"]) == {240}


def test_other_heads_are_not_compared_but_labels_and_detectors_are(sides: tuple[Study, Study]) -> None:
    larger = studied(head_table(n_samples=60, n_layers=3, datasets=("alpaca",), seed=1))
    found = foretell.compare(sides[0], larger, n_permutations=50)
    assert set(found.table["kind"]) == {"label rate", "detector AUC"}
    assert found.heads.is_empty()
    assert found.notes[-1] == (
        "alpaca: heads are not compared (2 layers of 3 heads on one side and 3 layers of 3 heads on the other)"
    )
    with pytest.raises(InputError, match="no attention by head"):
        found.plot("attention")


def test_runs_without_labels_are_compared_by_attention(tmp_path: Path) -> None:
    runs = []
    for name, planted in (("before", ()), ("after", ("attention",))):
        run = planted_run(tmp_path / name, planted=planted, n_samples=40, hidden=False, effect=3.0)
        columns = ("behavior_label", "label_source", "label_reason")
        run.write_labels(run.samples.select("id", *(pl.lit(None).alias(column) for column in columns)))
        runs.append(run.path)
    found = foretell.compare(*runs, n_permutations=200)
    assert found.table["kind"].to_list() == ["attention"]
    assert found.table["what"][0].startswith("layer 1, head 0")
    assert found.names == tuple(map(str, runs))
    assert found.notes == ("made: no AUC of heads is compared, because a side does not have both labels",)


@pytest.mark.slow
def test_labelled_runs_are_compared_with_all_their_signals(tmp_path: Path) -> None:
    runs = [
        planted_run(tmp_path / name, planted=planted, n_samples=40, hidden=False, since=1, tokens=(3, 4))
        for name, planted in (("before", ()), ("after", ("confidence",)))
    ]
    found = foretell.compare(*(foretell.study(run, **QUICK) for run in runs), n_permutations=50)  # type: ignore[arg-type]
    assert {"confidence", "activity"} <= set(found.table.filter(kind="detector AUC")["what"])
    row = found.table.row(by_predicate=pl.col("what") == "confidence", named=True)
    assert row["difference"] < 0


def test_nothing_comparable_is_refused() -> None:
    one = made(n_samples=20)
    other = studied(head_table(n_samples=20, datasets=("flan", "own")))
    two = studied(head_table(n_samples=20, datasets=("alpaca", "more")))
    with pytest.raises(InputError, match="nothing is comparable: one side has the data sets 'alpaca', 'more'"):
        foretell.compare(two, other)
    with pytest.raises(InputError, match="names must be two, not 3"):
        foretell.compare(one, one, names=("a", "b", "c"))
    with pytest.raises(InputError, match=r"level 1\.5 must be between 0 and 1"):
        foretell.compare(one, one, level=1.5)


def test_tables_have_the_documented_columns_and_can_be_turned_over(found: Comparison, tmp_path: Path) -> None:
    assert_frame_equal(conform(found.table, COMPARISON), found.table)
    assert_frame_equal(conform(found.heads, COMPARISON_HEADS), found.heads)
    assert (
        found.table.filter(pl.any_horizontal(pl.col("difference", "lower", "upper", "p").is_null()))[
            "reason"
        ].null_count()
        == 0
    )
    assert found.to_pandas("heads").shape == found.heads.shape
    with pytest.raises(InputError, match="choose among table, heads"):
        found.to_pandas("x")
    files = found.write(tmp_path / "out")
    assert_frame_equal(pl.read_parquet(files[0]), found.table)
    content = json.loads(files[-1].read_text())
    assert content["comparison"] == json.loads(json.dumps(found.table.to_dicts()))


def test_a_lone_surrogate_in_a_name_can_be_written(found: Comparison, tmp_path: Path) -> None:
    replace(found, names=("\ud800", "b")).write(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["first"] == "\ud800"
