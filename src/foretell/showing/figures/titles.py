"""Titles of figures: one sentence each, which says what the numbers of a table show.

Each sentence follows a fixed rule and is made of cells of the table; a rule that needs an interval says so where there
is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from foretell.schema.study_tables import LEAK, POOLED
from foretell.showing.overview import BASELINE, Overview, shown_signal
from foretell.showing.rounding import estimate_text, number_text
from foretell.storage.surfaces import Surface

__all__ = [
    "areas_of_detectors",
    "early_signals",
    "forest_protocols",
    "gains_of_detectors",
    "gains_of_signals",
    "heads_by_correlation",
    "importance_of_columns",
    "leaks",
    "level_of_answers",
    "probabilities",
    "separating_layer",
    "signals_halfway",
    "significant_heads",
    "single_metrics",
    "steered",
    "threshold_rules",
    "transferred",
]

Row = dict[str, Any]


def early_signals(shown: Overview) -> str:
    """Say how many behaviours some signal tells beyond the baselines."""
    every = {row.behaviour or row.dataset for row in shown.rows}
    telling = {row.behaviour or row.dataset for row in shown.rows if any(cell.predicts for cell in row.cells)}
    behaviours = "behaviour" if len(every) == 1 else "behaviours"
    if not telling:
        which = "the behaviour" if len(every) == 1 else f"any of {len(every)} behaviours"
        return f"No signal tells {which} better than the baselines"
    return f"Signals inside the model tell {len(telling)} of {len(every)} {behaviours} better than the baselines"


def signals_halfway(relative: pl.DataFrame) -> str:
    """Say which signal has the largest AUC by the middle of the answers, and what the best baseline has there."""
    half = relative.filter((pl.col("position") == 0.5) & pl.col("counts"))
    best = _highest(half.filter(pl.col("signal") != BASELINE), "auc")
    if best is None:
        return "No signal has a defined AUC by the middle of the answers"
    known = _highest(half.filter((pl.col("dataset") == best["dataset"]) & (pl.col("signal") == BASELINE)), "auc")
    beside = "" if known is None else f"; the best baseline has {number_text(known['auc'], digits=2)} there"
    about = f"{shown_signal(best['signal'])}, “{best.get('behaviour') or best['dataset']}”"
    return f"By the middle of the answers the largest AUC is {number_text(best['auc'], digits=2)} ({about}){beside}"


def gains_of_signals(shown: Overview) -> str:
    """Say how many signals add to all baselines, by their verdicts."""
    cells = [cell for row in shown.rows for cell in (*row.cells, *row.published) if cell.increment.value is not None]
    adding = sum(cell.predicts for cell in cells)
    counted = f"{adding or 'None'} of {len(cells)} comparisons {'shows' if adding < 2 else 'show'}"
    return f"{counted} a signal that adds to all baselines"


def separating_layer(layers: pl.DataFrame, what: str) -> str:
    """Say which layer has the largest AUC, after words such as "Hidden states separate"."""
    best = _highest(layers, "auc")
    if best is None:
        return "No layer has a defined AUC"
    about = best.get("behaviour") or best.get("concept") or best.get("dataset")
    return f"{what} “{about}” best in layer {best['layer']}: AUC {number_text(best['auc'], digits=2)}"


def single_metrics(roc: pl.DataFrame) -> str:
    """Say which metric is furthest from chance, of those whose interval excludes it."""
    known = roc.filter(pl.col("auc").is_not_null() & (pl.col("level") == "sample"))
    known = known if known.height else roc.filter(pl.col("auc").is_not_null())
    apart = known.filter((pl.col("auc_lower") > 0.5) | (pl.col("auc_upper") < 0.5))
    if apart.is_empty():
        return "No single metric separates the labels: every interval includes 0.5"
    best = apart.sort((pl.col("auc") - 0.5).abs(), descending=True).row(0, named=True)
    area = estimate_text(best["auc"], best["auc_lower"], best["auc_upper"])
    return f"The best single metric is {best['metric']} on {best['dataset']}: AUC {area}"


def forest_protocols(forest: pl.DataFrame) -> str:
    """Compare the forest's AUCs with whole samples held out and with rows split at random."""
    spans = {name: _span(forest.filter(pl.col("protocol") == name)["auc"]) for name in ("grouped", "rows")}
    if not spans["grouped"]:
        return "The forest's AUC with whole samples held out is undefined"
    text = f"With whole samples held out the forest has AUC {spans['grouped']}"
    return f"{text}; with rows split at random {spans['rows']}" if spans["rows"] else text


def leaks(forest: pl.DataFrame) -> str:
    """Say on how many datasets rows of one sample in both training and test sets raise the forest's AUC."""
    by_dataset: dict[str, dict[str, Row]] = {}
    for row in forest.to_dicts():
        by_dataset.setdefault(row["dataset"], {})[row["protocol"]] = row
    judged = {
        dataset: one
        for dataset, one in by_dataset.items()
        if all(one.get(name, {}).get("auc") is not None for name in ("rows", "grouped", "placebo"))
    }
    if len(judged) > 1:
        judged.pop(POOLED, None)  # the forests of the others together, no dataset of its own
    if not judged:
        return "Leakage between rows of one sample could not be measured"
    leaking = sum(_is_leak(one["rows"], one["grouped"], one["placebo"]) for one in judged.values())
    if not leaking:
        which = "the dataset" if len(judged) == 1 else f"any of {len(judged)} datasets"
        return f"Rows split at random show no leak on {which}"
    return f"Rows split at random leak on {leaking} of {len(judged)} {'dataset' if len(judged) == 1 else 'datasets'}"


