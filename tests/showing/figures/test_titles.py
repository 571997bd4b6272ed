"""Titles say what the numbers of their table show, both ways of every rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from foretell.showing.figures import titles
from foretell.showing.overview import overview
from foretell.showing.report_data import ReportData
from tests.showing.conftest import make_surface


def _constant(frame: pl.DataFrame, **values: Any) -> pl.DataFrame:
    return frame.with_columns(**{name: pl.lit(value, frame.schema[name]) for name, value in values.items()})


def test_no_column_matters_where_every_interval_includes_zero(data: ReportData) -> None:
    table = _constant(data.table("importances"), lower=-0.1, upper=0.1)
    assert titles.importance_of_columns(table) == (
        "No column matters: all 9 intervals of permutation importance include 0"
    )
    chosen = (pl.col("dataset") == "flan") & (pl.col("metric") == "QAM_norm")
    one = table.with_columns(lower=pl.when(chosen).then(0.04).otherwise("lower"), importance=pl.lit(0.06))
    assert titles.importance_of_columns(one).startswith(
        "1 of 9 columns matter, most of all QAM_norm on flan: shuffling"
    )
    assert "no interval" in titles.importance_of_columns(_constant(table, lower=None))


@pytest.mark.parametrize(
    ("rows", "grouped", "placebo", "lower", "words"),
    [
        (0.7, 0.5, 0.6, 0.55, "Rows split at random leak on 3 of 3 datasets"),
        (0.7, 0.5, 0.6, 0.49, "Rows split at random show no leak on any of 3 datasets"),
        (0.54, 0.5, 0.6, 0.55, "Rows split at random show no leak on any of 3 datasets"),
        (0.7, 0.5, 0.54, 0.52, "Rows split at random show no leak on any of 3 datasets"),
        (None, 0.5, 0.6, 0.55, "Leakage between rows of one sample could not be measured"),
    ],
)
def test_a_leak_needs_placebo_and_difference(
    data: ReportData, rows: float | None, grouped: float, placebo: float, lower: float, words: str
) -> None:
    areas = {"rows": rows, "grouped": grouped, "placebo": placebo}
    auc = pl.col("protocol").replace_strict(areas, return_dtype=pl.Float64)
    assert titles.leaks(data.table("forest").with_columns(auc=auc, auc_lower=pl.lit(lower))) == words


def test_a_single_metric_is_named_only_if_its_interval_excludes_chance(data: ReportData) -> None:
    roc = data.table("roc")
    assert "every interval includes 0.5" in titles.single_metrics(_constant(roc, auc_lower=0.4, auc_upper=0.6))
    chosen = (pl.col("metric") == "SAM_norm") & (pl.col("dataset") == "flan")
    low = roc.with_columns(
        auc=pl.when(chosen).then(0.2).otherwise(0.6),
        auc_lower=pl.when(chosen).then(0.1).otherwise(0.4),
        auc_upper=pl.when(chosen).then(0.3).otherwise(0.8),
    )
    assert titles.single_metrics(low) == "The best single metric is SAM_norm on flan: AUC 0.20 [0.10, 0.30]"


def test_signals_are_counted_by_behaviour_and_by_comparison(signal_data: ReportData) -> None:
    shown = overview(signal_data)
    assert titles.early_signals(shown) == "Signals inside the model tell 2 of 4 behaviours better than the baselines"
    telling = sum(cell.predicts for row in shown.rows for cell in row.cells)
    assert titles.gains_of_signals(shown).startswith(f"{telling} of ")
    none = replace(
        signal_data,
        tables={**signal_data.tables, "verdicts": _constant(signal_data.table("verdicts"), verdict="no signal found")},
    )
    assert titles.early_signals(overview(none)) == "No signal tells any of 4 behaviours better than the baselines"
    assert titles.gains_of_signals(overview(none)).startswith("None of ")


def test_detectors_are_compared_with_the_baseline_of_the_same_dataset(data: ReportData) -> None:
    assert titles.areas_of_detectors(data.table("detectors")) == (
        "The best detector, best single head, has AUC 0.82 on sharegpt; the best baseline 0.75"
    )
    gains = data.table("detectors").filter(pl.col("role") != "baseline")
    assert titles.gains_of_detectors(_constant(gains, increment_lower=-0.1)).startswith("No detector adds")
    assert titles.gains_of_detectors(_constant(gains, increment_lower=0.1)).startswith("6 of 6 increments")
    assert "no interval" in titles.gains_of_detectors(_constant(gains, increment_lower=None))


def test_answers_are_compared_by_their_mean() -> None:
    surface = make_surface()
    title = titles.level_of_answers(surface)
    assert title.startswith("Mean activity along “lying” is 0.")
    assert "in “false answer”, −0." in title
    alone = replace(surface, answers=surface.answers[:1] * 5)
    assert titles.level_of_answers(alone).endswith(" and 2 more")


@pytest.mark.parametrize("title", [titles.significant_heads(0, 1200), titles.significant_heads(1, 1200)])
def test_heads_are_counted(title: str) -> None:
    assert "of 1,200 combinations of head and metric is significant" in title
