"""The results in words: every sentence follows a stated rule and names the table cells it is based on.

Nothing is computed here except the difference of two cells that the sentence shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from foretell.schema.study_tables import LEAK
from foretell.showing.figures.table_cells import of_attention, strongest_first
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import (
    count_text,
    estimate_text,
    number_text,
    p_text,
    percent_text,
    signed_text,
)

__all__ = ["VERDICT_WORDS", "Chapter", "Sentence", "narrate", "rules"]

VERDICT_WORDS = {
    "signal": "it predicts the label beyond the baselines",
    "weak signal": "it predicts the label beyond the baselines, but weakly",
    "no signal found": "no evidence that it predicts the label beyond the baselines",
    "leak": "it seems to predict the label only because rows of one sample were in both training and test sets",
    "not enough data": "too few samples for a conclusion",
}
"""Each verdict as a clause about the signal."""

_EQUAL_SHARES = 0.03
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Sentence:
    """One statement and the table cells of its numbers."""

    rule: str
    """Name of the rule that applied; `rules()` explains each."""
    text: str
    sources: tuple[str, ...] = ()
    """Cells such as `forest[dataset=flan, protocol=rows].auc`."""


@dataclass(frozen=True)
class Chapter:
    """The statements about one dataset, or about all datasets."""

    title: str
    sentences: tuple[Sentence, ...]


def rules() -> dict[str, str]:
    """Return a description of every rule by name."""
    return {
        "verdict": "each row of the verdict table as a sentence",
        "detector": "the detector with the highest held-out AUC, and whether the interval of its increment over all "
        "baselines is above, includes or is below 0",
        "strata": "that detector's AUC within strata compared with its AUC over all samples",
        "head": f"the row with the smallest max-statistic p-value; it is significant below {_SIGNIFICANT:g}. With "
        "baselines, the p-value is that of what these leave of label and metric; with strata, within these",
        "leak": "the AUC of the row split minus that of the grouped split; there is leakage where it is at least "
        f"{LEAK:g} and the AUC of the placebo at least {0.5 + LEAK:g}, with an interval above 0.5",
        "accuracy": "the accuracy of the grouped forest compared with that of always predicting the majority class",
        "impurity": f"applies where all impurity importances are within {_EQUAL_SHARES:g} of an equal share",
        "permutation": "the columns whose permutation importance (grouped) has an interval above 0",
        "simplex": "applies where the metrics are the three normalised shares",
        "letters": "applies where metric names contain the letters of segments",
        "ledger": "rows read and kept, from the ledger",
        "level": "the level of the study's intervals, from the settings",
        "direction": "the layer with the highest held-out AUC, compared with the baselines",
    }


def _cell(table: str, column: str, row: dict[str, Any], *keys: str) -> str:
    return f"{table}[{', '.join(f'{key}={row[key]}' for key in keys)}].{column}"


def narrate(data: ReportData) -> tuple[Chapter, ...]:
    """Return the report's sentences: one chapter per dataset, then one about all datasets."""
    chapters = []
    for dataset in data.datasets:
        sentences = [
            *_verdicts(data, dataset),
            *_detector(data, dataset),
            *_head(data, dataset),
            *_leak(data, dataset),
            *_importances(data, dataset),
        ]
        if sentences:
            chapters.append(Chapter(dataset, tuple(sentences)))
    general = [*_ledger(data), *_level(data), *_direction(data), *_simplex(data)]
    if general:
        chapters.append(Chapter("All datasets", tuple(general)))
    return tuple(chapters)


def _of(data: ReportData, table: str, dataset: str) -> pl.DataFrame:
    frame = data.table(table)
    return frame.filter(pl.col("dataset") == dataset)


def _verdicts(data: ReportData, dataset: str) -> list[Sentence]:
    made = []
    for row in _of(data, "verdicts", dataset).to_dicts():
        words = VERDICT_WORDS.get(row["verdict"], row["verdict"])
        source = _cell("verdicts", "verdict", row, "dataset", "signal")
        made.append(Sentence("verdict", f"{_capital(row['signal'])}: {words} ({row['why'].rstrip('.')}).", (source,)))
    return made


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _detector(data: ReportData, dataset: str) -> list[Sentence]:
    frame = of_attention(_of(data, "detectors", dataset)).filter(pl.col("auc").is_not_null())
    detectors = frame.filter(pl.col("role") != "baseline").sort("auc", descending=True, maintain_order=True)
    if detectors.is_empty():
        return []
    best = detectors.row(0, named=True)
    auc = estimate_text(best["auc"], best["auc_lower"], best["auc_upper"])
    baselines = frame.filter(pl.col("role") == "baseline").sort("auc", descending=True, maintain_order=True)
    sources = [_cell("detectors", "auc", best, "dataset", "detector")]
    comparison = ""
    if not baselines.is_empty():
        second = baselines.row(0, named=True)
        comparison = f"; the best baseline, {second['detector']}, has {number_text(second['auc'], digits=2)}"
        sources.append(_cell("detectors", "auc", second, "dataset", "detector"))
    text = f"The best detector, {best['detector']}, has held-out AUC {auc}{comparison}."
    if best["increment"] is not None:
        gain = estimate_text(best["increment"], best["increment_lower"], best["increment_upper"])
        text += f" Added to all baselines it changes their AUC by {gain}: {_increment_words(best)}."
        sources.append(_cell("detectors", "increment", best, "dataset", "detector"))
    elif best["reason"]:
        text += f" Its increment over all baselines is undefined ({best['reason']})."
    made = [Sentence("detector", text, tuple(sources))]
    if best["auc_within_strata"] is not None:
        within = number_text(best["auc_within_strata"], digits=2)
        made.append(
            Sentence(
                "strata",
                f"Within samples of the same task type its AUC is {within} instead of "
                f"{number_text(best['auc'], digits=2)}; the difference may be due to separating task types.",
                (_cell("detectors", "auc_within_strata", best, "dataset", "detector"),),
            )
            if best["auc_within_strata"] < best["auc"]
            else Sentence(
                "strata",
                f"Within samples of the same task type its AUC is {within}, not lower than over all samples.",
                (_cell("detectors", "auc_within_strata", best, "dataset", "detector"),),
            )
        )
    return made


