"""The tables of docs/concepts/what-tells.md, from the results that `what_tells.py` has made so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

import foretell
from foretell.labels.verifiers import verify

__all__ = ["page_tables"]

FAMILIES = ("attention", "hidden states", "activity", "confidence", "all")
PUBLISHED = ("lookback ratio", "mass-mean probe", "perplexity")
CURVES = {
    "hidden states": "hidden states",
    "attention": "attention",
    "all": "all signals",
    "all baselines": "all baselines",
}
"""Signals, or detectors among the baselines, and what they are called."""
MOMENTS = (0, 1, 2, 4, 8, 16, 32, 64)

Row = dict[str, Any]


def page_tables(folder: Path, sets: Sequence[str]) -> str:
    """Return all tables as Markdown.

    Args:
        folder: Of `what_tells.py`, a folder for each model.
        sets: Names of the sets, in order.
    """
    parts = []
    for model in sorted(path for path in folder.iterdir() if path.is_dir()):
        results = {name: model / name / "results" for name in sets if (model / name / "results/study.json").exists()}
        if results:
            parts += [f"## {model.name}", "", *_summary(results), "", *_curves(results), "", *_layers(results), ""]
            first = {name: path.parent / "first-tokens" for name, path in results.items()}
            first = {name: path for name, path in first.items() if (path / "study.json").exists()}
            parts += [*_summary(first), ""] if first else []
            parts += _after_claims(model / "false-claims" / "run")
    return "\n".join(parts).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(one)} |" for one in (head, ["---"] * len(head), *rows)]


def _read(results: Path, *names: str) -> list[pl.DataFrame]:
    return [pl.read_parquet(results / f"{name}.parquet") for name in names]


def _area(row: Row, within: str = "auc_within") -> str:
    """Return an AUC, and in brackets the one within strata."""
    if row["auc"] is None:
        return "undefined"
    return f"{row['auc']:.2f}" + ("" if row[within] is None else f" ({row[within]:.2f})")


def _gain(row: Row) -> str:
    if row["increment"] is None:
        return "undefined"
    return f"{row['increment']:+.3f} ({row['increment_lower']:+.3f} to {row['increment_upper']:+.3f})"


def _summary(results: dict[str, Path]) -> list[str]:
    """Return one row per behaviour and signal, at the last moment that counts."""
    head = (
        "behaviour, samples, moment",
        "signal",
        "AUC (within strata)",
        "increment (95 %)",
        "told by token",
        "verdict",
    )
    return _table(head, (row for name, path in results.items() for row in _of_set(name, path)))


def _of_set(name: str, results: Path) -> Iterator[Sequence[str]]:
    early, first, verdicts, detectors = _read(results, "early", "told_by", "verdicts", "detectors")
    counted = early.filter("counts")
    last = int(counted["n_generated"].max() or 0)  # type: ignore[arg-type]
    here = counted.filter(pl.col("n_generated") == last)
    n, n_positive = here.select("n", "n_positive").row(0)
    if last < early["n_generated"].max():  # type: ignore[operator]
        moment = f"after {last} tokens (words tell it later)"
    else:
        part = f"its first {last} tokens" if last else "before its first token"
        moment = "whole answers" if here["share_written"][0] == 1 else part
    known = here.filter(pl.col("detector") == "all baselines").to_dicts()
    about = f"**{name}**, {n}, {100 * n_positive / n:.0f} % of label 1, {moment}"
    yield (about, "all baselines", _area(known[0]) if known else "none", "", "", "")
    said = dict(verdicts.select("signal", "verdict").iter_rows())
    when = dict(first.select("signal", "n_generated").iter_rows())
    for row in here.filter(pl.col("signal").is_in(FAMILIES)).sort(pl.col("signal").cast(pl.Enum(FAMILIES))).to_dicts():
        signal = row["signal"]
        by = when.get(signal)
        verdict = said.get(signal) or said.get(row["detector"]) or ""
        yield ("", row["detector"], _area(row), _gain(row), "never" if by is None else str(by), verdict)
    for row in detectors.filter(pl.col("signal").is_in(PUBLISHED)).to_dicts():
        signal = row["signal"]
        yield ("", signal, _area(row, "auc_within_strata"), _gain(row), "", said.get(signal) or "")


def _curves(results: dict[str, Path]) -> list[str]:
    """Return AUCs and increments by number of tokens, within strata where there are strata."""
    head = ("behaviour", "number", *(f"{one}" for one in MOMENTS), "whole")
    rows = []
    for name, path in results.items():
        (early,) = _read(path, "early")
        whole, within = early["n_generated"].max(), early["auc_within"].is_not_null().any()
        for what, shown in CURVES.items():
            own = early.filter((pl.col("signal") == what) | (pl.col("detector") == what)).to_dicts()
            for number, text in (("AUC", _moment), ("increment", _moment_gain)):
                by = {row["n_generated"]: text(row, within=within) for row in own}
                cells = ["" if one == whole else by.get(one, "") for one in MOMENTS]
                if any(by.values()):
                    rows.append((name, f"{shown}: {number}", *cells, by.get(whole, "")))
    rows.sort(key=lambda row: (list(results).index(row[0]), row[1].endswith("increment")))
    first = [index == 0 or row[0] != rows[index - 1][0] for index, row in enumerate(rows)]
    return _table(head, [(row[0] if new else "", *row[1:]) for row, new in zip(rows, first, strict=True)])


def _moment(row: Row, *, within: bool) -> str:
    area = row["auc_within"] if within else row["auc"]
    text = "" if area is None else f"{area:.2f}"
    return text if row["counts"] or not text else f"*{text}*"


def _moment_gain(row: Row, *, within: bool) -> str:
    del within
    if row["increment"] is None or not row["counts"]:
        return ""
    return f"**{row['increment']:+.2f}**" if row["increment_lower"] > 0 else f"{row['increment']:+.2f}"


def _layers(results: dict[str, Path]) -> list[str]:
    """Return the AUC of each layer of hidden states, averaged over the answer and of the last prompt token."""
    layers: dict[str, list[Row]] = {name: _read(path, "hidden_layers")[0].to_dicts() for name, path in results.items()}
    numbers = sorted({row["layer"] for rows in layers.values() for row in rows})
    rows = []
    for name, own in layers.items():
        within = any(row["auc_within"] is not None for row in own)
        for pool in sorted({row["pool"] for row in own}):
            by = {row["layer"]: row["auc_within" if within else "auc"] for row in own if row["pool"] == pool}
            rows.append((name, pool, *("" if by.get(one) is None else f"{by[one]:.2f}" for one in numbers)))
    return _table(("behaviour", "pool", *(f"layer {one}" for one in numbers)), rows)


def _after_claims(run: Path) -> list[str]:
    """Return how often a false claim is accepted, by what the model says without it."""
    if not (run / "labels.parquet").exists():
        return []
    known = foretell.builtin_conversations("questions")
    right = {one.group: one.verifier for one in known if one.verifier is not None}
    samples = foretell.open_run(run).samples
    asked = samples.filter(pl.col("stratum").str.ends_with("no claim"))
    unasked = {
        group: {True: "right", False: "wrong", None: "no answer"}[verify(answer, right[group]).followed]
        for group, answer in asked.select("group", "answer").iter_rows()
    }
    if not unasked:
        return []
    claimed = samples.filter(~pl.col("stratum").str.ends_with("no claim"))
    counts = Counter(
        (unasked.get(group), label) for group, label in claimed.select("group", "behavior_label").iter_rows()
    )
    rows = [
        (known, *(str(counts[known, label]) for label in (1, 0, None))) for known in ("right", "wrong", "no answer")
    ]
    return [*_table(("without a claim its answer is", "gave in", "kept to the truth", "neither"), rows), ""]
