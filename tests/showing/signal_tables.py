"""Made-up tables of a study that compares signals over generated tokens: four behaviours, six datasets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

__all__ = ["BEHAVIOURS", "CHECKPOINTS", "FAMILIES", "signal_tables"]

BEHAVIOURS = {
    "alpaca": "followed the instruction",
    "flan": "followed the instruction",
    "sharegpt": "followed the instruction",
    "questions": "answered correctly",
    "false-claims": "gave in to a false claim",
    "lies": "said something false",
}
FAMILIES = ("attention", "hidden states", "activity", "confidence", "all")
CHECKPOINTS = (0, 1, 2, 4, 8, 16, 32, 41)
_SIZES = {"alpaca": (115, 60), "flan": (117, 41), "sharegpt": (117, 68), "questions": (160, 93)} | {
    "false-claims": (160, 78),
    "lies": (9, 3),
}
_KNOWN = {"alpaca": 0.66, "flan": 0.72, "sharegpt": 0.63, "questions": 0.7, "false-claims": 0.71, "lies": 0.6}
_GAIN = {"questions": 0.06, "false-claims": 0.17, "sharegpt": 0.02}
_WORDS_FROM = {"false-claims": 4}
_SHAPES: dict[str, Any] = {
    "auc": pl.Float64,
    "auc_lower": pl.Float64,
    "auc_upper": pl.Float64,
    "auc_within": pl.Float64,
    "increment": pl.Float64,
    "increment_lower": pl.Float64,
    "increment_upper": pl.Float64,
    "p": pl.Float64,
    "p_adjusted": pl.Float64,
    "minimal_auc": pl.Float64,
    "n_generated": pl.Int32,
    "counts": pl.Boolean,
    "behaviour": pl.String,
    "reason": pl.String,
}


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    overrides = {name: kind for name, kind in _SHAPES.items() if name in rows[0]}
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=overrides)


def _around(name: str, value: float | None, half: float) -> dict[str, Any]:
    if value is None:
        return {name: None, f"{name}_lower": None, f"{name}_upper": None}
    return {name: value, f"{name}_lower": value - half, f"{name}_upper": min(value + half, 1.0)}


def _untested(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a dataset with too few samples."""
    kept = {"dataset", "behaviour", "detector", "signal", "n_generated", "counts", "n", "n_positive", "pool", "layer"}
    return {name: value if name in kept else None for name, value in row.items()} | {"reason": "3 groups have label 1"}


def _strength(dataset: str, family: str, n_generated: int) -> float:
    """Return how much a family adds at a checkpoint: it rises after the second token."""
    scale = {"attention": 0.4, "hidden states": 1.0, "activity": 0.5, "confidence": 0.25, "all": 1.05}[family]
    return _GAIN.get(dataset, 0.0) * scale / (1 + math.exp(-(math.log2(1 + n_generated) - 2) * 2))