def _increment_words(row: dict[str, Any]) -> str:
    lower, upper = row["increment_lower"], row["increment_upper"]
    if lower is None or upper is None:
        return "without an interval, so there is no conclusion"
    if lower > 0:
        return "the internals add to what is known without them"
    if upper < 0:
        return "the internals make the prediction worse"
    return "the interval includes 0, so no improvement over the baselines is shown"


def _head(data: ReportData, dataset: str) -> list[Sentence]:
    frame = _of(data, "association", dataset)
    tested = frame.filter(pl.col("p_max").is_not_null())
    if tested.is_empty():
        return []
    best = strongest_first(tested).row(0, named=True)
    passing = tested.filter(pl.col("p_max") < _SIGNIFICANT).height
    name = f"layer {best['layer']}, head {best['head']}, {best['metric']}"
    auc = estimate_text(best["auc"], best["auc_lower"], best["auc_upper"])
    rho = number_text(best["spearman"], digits=2)
    columns = ["auc", "spearman", "p_max"]
    if best["auc_within"] is not None:
        columns.append("auc_within")
        auc += f", within task types {number_text(best['auc_within'], digits=2)}"
    detectors = _of(data, "detectors", dataset)
    known = not detectors.filter((pl.col("role") == "baseline") & (pl.col("detector") != "majority")).is_empty()
    how_many = count_text(passing) if passing else "none"
    lead = f"Of {count_text(tested.height)} combinations of layer, head and metric, {how_many} "
    lead += "are" if passing > 1 else "is"
    lead += " significant beside the baselines" if known else " significant"
    text = f"{lead}, after correction for multiple testing. The strongest is {name}: AUC {auc}, "
    text += f"rank correlation {rho}, corrected p {p_text(best['p_max'])}"
    if not passing and known:
        text += "; what the baselines leave of it is expected by chance"
    elif not passing:
        text += "; the strongest of this many is expected to reach this AUC by chance"
    keys = ("dataset", "layer", "head", "metric")
    return [Sentence("head", f"{text}.", tuple(_cell("association", column, best, *keys) for column in columns))]


def _leak(data: ReportData, dataset: str) -> list[Sentence]:
    by_protocol = {row["protocol"]: row for row in _of(data, "forest", dataset).to_dicts()}
    rows, grouped, placebo = (by_protocol.get(name) for name in ("rows", "grouped", "placebo"))
    made = []
    if rows and grouped and rows["auc"] is not None and grouped["auc"] is not None:
        sources = [_cell("forest", "auc", row, "dataset", "protocol") for row in (rows, grouped)]
        text = (
            f"Random forest: AUC {number_text(rows['auc'], digits=2)} with a random split of rows (as in the source "
            f"study), {number_text(grouped['auc'], digits=2)} with whole samples held out. The difference, "
            f"{signed_text(rows['auc'] - grouped['auc'], digits=2)}, is due to the split."
        )
        if placebo and placebo["auc"] is not None:
            sources.append(_cell("forest", "auc", placebo, "dataset", "protocol"))
            shown = estimate_text(placebo["auc"], placebo["auc_lower"], placebo["auc_upper"])
            text += f" With labels dealt anew by whole groups the row split has AUC {shown}: "
            text += _leak_words(placebo, rows["auc"] - grouped["auc"])
        made.append(Sentence("leak", text, tuple(sources)))
    if grouped and grouped["accuracy"] is not None and grouped["majority_accuracy"] is not None:
        better = grouped["accuracy"] > grouped["majority_accuracy"]
        made.append(
            Sentence(
                "accuracy",
                f"With whole samples held out the forest's accuracy is {percent_text(grouped['accuracy'])}; always "
                f"predicting the majority class has {percent_text(grouped['majority_accuracy'])}"
                + ("." if better else ", so its accuracy and F1 are no evidence of a signal."),
                tuple(
                    _cell("forest", column, grouped, "dataset", "protocol")
                    for column in ("accuracy", "majority_accuracy")
                ),
            )
        )
    return made