def _is_leak(rows: Row, grouped: Row, placebo: Row) -> bool:
    clear = placebo["auc_lower"] is not None and placebo["auc_lower"] > 0.5
    return clear and placebo["auc"] >= 0.5 + LEAK and rows["auc"] - grouped["auc"] >= LEAK


def importance_of_columns(importances: pl.DataFrame) -> str:
    """Say which columns the forest needs, by the intervals of their permutation importances with samples held out."""
    known = importances.filter(
        (pl.col("kind") == "permutation") & (pl.col("protocol") == "grouped") & pl.col("lower").is_not_null()
    )
    needed = known.filter(pl.col("lower") > 0).sort("importance", descending=True)
    if known.is_empty():
        return "Permutation importances have no interval"
    if needed.is_empty():
        return f"No column matters: all {known.height} intervals of permutation importance include 0"
    first = needed.row(0, named=True)
    return (
        f"{needed.height} of {known.height} columns matter, most of all {first['metric']} on {first['dataset']}: "
        f"shuffling it costs {number_text(first['importance'], digits=2)} AUC"
    )


def heads_by_correlation(largest: float, name: str) -> str:
    """Say how large a correlation is at most, for a map beside that of the AUC."""
    return f"The same by {name}, {number_text(largest, digits=2)} at most"


def significant_heads(marked: int, cells: int) -> str:
    """Say how many combinations of head and metric are significant."""
    if not marked:
        return f"None of {cells:,} combinations of head and metric is significant after correction for all of them"
    verb = "is" if marked == 1 else "are"
    return (
        f"{marked:,} of {cells:,} combinations of head and metric {verb} significant after correction for all of them"
    )


def areas_of_detectors(detectors: pl.DataFrame) -> str:
    """Compare the best detector with the best baseline of the same dataset."""
    best = _highest(detectors.filter(pl.col("role") != "baseline"), "auc")
    if best is None:
        return "No detector has a defined AUC"
    text = f"The best detector, {best['detector']}, has AUC {number_text(best['auc'], digits=2)} on {best['dataset']}"
    known = _highest(detectors.filter((pl.col("role") == "baseline") & (pl.col("dataset") == best["dataset"])), "auc")
    return f"{text}; the best baseline {number_text(known['auc'], digits=2)}" if known else text


def gains_of_detectors(detectors: pl.DataFrame) -> str:
    """Say how many detectors add to all baselines, by the intervals of their increments."""
    known = detectors.filter(pl.col("increment_lower").is_not_null())
    adding = known.filter(pl.col("increment_lower") > 0).height
    if known.is_empty():
        return "Increments over all baselines have no interval"
    if not adding:
        return f"No detector adds to all baselines: none of {known.height} intervals is above 0"
    return f"{adding} of {known.height} increments over all baselines have an interval above 0"


def threshold_rules(thresholds: pl.DataFrame) -> str:
    """Say what the rules lose between training and held-out groups."""
    lost = (thresholds["train_value"] - thresholds["heldout_value"]).drop_nulls()
    if lost.is_empty():
        return "No threshold rule has a defined value"
    most = number_text(max(float(lost.to_numpy().max()), 0.0), digits=2)
    return f"Threshold rules lose up to {most} from training to held-out groups"


def transferred(transfer: pl.DataFrame) -> str:
    """Compare detectors fitted on other datasets with those fitted on the same."""
    spans = [_span(transfer.filter((pl.col("train") == "itself") == own)["auc"]) for own in (False, True)]
    if not spans[0]:
        return "No detector could be evaluated on another dataset"
    text = f"Fitted on other datasets, detectors have AUC {spans[0]}"
    return f"{text}; fitted on the dataset itself {spans[1]}" if spans[1] else text


def probabilities(detectors: pl.DataFrame, names: Iterable[str]) -> str:
    """Say how far predicted probabilities are from observed shares, by the calibration errors."""
    chosen = detectors.filter(pl.col("detector").is_in(list(names)))
    span = _span(chosen["calibration_error"]) if "calibration_error" in chosen.columns else ""
    return f"Predicted probabilities are off by {span or 'an unknown amount'} on average"


def level_of_answers(surface: Surface) -> str:
    """Compare the mean activity of all answers."""
    means = [float(np.nanmean(one.activity)) if np.isfinite(one.activity).any() else None for one in surface.answers]
    named = [
        f"{number_text(mean, digits=2)} in “{one.title}”" for mean, one in zip(means, surface.answers, strict=True)
    ]
    most = 3
    tail = f" and {len(named) - most} more" if len(named) > most else ""
    return f"Mean activity along “{surface.concept}” is {', '.join(named[:most])}{tail}"


def steered(table: pl.DataFrame) -> str:
    """Give the shift at the largest dose."""
    known = table.filter((pl.col("kind") == "direction") & pl.col("shift").is_not_null()).sort("dose")
    if known.is_empty():
        return "Adding the direction has no defined effect"
    last = known.row(-1, named=True)
    area = estimate_text(last["shift"], last["shift_lower"], last["shift_upper"])
    return f"Adding “{last['concept']}” at dose {last['dose']:g} shifts the log-odds by {area} nats"


def _highest(frame: pl.DataFrame, column: str) -> Row | None:
    known = frame.filter(pl.col(column).is_not_null()).sort(column, descending=True, maintain_order=True)
    return known.row(0, named=True) if known.height else None


def _span(values: pl.Series) -> str:
    """Return the smallest and the largest of the defined values, empty if there is none."""
    ends = (
        [number_text(float(end), digits=2) for end in np.quantile(values.drop_nulls().to_numpy(), (0, 1))]
        if values.drop_nulls().len()
        else []
    )
    return " to ".join(dict.fromkeys(ends))
