"""How well each part of a model predicts, against what changing it does to the behaviour."""

from __future__ import annotations

import numpy as np
import polars as pl

from foretell.showing.figures.figure import Curve, CurveFigure, CurvePanel, Level, Words
from foretell.showing.figures.table_cells import column, listed

__all__ = ["cause_figure"]

_VERDICTS = ("predicts and causes", "predicts only", "causes only", "neither", "cannot say")
_EFFECTS = {
    "label_changed": "Share of answers whose label changes",
    "odds_shift": "Shift of log-odds (nats)",
    "odds_loss": "Log-odds of own label lost (nats)",
}
_LEAST_NAMED = 12
"""Parts up to which each is named in the legend; of more only the verdicts are."""


def cause_figure(table: pl.DataFrame) -> CurveFigure:
    """Return predictive strength against causal effect, one point per part and one panel per effect.

    Args:
        table: The columns of `foretell.schema.tables.CAUSES`.
    """
    shown = table.filter(
        pl.any_horizontal(pl.col(name).is_not_null() for name in _EFFECTS) & pl.col("auc").is_not_null()
    )
    panels = tuple(_panel(shown, name, title) for name, title in _EFFECTS.items())
    absent = table.height - shown.height
    words = Words(
        "causes",
        "What predicts, and what causes",
        "Each point is a part of the model (a head, a head without a segment, a direction). To the right: its signal "
        "predicts the label of held-out groups. Up or down: the behaviour changes when the part is changed, with 95 % "
        "interval, clustered by group. Dashed: the root mean square of the same effect of other heads of the layer, or "
        "of random directions (median over parts)."
        + (f" {absent} of {table.height} parts lack one of both numbers and are not shown." if absent else ""),
        "Held-out AUC and effect of each part. "
        + listed(f"{row['component']}: {row['verdict']}" for row in shown.to_dicts()),
    )
    return CurveFigure(words, panels, "Held-out AUC", "Effect", reference=0.0, one_legend=True)


def _panel(shown: pl.DataFrame, effect: str, title: str) -> CurvePanel:
    rows = shown.filter(pl.col(effect).is_not_null())
    if rows.is_empty():
        return CurvePanel(title, (), note="no part has this effect")
    curves = []
    named = shown.height <= _LEAST_NAMED
    for row in rows.iter_rows(named=True):
        place = _VERDICTS.index(row["verdict"])
        ends = (row[f"{effect}_lower"], row[f"{effect}_upper"])
        lower, upper = (None if end is None else np.array([end]) for end in ends)
        curves.append(
            Curve(
                f"{row['component']}: {row['verdict']}" if named else row["verdict"],
                np.array([row["auc"]]),
                np.array([row[effect]]),
                tone=place,
                marker=place,
                lower=lower,
                upper=upper,
                names=(f"{row['component']}, AUC {row['auc']:.2f}",),
            )
        )
    control = column(rows, f"{effect}_control")
    known = control[np.isfinite(control)]
    levels = (Level("controls (root mean square)", float(np.median(known))),) if known.size else ()
    return CurvePanel(title, tuple(curves), levels)