def _leak_words(placebo: dict[str, Any], gap: float) -> str:
    if placebo["auc_lower"] is None or placebo["auc_lower"] <= 0.5:
        return "no leakage is shown on this table."
    if placebo["auc"] < 0.5 + LEAK or gap < LEAK:
        return f"no leakage of {LEAK:g} or more is shown on this table."
    return "it recognises samples instead of predicting behaviour, and this part of its AUC is leakage."


def _importances(data: ReportData, dataset: str) -> list[Sentence]:
    frame = _of(data, "importances", dataset).filter(pl.col("importance").is_not_null())
    keys = ("dataset", "protocol", "metric", "kind")
    made = []
    impurity = frame.filter(pl.col("kind") == "impurity").to_dicts()
    impurity = [row for row in impurity if row["protocol"] == "rows"] or impurity
    metrics = {row["metric"] for row in impurity}
    if len(metrics) > 1 and all(abs(row["importance"] - 1 / len(metrics)) <= _EQUAL_SHARES for row in impurity):
        values = ", ".join(f"{row['metric']} {number_text(row['importance'])}" for row in impurity)
        made.append(
            Sentence(
                "impurity",
                f"The impurity importances are near 1/{len(metrics)} each ({values}). Exchangeable columns have this "
                "value on pure noise too: it does not mean that all columns matter equally.",
                tuple(_cell("importances", "importance", row, *keys) for row in impurity),
            )
        )
    permuted = frame.filter((pl.col("kind") == "permutation") & (pl.col("protocol") == "grouped")).to_dicts()
    if permuted:
        needed = [row for row in permuted if row["lower"] is not None and row["lower"] > 0]
        names = ", ".join(f"{row['metric']} ({number_text(row['importance'])})" for row in needed)
        text = (
            f"Shuffling {names} significantly lowers the forest's held-out AUC."
            if needed
            else "Shuffling any single metric does not significantly lower the forest's held-out AUC."
        )
        sources = tuple(_cell("importances", "lower", row, *keys) for row in permuted)
        made.append(Sentence("permutation", text, sources))
    return made


def _ledger(data: ReportData) -> list[Sentence]:
    ledger = data.ledger
    if ledger is None:
        return []
    dropped = ledger.n_read - ledger.n_kept
    text = f"{count_text(ledger.n_read)} rows were read and {count_text(ledger.n_kept)} kept"
    text += f"; {count_text(dropped)} were dropped, counted by reason below." if dropped else "."
    return [Sentence("ledger", text, ("ledger",))]


def _level(data: ReportData) -> list[Sentence]:
    if not data.datasets:
        return []
    text = f"Numbers in square brackets are the ends of the {data.interval}"
    if data.direction is not None and not data.interval.startswith("95 %"):
        text += ", those of the direction of the 95 % interval"
    return [Sentence("level", f"{text}.", ("settings.level",))]


def _direction(data: ReportData) -> list[Sentence]:
    if data.direction is None:
        return []
    made = []
    defined = data.direction.filter(pl.col("auc").is_not_null())
    for part in defined.partition_by("concept", maintain_order=True):
        scores = part.filter(pl.col("measure") == "score").sort("auc", descending=True, maintain_order=True)
        if scores.is_empty():
            continue
        best = scores.row(0, named=True)
        auc = estimate_text(best["auc"], best.get("auc_lower"), best.get("auc_upper"))
        text = f"The direction “{best['concept']}” separates held-out topics best at layer {best['layer']}: AUC {auc}."
        sources = [_cell("direction", "auc", best, "concept", "measure", "layer")]
        for row in part.filter(pl.col("measure") != "score").to_dicts():
            reach = max(row["auc"], 1 - row["auc"])
            side = "higher" if row["auc"] >= 0.5 else "lower"
            against = "lower" if reach < best["auc"] else "as high or higher"
            name = row["measure"].replace("_", " ")
            text += f" Baseline {name} ({side} is more of the concept): AUC {number_text(reach, digits=2)}, {against}."
            sources.append(_cell("direction", "auc", row, "concept", "measure"))
        text += " The AUC of the best of many layers is slightly optimistic."
        made.append(Sentence("direction", text, tuple(sources)))
    return made


def _simplex(data: ReportData) -> list[Sentence]:
    metrics = data.metrics
    made = []
    if set(metrics) == {"PAM_norm", "QAM_norm", "SAM_norm"}:
        made.append(
            Sentence(
                "simplex",
                "Three shares that sum to 1 have two degrees of freedom: if one rises another must fall, so their "
                "correlations with the label cannot be interpreted separately.",
                ("settings.metrics",),
            )
        )
    if any(metric.startswith(("PAM", "QAM", "SAM", "TAM", "GAM")) for metric in metrics):
        made.append(
            Sentence(
                "letters",
                "Which segment the letters in a metric's name refer to depends on the program that made the table. "
                "There is no standard expansion of these letters.",
                ("settings.metrics",),
            )
        )
    return made
