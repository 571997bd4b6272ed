"""Curves over generated tokens and layers, and increments, hold the tables' numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foretell.showing.figures.figure import CurveFigure, DotFigure
from foretell.showing.figures.signal_figures import signal_figures
from foretell.showing.figures.titles import signals_halfway
from foretell.showing.report_data import ReportData
from tests.showing.signal_tables import CHECKPOINTS


def _made(data: ReportData) -> tuple[CurveFigure, CurveFigure, DotFigure]:
    early, relative, layers, gains = signal_figures(data)
    assert relative.words.folded
    assert isinstance(early, CurveFigure)
    assert isinstance(layers, CurveFigure)
    assert isinstance(gains, DotFigure)
    return early, layers, gains


def test_each_behaviour_has_a_panel_named_by_what_happened(signal_data: ReportData) -> None:
    for figure in _made(signal_data):
        titles = [panel.title for panel in figure.panels]
        assert titles[0] == "followed the instruction: alpaca"
        assert titles[3:] == ["answered correctly", "gave in to a false claim", "said something false"]
        assert figure.words.how


def test_early_curves_hold_the_table_and_the_best_baseline_of_each_checkpoint(signal_data: ReportData) -> None:
    early, _, _ = _made(signal_data)
    table = signal_data.table("early").filter(dataset="questions")
    panel = early.panels[3]
    assert [curve.label for curve in panel.curves][-1] == "best baseline"
    assert len(panel.curves) == 5
    for curve in panel.curves[:-1]:
        signal = "all" if curve.label == "all signals" else curve.label
        own = table.filter(pl.col("signal") == signal).sort("n_generated")
        np.testing.assert_array_equal(curve.y, own["auc"].to_numpy())
        assert curve.upper is not None
        np.testing.assert_array_equal(curve.upper, own["auc_upper"].to_numpy())
        assert (np.diff(curve.x) > 0).all()
    best = table.filter(signal="baseline").group_by("n_generated").agg(pl.col("auc").max()).sort("n_generated")
    np.testing.assert_array_equal(panel.curves[-1].y, best["auc"].to_numpy())
    assert panel.curves[-1].names[:2] == ("before the first token, all baselines", "1 token, all baselines")


def test_checkpoints_at_which_words_are_enough_are_greyed(signal_data: ReportData) -> None:
    early, _, _ = _made(signal_data)
    greyed = {panel.title: panel.greyed for panel in early.panels}
    ((start, end),) = greyed["gave in to a false claim"]
    places = dict(zip(CHECKPOINTS, early.panels[4].curves[0].x, strict=True))
    assert places[2] < start < places[4]
    assert end > places[41]
    assert greyed["answered correctly"] == ()


def test_a_behaviour_without_numbers_is_a_panel_with_its_reason(signal_data: ReportData) -> None:
    for figure in _made(signal_data)[:2]:
        assert figure.panels[5].note == "3 groups have label 1"
    assert _made(signal_data)[2].panels[5].undefined[0][0] == "attention"


def test_no_more_than_four_families_are_drawn_and_the_others_are_named(signal_data: ReportData) -> None:
    early, _, _ = _made(signal_data)
    assert max(len(panel.curves) for panel in early.panels) == 5
    assert "Not drawn, to stay readable: " in early.words.caption


def test_ticks_keep_the_last_checkpoint_and_do_not_run_into_each_other(signal_data: ReportData) -> None:
    ticks = _made(signal_data)[0].panels[0].ticks
    assert [text for _, text in ticks] == ["0", "1", "2", "4", "8", "16", "41"]
    assert np.diff([place for place, _ in ticks]).min() > 0.4


def test_layers_are_drawn_by_pool_beside_the_baselines_of_the_same_checkpoint(signal_data: ReportData) -> None:
    _, layers, _ = _made(signal_data)
    table = signal_data.table("hidden_layers").filter(dataset="false-claims", pool="mean over answer").sort("layer")
    curve = layers.panels[4].curves[1]
    np.testing.assert_array_equal(curve.x, table["layer"].to_numpy())
    np.testing.assert_array_equal(curve.y, table["auc"].to_numpy())
    known = signal_data.table("early").filter(dataset="false-claims", detector="all baselines", n_generated=2)
    assert [level.value for level in layers.panels[4].levels] == known["auc"].to_list()


def test_increments_have_the_colour_of_their_verdict(signal_data: ReportData) -> None:
    _, _, gains = _made(signal_data)
    dots = {dot.label: dot for dot in gains.panels[3].dots}
    verdicts = signal_data.table("verdicts").filter(dataset="questions")
    for signal, verdict, increment in verdicts.select("signal", "verdict", "increment").iter_rows():
        dot = dots["all signals" if signal == "all" else signal]
        assert dot.estimate == increment
        assert (dot.tone == 0) == (verdict in {"signal", "weak signal"})


def test_curves_by_share_hold_the_table_from_the_prompt_to_whole_answers(signal_data: ReportData) -> None:
    relative = signal_figures(signal_data)[1]
    assert isinstance(relative, CurveFigure)
    table = signal_data.table("early_relative").filter(dataset="questions", signal="hidden states").sort("position")
    curve = next(curve for curve in relative.panels[3].curves if curve.label == "hidden states")
    np.testing.assert_array_equal(curve.y, table["auc"].to_numpy())
    assert curve.names == (
        "before the first token",
        "25% of the answer",
        "50% of the answer",
        "75% of the answer",
        "whole answers",
    )
    assert [text for _, text in relative.panels[3].ticks] == ["0%", "25%", "50%", "75%", "100%"]
    ((start, end),) = relative.panels[4].greyed
    assert start < curve.x[1] < curve.x[-1] < end


def test_the_title_by_share_names_the_largest_area_in_the_middle_that_counts(signal_data: ReportData) -> None:
    half = signal_data.table("early_relative").filter(pl.col("position") == 0.5, pl.col("counts"))
    best = half.filter(pl.col("signal") != "baseline", pl.col("auc").is_not_null()).sort("auc").row(-1, named=True)
    known: float = half.filter(dataset=best["dataset"], signal="baseline")["auc"].max()  # type: ignore[assignment]
    title = signal_figures(signal_data)[1].words.title
    assert title.startswith(f"By the middle of the answers the largest AUC is {best['auc']:.2f} (")
    assert title.endswith(f"“{best['behaviour']}”); the best baseline has {known:.2f} there")
    assert signals_halfway(half.clear()) == "No signal has a defined AUC by the middle of the answers"


@pytest.mark.parametrize("absent", ["hidden_layers", "told_by", "verdicts", "early_relative"])
def test_a_missing_table_costs_no_other_figure(signal_data: ReportData, absent: str) -> None:
    tables = {name: frame for name, frame in signal_data.tables.items() if name != absent}
    names = [figure.words.name for figure in signal_figures(replace(signal_data, tables=tables))]
    every = ["early", "early-relative", "hidden-layers", "families-increments"]
    assert names == [name for name in every if name.replace("-", "_") != absent]


def test_a_table_alone_has_none_of_these_figures(data: ReportData) -> None:
    assert signal_figures(data) == ()