def _early(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for dataset, behaviour in BEHAVIOURS.items():
        n, n_positive = _SIZES[dataset]
        for k in CHECKPOINTS:
            counts = k < _WORDS_FROM.get(dataset, 99)
            known = _KNOWN[dataset] - 0.08 / (1 + k) + (0.0 if counts else 0.2)
            base = {"dataset": dataset, "behaviour": behaviour, "n_generated": k, "counts": counts}
            base |= {"n": n, "n_positive": n_positive}
            entries: list[tuple[str, str, float, float | None]] = [
                ("all baselines", "baseline", known, None),
                ("kind of task", "baseline", known - 0.05, None),
                ("words of the answer", "baseline", known - 0.12, None),
            ]
            for family in FAMILIES:
                gain = _strength(dataset, family, k) + float(rng.normal(0, 0.006))
                detector = "all signals" if family == "all" else f"{family}, ridge"
                entries.append((detector, family, known + gain - 0.03, gain))
            for detector, signal, auc, added in entries:
                row: dict[str, Any] = {**base, "detector": detector, "signal": signal, **_around("auc", auc, 0.06)}
                row |= {"auc_within": auc - 0.04, **_around("increment", added, 0.035)}
                row |= {"p": None if added is None else 0.01, "reason": None}
                rows.append(_untested(row) if dataset == "lies" else row)
    return rows


def _by_share(early: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return checkpoints of the curve by tokens as positions in the answer."""
    positions = {0: 0.0, 4: 0.25, 8: 0.5, 16: 0.75, CHECKPOINTS[-1]: 1.0}
    found = []
    for row in early:
        if row["n_generated"] in positions:
            rest = {name: value for name, value in row.items() if name != "n_generated"}
            found.append({**rest, "position": positions[row["n_generated"]]})
    return found


def _first_tokens() -> list[dict[str, Any]]:
    first = {
        ("questions", "hidden states"): 8,
        ("questions", "all"): 4,
        ("false-claims", "hidden states"): 2,
        ("false-claims", "all"): 2,
    }
    return [
        {"dataset": dataset, "behaviour": behaviour, "signal": family, "n_generated": first.get((dataset, family))}
        | {"p_adjusted": 0.004 if (dataset, family) in first else 0.5}
        | {"reason": None if (dataset, family) in first else "from no checkpoint on"}
        for dataset, behaviour in BEHAVIOURS.items()
        for family in FAMILIES
    ]


def _hidden_layers(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for dataset, behaviour in BEHAVIOURS.items():
        last = 2 if dataset in _WORDS_FROM else CHECKPOINTS[-1]
        for pool, share in (("last prompt token", 0.2), ("mean over answer", 1.0), ("last answer token", 0.7)):
            for layer in range(2, 30, 3):
                bump = math.exp(-(((layer - 17) / 9) ** 2))
                auc = _KNOWN[dataset] - 0.08 + share * (0.02 + _GAIN.get(dataset, 0)) * bump
                auc += float(rng.normal(0, 0.008))
                row = {"dataset": dataset, "behaviour": behaviour, "pool": pool, "layer": layer, "n_generated": last}
                row |= {**_around("auc", auc, 0.05), "auc_within": auc - 0.04, "reason": None}
                rows.append(_untested(row) if dataset == "lies" else row)
    return rows


def _verdicts(early: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for row in early:
        last = 2 if row["dataset"] in _WORDS_FROM else CHECKPOINTS[-1]
        if row["n_generated"] != last or row["signal"] == "baseline":
            continue
        gain = row["increment"]
        verdict, why = "no signal found", "a rule, with its numbers"
        if gain is None:
            verdict, why = "not enough data", "3 groups have label 1 and 6 label 0; each needs 10"
        elif gain > 0.035:
            verdict = "signal" if gain > 0.05 else "weak signal"
        p_adjusted = None if gain is None else 0.4 if verdict == "no signal found" else 0.003
        found = {"dataset": row["dataset"], "behaviour": row["behaviour"], "signal": row["signal"]}
        found |= {"verdict": verdict, "why": why, "p_adjusted": p_adjusted, "minimal_auc": 0.68, "reason": None}
        found |= {f"auc{end}": row[f"auc{end}"] for end in ("", "_lower", "_upper")}
        found |= {f"increment{end}": row[f"increment{end}"] for end in ("", "_lower", "_upper")}
        rows.append({**found, "auc": row["auc_within"]})
    return rows


def signal_tables() -> dict[str, pl.DataFrame]:
    """Return `early`, `early_relative`, `told_by`, `hidden_layers` and the verdicts on families."""
    rng = np.random.default_rng(11)
    early = _early(rng)
    tables = {
        "early": early,
        "early_relative": _by_share(early),
        "told_by": _first_tokens(),
        "hidden_layers": _hidden_layers(rng),
        "verdicts": _verdicts(early),
    }
    return {name: _frame(rows) for name, rows in tables.items()}
