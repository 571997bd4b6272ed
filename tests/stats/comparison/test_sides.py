"""Which samples of two studies or runs belong together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import foretell
from foretell.errors import InputError
from foretell.stats.comparison.sides import Side, pairs_of, sides_of
from tests.stats.runs import planted_run
from tests.stats.tables import METRICS, head_table


def side(ids: list[str], groups: list[str] | None = None) -> Side:
    n = len(ids)
    group = np.array(groups or ids)
    values = np.arange(n, dtype=float)[:, None, None, None]
    return Side(np.array(ids), np.arange(n) % 2.0, group, None, values, ((0,), (0,)), ("PAM",))


def test_samples_are_joined_by_id_in_one_order() -> None:
    (pair,) = pairs_of({"x": side(["c", "a", "b"])}, {"x": side(["b", "d", "c"])})
    assert pair.paired
    assert pair.first.ids.tolist() == pair.second.ids.tolist() == ["b", "c"]
    assert pair.first.values.ravel().tolist() == [2.0, 0.0]
    assert pair.second.values.ravel().tolist() == [0.0, 2.0]
    assert pair.notes == ("x: 2 of 3 and 3 samples are on both sides, and others are left out",)


def test_without_a_common_id_all_samples_are_two_sets() -> None:
    (pair,) = pairs_of({"x": side(["a", "b"])}, {"x": side(["c", "d", "e"])})
    assert not pair.paired
    assert [len(one.ids) for one in (pair.first, pair.second)] == [2, 3]
    assert pair.n_groups == 5
    assert "two independent sets" in pair.notes[0]


def test_groups_of_one_name_are_one_also_where_no_sample_is_on_both_sides() -> None:
    (pair,) = pairs_of({"x": side(["a", "b"], ["g", "h"])}, {"x": side(["c", "d"], ["h", "i"])})
    assert pair.codes[0][1] == pair.codes[1][0]
    assert pair.n_groups == 3


def test_groups_that_a_sample_joins_are_one() -> None:
    first = side(["a", "b", "c", "d"], ["g", "g", "h", "i"])
    second = side(["a", "b", "c", "d"], ["k", "l", "l", "m"])
    (pair,) = pairs_of({"x": first}, {"x": second})
    assert pair.codes[0].tolist() == pair.codes[1].tolist() == [0, 0, 0, 1]


def test_one_data_set_each_is_compared_whatever_its_name() -> None:
    (pair,) = pairs_of({"before": side(["a", "b"])}, {"after": side(["a", "b"])})
    assert (pair.dataset, pair.paired) == ("before / after", True)


def test_nothing_in_common_is_refused_with_the_names() -> None:
    with pytest.raises(InputError, match="nothing is comparable: one side has the data sets 'a', 'b', the other 'c'"):
        pairs_of({"a": side(["a"]), "b": side(["b"])}, {"c": side(["a"])})


def test_other_behaviours_and_other_prompts_are_noted() -> None:
    first = replace(side(["a", "b"]), behaviour="lied", prompts=("x", "y"))
    second = replace(side(["a", "b"]), behaviour="refused", prompts=("x", "z"))
    (pair,) = pairs_of({"x": first}, {"x": second})
    assert pair.notes == (
        "x: 1 of 2 samples of one id have other messages on the other side",
        "x: label 1 means 'lied' on one side and 'refused' on the other",
    )


def test_a_study_gives_its_own_scores_and_a_table_is_studied() -> None:
    table = head_table(n_samples=20, datasets=("alpaca",))
    study = foretell.study(table, n_trees=5, compute=False, n_permutations=0)
    sides, name = sides_of(study)
    own = {one.name: one.heldout for one in study.judged["alpaca"][0]}
    assert name == study.settings.source
    assert sides["alpaca"].scores["all heads"] is own["all heads"]
    assert "majority" not in sides["alpaca"].scores
    again, _ = sides_of(table)
    np.testing.assert_array_equal(again["alpaca"].values, sides["alpaca"].values)


def test_a_run_without_labels_gives_its_attention(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", n_samples=12, hidden=False)
    labelled, _ = sides_of(foretell.study(run, n_trees=5, n_permutations=0, early=False, compute=False))
    columns = ("behavior_label", "label_source", "label_reason")
    run.write_labels(run.samples.select("id", *(pl.lit(None).alias(name) for name in columns)))
    sides, name = sides_of(foretell.open_run(run.path))
    assert name == str(run.path)
    assert np.isnan(sides["made"].label).all()
    assert not sides["made"].scores
    assert sides["made"].metrics == METRICS
    np.testing.assert_array_equal(sides["made"].ids, labelled["made"].ids)
    np.testing.assert_allclose(sides["made"].values, labelled["made"].values)
