"""Figures as data hold the tables' numbers and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foretell.errors import InputError
from foretell.schema.tables import TABLES, empty
from foretell.showing.figures.curve_figures import (
    direction_figure,
    forest_figure,
    reliability_figure,
    roc_figure,
)
from foretell.showing.figures.interval_figures import (
    detector_figures,
    importance_figure,
    threshold_figure,
    transfer_figure,
)
from foretell.showing.figures.map_figures import map_figures
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.report_data import LedgerFacts, ReportData
from tests.showing.conftest import DATASETS, METRICS, N_HEADS, N_LAYERS, make_study, make_surface


def _without(data: ReportData, **tables: pl.DataFrame) -> ReportData:
    return replace(data, tables={**data.tables, **tables})


def test_roc_has_a_panel_per_dataset_and_a_curve_per_metric_and_level(data: ReportData) -> None:
    figure = roc_figure(data)
    assert figure is not None
    assert [panel.title for panel in figure.panels] == list(DATASETS)
    assert [len(panel.curves) for panel in figure.panels] == [2 * len(METRICS)] * 3
    points = data.table("roc_points").filter(
        (pl.col("dataset") == "flan") & (pl.col("metric") == "QAM_norm") & (pl.col("level") == "sample")
    )
    curve = next(curve for curve in figure.panels[1].curves if curve.label.startswith("QAM_norm, sample"))
    np.testing.assert_array_equal(curve.x, points["false_positive_rate"].to_numpy())
    np.testing.assert_array_equal(curve.y, points["true_positive_rate"].to_numpy())
    assert curve.label == "QAM_norm, sample: 0.50 [0.42, 0.58]"


def test_forest_curves_differ_in_more_than_colour(data: ReportData) -> None:
    figure = forest_figure(data)
    assert figure is not None
    assert [panel.title for panel in figure.panels] == list(DATASETS)
    for panel in figure.panels:
        assert len({curve.dash for curve in panel.curves}) == len(panel.curves) == 3
        assert [curve.label.partition(":")[0] for curve in panel.curves if curve.lower is not None] == [
            "grouped by sample"
        ]


def test_importances_keep_both_kinds_apart(data: ReportData) -> None:
    figure = importance_figure(data)
    assert figure is not None
    assert [panel.title for panel in figure.panels][:2] == ["alpaca: impurity", "alpaca: permutation"]
    assert figure.panels[0].reference == pytest.approx(1 / 3)
    assert figure.panels[1].reference == 0
    table = data.table("importances").filter(
        (pl.col("dataset") == "alpaca") & (pl.col("kind") == "permutation") & (pl.col("protocol") == "grouped")
    )
    series = next(series for series in figure.panels[1].series if series.label.startswith("grouped"))
    assert list(series.values) == table["importance"].to_list()
    assert list(series.lower) == table["lower"].to_list()


def test_maps_place_every_cell_and_mark_only_significant_ones(data: ReportData) -> None:
    auc, pearson, spearman = map_figures(data)
    assert (pearson.centre, spearman.centre, auc.centre) == (0.0, 0.0, 0.5)
    association = data.table("association")
    for panel, part in zip(auc.panels, association.partition_by("dataset", "metric", maintain_order=True), strict=True):
        assert panel.values.shape == (N_LAYERS, N_HEADS)
        for layer, head, value, p_max in part.select("layer", "head", "auc", "p_max").iter_rows():
            assert panel.values[layer, head] == value
            assert panel.marked[layer, head] == (p_max < 0.05)
        assert np.abs(panel.values - 0.5).max() <= auc.limit


def test_a_map_leaves_missing_cells_open(data: ReportData) -> None:
    association = data.table("association").filter(~((pl.col("layer") == 3) & (pl.col("head") == 2)))
    association = association.with_columns(
        pearson=pl.when((pl.col("layer") == 5) & (pl.col("head") == 1)).then(None).otherwise(pl.col("pearson"))
    )
    panel = map_figures(_without(data, association=association))[1].panels[0]
    assert np.isnan(panel.values[3, 2])
    assert np.isnan(panel.values[5, 1])
    assert np.isnan(panel.values).sum() == 2
    assert not panel.marked[5, 1]


def test_an_undefined_dataset_stays_as_a_panel_with_its_reason(data: ReportData) -> None:
    flan = pl.col("dataset") == "flan"
    roc = data.table("roc").with_columns(
        pl.when(flan).then(None).otherwise(pl.col("auc")).alias("auc"),
        pl.when(flan).then(pl.lit("one class only")).otherwise(None).alias("reason"),
    )
    points = data.table("roc_points").filter(~flan)
    figure = roc_figure(_without(data, roc=roc, roc_points=points))
    assert figure is not None
    assert figure.panels[1].note == "one class only"
    assert figure.panels[1].curves == ()


def test_detectors_show_baselines_apart_and_increments_without_them(data: ReportData) -> None:
    areas, gains = detector_figures(data)
    assert [dot.tone for dot in areas.panels[0].dots] == [0, 0, 1, 1, 1]
    assert [dot.label for dot in gains.panels[0].dots] == ["all heads, log-ratios", "best single head"]
    assert areas.x_range is not None
    assert areas.x_range[0] < 0.33
    assert areas.x_range[1] > 0.89


def test_captions_and_legends_name_the_level_of_the_study(data: ReportData) -> None:
    """The level is a setting: nothing calls another interval than that of 95 % by this name."""
    changed = replace(data, settings={**data.settings, "level": 0.8})
    of_study = [one for one in study_figures(changed) if one.words.name != "direction-by-layer"]
    words = [one.words.caption + getattr(one, "first_label", "") for one in of_study]
    assert sum("80 % interval" in one for one in words) == 9
    assert not [one for one in words if "95 %" in one]


def test_thresholds_name_undefined_rules_with_their_reason(data: ReportData) -> None:
    figure = threshold_figure(data)
    assert figure is not None
    assert ("SAM_norm, f1", "the metric is constant") in figure.panels[1].undefined
    assert figure.panels[0].dots[0].label == "PAM_norm, f1 (> 0.41)"
    assert figure.panels[0].dots[0].second == 0.6


def test_a_direction_is_drawn_by_layer(data: ReportData) -> None:
    direction = direction_figure(data)
    assert direction is not None
    assert [level.value for level in direction.panels[0].levels] == pytest.approx([0.91, 0.53])
    assert "mean logprob, lower is more" in direction.panels[0].levels[0].label
    assert [curve.label.split(", ")[1] for curve in direction.panels[0].curves] == [
        "held-out topics",
        "within one topic",
    ]
    assert direction.panels[0].curves[0].lower is not None


def test_transfer_and_reliability_hold_their_tables(data: ReportData) -> None:
    transfer, reliability = transfer_figure(data), reliability_figure(data)
    assert transfer is not None
    assert reliability is not None
    first = data.table("transfer").filter(pl.col("dataset") == "alpaca")
    assert [dot.estimate for dot in transfer.panels[0].dots] == first["auc"].to_list()
    assert transfer.panels[0].dots[0].label == "all heads, fitted on flan"
    line = data.table("reliability").filter((pl.col("dataset") == "flan") & (pl.col("detector") == "lengths"))
    np.testing.assert_array_equal(reliability.panels[1].curves[1].y, line["observed"].to_numpy())


def test_empty_tables_make_no_figures() -> None:
    nothing = ReportData(tables={name: empty(table) for name, table in TABLES.items()})
    assert study_figures(nothing) == ()
    assert study_figures(ReportData(tables={})) == ()


def test_surfaces_count_what_they_clip() -> None:
    surface = make_surface()
    solid, flat = surface_figures(surface, z_limit=1.0)
    for panel, answer in zip(solid.panels, surface.answers, strict=True):
        np.testing.assert_array_equal(panel.values, answer.activity)
    above = sum(int((answer.activity > 1).sum()) for answer in surface.answers)
    below = sum(int((answer.activity < -1).sum()) for answer in surface.answers)
    assert f"{below} are below −1 and {above} are above 1" in solid.words.caption
    assert solid.extend == "both"
    assert surface_figures(surface, z_limit=50)[0].extend == "neither"
    assert (solid.shape, flat.shape) == ("surface", "flat")
    assert "37 scores are undefined" in solid.words.caption


def test_a_surface_needs_answers_tokens_and_a_limit() -> None:
    surface = make_surface()
    with pytest.raises(InputError, match="no answer"):
        surface_figures(replace(surface, answers=()))
    with pytest.raises(InputError, match="z_limit must be"):
        surface_figures(surface, z_limit=0)
    silent = replace(surface.answers[0], tokens=(), activity=np.zeros((31, 0)))
    with pytest.raises(InputError, match="zero tokens"):
        surface_figures(replace(surface, answers=(silent,)))


def test_report_data_takes_a_study_and_refuses_a_wrong_direction() -> None:
    study = make_study()
    made = ReportData.from_study(study)
    assert isinstance(made.ledger, LedgerFacts)
    assert made.ledger.n_read == 87_480
    assert made.datasets == DATASETS
    assert made.metrics == METRICS
    with pytest.raises(InputError, match="lacks measure, layer, auc"):
        ReportData.from_study(study, direction=pl.DataFrame({"concept": ["lying"]}))
