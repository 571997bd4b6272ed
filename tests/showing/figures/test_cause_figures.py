"""The figure of predictive strength against causal effect: its points, what is absent, and both libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from foretell.schema.tables import CAUSES, conform
from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.cause_figures import cause_figure
from foretell.showing.report import save_table

COUNTS = dict.fromkeys(("n_controls", "n_label_groups", "n_odds_groups", "n_unlabelled"), 20)


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    made = [{"kind": "heads ablated", "why": "", **COUNTS, **row} for row in rows]
    return conform(pl.DataFrame(made, infer_schema_length=None), CAUSES)


def row(name: str, verdict: str, auc: float | None, effect: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {"component": name, "verdict": verdict, "auc": auc}
    for column in ("label_changed", "odds_shift", "odds_loss"):
        ends = (None, None) if effect is None else (effect - 0.1, effect + 0.1)
        found |= {column: effect, f"{column}_lower": ends[0], f"{column}_upper": ends[1], f"{column}_control": 0.05}
    return found


TABLE = table(
    row("layer 0 head 2", "predicts and causes", 0.9, 0.5),
    row("layer 1 head 1", "predicts only", 0.9, 0.0),
    row("<b>lying</b>, layer 1 removed", "cannot say", 0.6, 0.2),
    row("layer 3 head 3", "cannot say", None, 0.2),
)


def test_each_part_is_a_point_with_its_interval_and_verdict() -> None:
    figure = cause_figure(TABLE)
    assert [panel.title for panel in figure.panels] == [
        "Share of answers whose label changes",
        "Shift of log-odds (nats)",
        "Log-odds of own label lost (nats)",
    ]
    for panel in figure.panels:
        cause, bystander, _ = panel.curves
        assert cause.label == "layer 0 head 2: predicts and causes"
        assert (cause.x.tolist(), cause.y.tolist()) == ([0.9], [0.5])
        assert cause.lower is not None
        assert cause.lower.tolist() == [0.4]
        assert cause.marker != bystander.marker
        assert panel.levels[0].value == 0.05
    assert "1 of 4 parts lack one of both numbers" in figure.words.caption
    assert "layer 1 head 1: predicts only" in figure.words.alt


def test_of_many_parts_the_legend_has_the_verdicts_alone() -> None:
    rows = [row(f"layer {index} head 0", "neither", 0.5, 0.0) for index in range(20)]
    assert {curve.label for panel in cause_figure(table(*rows)).panels for curve in panel.curves} == {"neither"}


@pytest.mark.parametrize(
    "frame", [TABLE, table(row("x", "cannot say", 0.5, None)), table(row("x", "neither", 0.5, 0.0))]
)
def test_both_libraries_draw_it(frame: pl.DataFrame) -> None:
    figure = cause_figure(frame)
    assert to_matplotlib.render(to_matplotlib.draw(figure), "svg").startswith(b"<?xml")
    pictures = to_plotly.draw(figure)
    assert len(pictures) == 3
    assert all("<b>" not in str(to_plotly.payload(picture)) for picture in pictures)


def test_the_page_has_the_figure_and_the_table(tmp_path: Path) -> None:
    page = save_table(TABLE, tmp_path / "out", model="toy", progress=False, kind="causes")
    assert "Does what predicts the behaviour also cause it?" in page.read_text(encoding="utf-8")
    assert pl.read_parquet(tmp_path / "out" / "causes.parquet").equals(TABLE)
    assert (tmp_path / "out" / "figures" / "causes.png").exists()
