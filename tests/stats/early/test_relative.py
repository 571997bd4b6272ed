"""Curves by relative position: what carries the label from some share of each answer on shows from there on."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from foretell.stats.study import Study, study
from tests.stats.early.test_curves import QUICK
from tests.stats.runs import planted_run

POSITIONS = [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of answers with 12 to 40 tokens, whose hidden states carry the label once a quarter is written."""
    path = tmp_path_factory.mktemp("run") / "run"
    return study(planted_run(path, planted=["hidden states"], since=0.26, effect=2.5, strata=True), **QUICK)


def test_the_curve_rises_at_the_share_from_which_on_the_label_is_carried(found: Study) -> None:
    own = found.early_relative.filter(pl.col("signal") == "hidden states")
    area = dict(own.select("position", "auc").iter_rows())
    assert list(area) == POSITIONS
    assert max(area[0.0], area[0.25]) < 0.7 < min(area[0.5], area[0.75], area[1.0])
    attention = found.early_relative.filter(pl.col("signal") == "attention")["auc"]
    assert attention.max() < 0.7  # type: ignore[operator]


@pytest.mark.parametrize(("position", "n_generated"), [(0.0, 0), (1.0, 40)])
def test_both_ends_are_the_numbers_by_tokens(position: float, n_generated: int, found: Study) -> None:
    ends = found.early_relative.filter(position=position).drop("position")
    assert ends.equals(found.early.filter(n_generated=n_generated).drop("n_generated"))


def test_the_whole_length_is_known_to_whoever_knows_the_share(found: Study) -> None:
    length = found.early_relative.filter(pl.col("detector") == "answer length")
    assert length["position"].to_list() == [0.25, 0.5, 0.75]
    assert length["signal"].unique().to_list() == ["baseline"]


def test_less_than_the_share_is_written_on_average(found: Study) -> None:
    written = dict(found.early_relative.select("position", "share_written").unique().iter_rows())
    assert (written[0.0], written[1.0]) == (0.0, 1.0)
    assert all(position / 2 < written[position] < position for position in POSITIONS[1:-1])


def test_positions_from_which_on_words_predict_the_label_do_not_count(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", words_since=6, hidden=False)
    relative = study(run, **QUICK).early_relative
    counts = dict(relative.select("position", "counts").unique().sort("position").iter_rows())
    assert counts == {0.0: True, 0.25: True, 0.5: False, 0.75: False, 1.0: False}


def test_no_later_moment_is_looked_at_where_the_first_tokens_are_judged(found: Study) -> None:
    assert found.signals is not None
    assert study(found.signals.run, first_tokens=4, **QUICK).early_relative.is_empty()
