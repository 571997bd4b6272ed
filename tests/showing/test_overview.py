"""The overview holds the tables' numbers by behaviour and signal, for every kind of study folder."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from foretell.showing.overview import SignalCell, overview
from foretell.showing.report_data import ReportData
from tests.showing.signal_tables import BEHAVIOURS, CHECKPOINTS, FAMILIES

_SHOWN = {"all": "all signals"}


def test_every_cell_is_that_of_a_table(signal_data: ReportData) -> None:
    shown = overview(signal_data)
    assert shown.signals == ("attention", "hidden states", "activity", "confidence", "all signals")
    assert [row.dataset for row in shown.rows] == list(BEHAVIOURS)
    verdicts, first_tokens, early = map(signal_data.table, ("verdicts", "told_by", "early"))
    for row in shown.rows:
        known = early.filter(pl.col("dataset") == row.dataset, pl.col("detector") == "all baselines")
        last = known.filter(pl.col("counts")).sort("n_generated").row(-1, named=True)
        assert (row.behaviour, row.n_whole) == (BEHAVIOURS[row.dataset], CHECKPOINTS[-1])
        assert (row.n, row.n_positive) == (last["n"], last["n_positive"])
        assert row.n_counted == last["n_generated"]
        assert row.baseline_auc.value == (last["auc_within"] if row.within else last["auc"])
        for family in FAMILIES:
            cell = row.cell(_SHOWN.get(family, family))
            assert cell is not None
            key = {"dataset": row.dataset, "signal": family}
            verdict = verdicts.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in key.items()), named=True)
            first = first_tokens.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in key.items()), named=True)
            assert (cell.verdict, cell.auc.value, cell.p_adjusted) == tuple(
                verdict[name] for name in ("verdict", "auc", "p_adjusted")
            )
            assert (cell.increment.value, cell.increment.lower) == (verdict["increment"], verdict["increment_lower"])
            assert cell.from_token == first["n_generated"]


def test_words_predict_by_themselves_from_the_first_checkpoint_that_does_not_count(signal_data: ReportData) -> None:
    rows = {row.dataset: row for row in overview(signal_data).rows}
    assert (rows["false-claims"].words_alone_from, rows["false-claims"].n_counted) == (4, 2)
    assert (rows["questions"].words_alone_from, rows["questions"].n_counted) == (None, CHECKPOINTS[-1])


def _without(data: ReportData, *tables: str) -> ReportData:
    return replace(data, tables={name: frame for name, frame in data.tables.items() if name not in tables})


def test_without_a_verdict_a_family_has_the_numbers_of_its_last_checkpoint_that_counts(signal_data: ReportData) -> None:
    rows = {row.dataset: row for row in overview(_without(signal_data, "verdicts", "told_by")).rows}
    early = signal_data.table("early").filter(signal="hidden states", dataset="false-claims", n_generated=2)
    cell = rows["false-claims"].cell("hidden states")
    assert cell is not None
    assert (cell.verdict, cell.from_token) == (None, None)
    assert (cell.auc.value, cell.increment.value) == (early.item(0, "auc_within"), early.item(0, "increment"))


def test_a_table_alone_has_the_signals_of_its_verdicts(data: ReportData) -> None:
    shown = overview(data)
    assert not shown.timed
    assert shown.signals == ("all heads, log-ratios", "forest", "best single head")
    alpaca = shown.rows[0]
    assert (alpaca.behaviour, alpaca.n, alpaca.n_positive, alpaca.n_whole) == (None, 96, 37, None)
    assert [cell.verdict for cell in alpaca.cells] == ["signal", "leak", "signal"]
    assert shown.rows[1].cell("best single head") is None


@pytest.mark.parametrize("kept", [(), ("roc",), ("detectors",), ("verdicts",), ("early",), ("association", "forest")])
def test_any_part_of_a_study_has_an_overview(signal_data: ReportData, kept: tuple[str, ...]) -> None:
    shown = overview(replace(signal_data, tables={name: signal_data.table(name) for name in kept}))
    assert bool(shown.rows) == bool(kept)


def test_tables_of_older_studies_have_no_behaviour_and_no_signal(data: ReportData) -> None:
    columns = pl.selectors.exclude("behaviour", "signal")
    old = data.table("detectors").select(columns)
    verdicts = data.table("verdicts").select(pl.selectors.exclude("behaviour"))
    shown = overview(replace(data, tables={"detectors": old, "verdicts": verdicts, "roc": data.table("roc")}))
    assert [row.dataset for row in shown.rows] == ["alpaca", "flan", "sharegpt"]


@pytest.mark.parametrize(("behaviour", "kept"), [(None, False), ("followed the instruction", True)])
def test_pooled_datasets_are_shown_only_where_they_are_one_behaviour(
    signal_data: ReportData, behaviour: str | None, kept: bool
) -> None:
    """Samples of several behaviours pooled have no meaning that a table could show."""
    pooled = signal_data.table("early").filter(dataset="flan")
    early = pl.concat(
        [
            signal_data.table("early"),
            pooled.with_columns(dataset=pl.lit("all"), behaviour=pl.lit(behaviour, pl.String)),
        ]
    )
    shown = overview(replace(signal_data, tables={**signal_data.tables, "early": early}))
    assert ("all" in [row.dataset for row in shown.rows]) == kept


def test_a_family_of_ones_own_is_a_column_before_all_signals(signal_data: ReportData) -> None:
    early = signal_data.table("early")
    own = early.filter(signal="activity").with_columns(signal=pl.lit("my probe"), detector=pl.lit("my probe"))
    shown = overview(replace(signal_data, tables={**signal_data.tables, "early": pl.concat([early, own])}))
    assert shown.signals[-2:] == ("my probe", "all signals")


def test_published_detectors_are_apart_from_families(signal_data: ReportData) -> None:
    verdicts, detectors = signal_data.table("verdicts"), signal_data.table("detectors")
    row = verdicts.filter(dataset="questions", signal="activity").with_columns(signal=pl.lit("lookback ratio"))
    one = detectors.head(1).with_columns(signal=pl.lit("lookback ratio"), detector=pl.lit("lookback ratio"))
    tables = {"verdicts": pl.concat([verdicts, row]), "detectors": pl.concat([detectors, one])}
    shown = overview(replace(signal_data, tables={**signal_data.tables, **tables}))
    found = {one.dataset: [cell.signal for cell in one.published] for one in shown.rows}
    assert found["questions"] == ["lookback ratio"]
    assert "lookback ratio" not in shown.signals
    assert all(isinstance(cell, SignalCell) for one in shown.rows for cell in one.cells)
