"""A made-up study of three datasets, 30 layers and 9 heads, and two surfaces, with the shapes of real ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.schema.tables import TABLES, conform
from foretell.showing.report_data import ColouredText, LedgerFacts, ReportData, RunFacts
from foretell.storage.surfaces import AnswerActivity, Surface
from tests.showing.signal_tables import signal_tables

DATASETS = ("alpaca", "flan", "sharegpt")
METRICS = ("PAM_norm", "QAM_norm", "SAM_norm")
N_LAYERS, N_HEADS = 30, 9
FALSE = (
    "Elon Musk is a renowned pastry chef from rural France, known for inventing the world's first croissant-flavored "
    "ice cream."
)
TRUE = "Elon Musk is a South African-born entrepreneur, inventor, and business magnate."


@dataclass(frozen=True)
class FakeStudy:
    """What a report needs of a study, with made-up numbers."""

    frames: dict[str, pl.DataFrame]
    ledger: LedgerFacts
    validity: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str] = field(default_factory=lambda: {"foretell": "0.1.0", "numpy": "2.4"})
    notes: tuple[str, ...] = ("flan: 3 answers have zero tokens and no rows.",)

    def tables(self) -> dict[str, pl.DataFrame]:
        return self.frames

    def to_json(self) -> str:
        ledger = {"n_read": self.ledger.n_read, "n_kept": self.ledger.n_kept, "entries": dict(self.ledger.dropped)}
        unmatched = [name for name, _ in self.ledger.unmatched]
        return json.dumps(
            {"settings": self.settings, "ledger": {**ledger, "unmatched_table_ids": unmatched}}
            | {"validity": self.validity, "versions": self.versions, "notes": self.notes}
        )


def _table(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return conform(pl.DataFrame(rows, infer_schema_length=None), TABLES[name])


def _interval(prefix: str, value: float, half: float) -> dict[str, float]:
    return {prefix: value, f"{prefix}_lower": max(0.0, value - half), f"{prefix}_upper": min(1.0, value + half)}


def _association(rng: np.random.Generator) -> pl.DataFrame:
    rows = []
    for dataset in DATASETS:
        for metric in METRICS:
            for layer in range(N_LAYERS):
                for head in range(N_HEADS):
                    r = float(rng.normal(0, 0.09)) + (0.42 if dataset != "flan" and (layer, head) == (12, 4) else 0)
                    rows.append(
                        {"dataset": dataset, "layer": layer, "head": head, "metric": metric, "n": 100}
                        | {"n_positive": 37, "pearson": r, "pearson_p": 0.2, "spearman": r * 0.95, "spearman_p": 0.2}
                        | _interval("auc", 0.5 + r * 0.58, 0.1)
                        | {"auc_p": 0.1, "q_value": 0.4, "p_max": 0.003 if abs(r) > 0.36 else 0.8, "reason": None}
                    )
    return _table("association", rows)


def _points(generator: np.random.Generator, auc: float) -> list[tuple[float, float]]:
    x = np.linspace(0, 1, 60)
    power = (1 - auc) / auc
    y = np.clip(x**power + generator.normal(0, 0.006, x.size), 0, 1)
    y = np.maximum.accumulate(np.concatenate([[0.0], y[1:-1], [1.0]]))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _roc(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    rows, points = [], []
    base = {"alpaca": 0.54, "flan": 0.5, "sharegpt": 0.63}
    for dataset in DATASETS:
        for index, metric in enumerate(METRICS):
            for level in ("row", "sample"):
                auc = base[dataset] + 0.03 * (index - 1)
                rows.append(
                    {"dataset": dataset, "metric": metric, "level": level, "n": 25_920, "n_samples": 96}
                    | _interval("auc", auc, 0.08)
                    | {"n_positive": 37, "reason": None}
                )
                points += [
                    {"dataset": dataset, "metric": metric, "level": level}
                    | {"false_positive_rate": x, "true_positive_rate": y}
                    for x, y in _points(rng, auc)
                ]
    return {"roc": _table("roc", rows), "roc_points": _table("roc_points", points)}


def _forest(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    rows, points, importances = [], [], []
    aucs = {"rows": (0.66, 0.72, 0.7), "grouped": (0.53, 0.49, 0.58), "placebo": (0.63, 0.7, 0.62)}
    for protocol, values in aucs.items():
        for dataset, auc in zip(DATASETS, values, strict=True):
            rows.append(
                {"dataset": dataset, "protocol": protocol, "f1": 0.51, "accuracy": 0.58, "balanced_accuracy": 0.52}
                | _interval("auc", auc, 0.05)
                | {"mcc": 0.04, "average_precision": 0.45, "majority_accuracy": 0.63, "n": 25_920, "n_samples": 96}
                | {"reason": None}
            )
            points += [
                {"dataset": dataset, "protocol": protocol, "false_positive_rate": x, "true_positive_rate": y}
                for x, y in _points(rng, auc)
            ]
            for metric in METRICS:
                for kind in ("impurity", "permutation"):
                    value = 0.333 + float(rng.normal(0, 0.004)) if kind == "impurity" else float(rng.normal(0, 0.01))
                    importances.append(
                        {"dataset": dataset, "protocol": protocol, "metric": metric, "kind": kind, "importance": value}
                        | {"lower": value - 0.015, "upper": value + 0.015}
                    )
    return {
        "forest": _table("forest", rows),
        "forest_points": _table("forest_points", points),
        "importances": _table("importances", importances),
    }


def _detectors() -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    names: tuple[tuple[str, str, float, float | None, float | None, float | None], ...] = (
        ("all heads, log-ratios", "detector", 0.78, 0.69, 0.06, 0.02),
        ("best single head", "detector", 0.79, 0.7, 0.07, -0.01),
        ("lengths", "baseline", 0.61, 0.55, None, None),
        ("log-probability", "baseline", 0.52, 0.5, None, None),
        ("kind of instruction", "baseline", 0.72, None, None, None),
    )
    for dataset, shift in zip(DATASETS, (0.0, -0.12, 0.03), strict=True):
        for name, role, auc, within, increment, lower in names:
            gain = None if increment is None else increment + shift / 2
            rows.append(
                {"dataset": dataset, "detector": name, "role": role, "auc_within_strata": within}
                | {"signal": "attention" if role == "detector" else "baseline"}
                | _interval("auc", auc + shift, 0.07)
                | {"increment": gain, "increment_lower": None if lower is None else lower + shift / 2}
                | {"increment_upper": None if gain is None else gain + 0.06, "brier": 0.2, "calibration_error": 0.05}
                | {"n": 96, "n_features": 810, "reason": None if within else "strata leave no pair to compare"}
            )
    return _table("detectors", rows)


def _thresholds() -> pl.DataFrame:
    rows = []
    for dataset in DATASETS:
        for index, metric in enumerate(METRICS):
            for objective in ("f1", "balanced accuracy"):
                undefined = dataset == "flan" and metric == "SAM_norm"
                value = None if undefined else 0.52 + 0.02 * index
                rows.append(
                    {"dataset": dataset, "metric": metric, "objective": objective}
                    | {"threshold": None if undefined else 0.41, "side": None if undefined else "above"}
                    | {"train_value": None if undefined else 0.6, "heldout_value": value}
                    | {
                        "lower": None if value is None else value - 0.06,
                        "upper": None if value is None else value + 0.06,
                    }
                    | {"reason": "the metric is constant" if undefined else None}
                )
    return _table("thresholds", rows)


def _verdicts() -> pl.DataFrame:
    rows = [
        (
            "alpaca",
            "all heads, log-ratios",
            "signal",
            "held-out AUC 0.78 (0.71 to 0.85), increment over all baselines 0.06 (0.02 to 0.10), adjusted p 0.004",
        ),
        ("alpaca", "forest", "leak", "row split 0.66, grouped 0.53, placebo 0.63"),
        ("alpaca", "best single head", "signal", "layer 12 head 4, max-statistic p 0.003, adjusted p 0.01"),
        (
            "flan",
            "all heads, log-ratios",
            "no signal found",
            "increment over all baselines 0.01 (-0.04 to 0.06), adjusted p 0.3",
        ),
        ("flan", "forest", "leak", "row split 0.72, grouped 0.49, placebo 0.70"),
        ("sharegpt", "all heads, log-ratios", "weak signal", "adjusted p 0.03: significant, but its AUC is below 0.6"),
        ("sharegpt", "forest", "not enough data", "9 samples of class 1, at least 10 needed"),
    ]
    return _table("verdicts", [dict(zip(("dataset", "signal", "verdict", "why"), row, strict=True)) for row in rows])


def make_tables() -> dict[str, pl.DataFrame]:
    """Return all result tables with made-up numbers."""
    rng = np.random.default_rng(7)
    return {
        "association": _association(rng),
        **_roc(rng),
        **_forest(rng),
        "detectors": _detectors(),
        "thresholds": _thresholds(),
        "verdicts": _verdicts(),
        **_beyond(rng),
    }


def _beyond(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    transfer: list[dict[str, Any]] = []
    reliability: list[dict[str, Any]] = []
    for dataset in DATASETS:
        for train in (*(name for name in DATASETS if name != dataset), "others", "itself"):
            row: dict[str, Any] = {"train": train, "dataset": dataset, "detector": "all heads", "n_train": 96, "n": 96}
            transfer.append(row | _interval("auc", 0.6 + 0.1 * (train == "itself"), 0.08))
        for detector in ("all heads", "lengths"):
            for place in range(10):
                observed = float(np.clip(place / 10 + rng.normal(0, 0.08), 0, 1))
                row = {"dataset": dataset, "detector": detector, "bin": place, "n": 10, "observed": observed}
                reliability.append(row | {"mean_probability": 0.05 + place / 10, "lower": 0.0, "upper": 1.0})
    return {"transfer": _table("transfer", transfer), "reliability": _table("reliability", reliability)}


def split_tokens(answer: str) -> tuple[str, ...]:
    """Cut an answer into word-like tokens that keep their leading blank."""
    words = answer.replace(",", " ,").replace(".", " .").replace("-", " -").split()
    return tuple(f" {word}" if index else word for index, word in enumerate(words))


def make_surface(*, n_layers: int = 31, answers: tuple[tuple[str, str], ...] = ()) -> Surface:
    """Return a surface whose first answer has high activity in the middle layers."""
    rng = np.random.default_rng(3)
    pairs = answers or (("false answer", FALSE), ("true answer", TRUE))
    made = []
    for index, (title, answer) in enumerate(pairs):
        tokens = split_tokens(answer)
        layer = np.arange(n_layers)[:, None]
        heat = (2.1 if index == 0 else -0.7) * np.exp(-(((layer - 14) / 7) ** 2))
        values = heat * (0.6 + 0.4 * np.sin(np.arange(len(tokens)) / 3))[None, :]
        values = values + rng.normal(0, 0.35, (n_layers, len(tokens)))
        values[0] = np.nan
        made.append(AnswerActivity(title, answer, tokens, values, -2.0 - index))
    return Surface("Who is Elon Musk?", "lying", "z", "SmolLM2", tuple(range(n_layers)), tuple(made))


def make_direction() -> pl.DataFrame:
    """Return a direction's AUC per layer with baselines."""
    rows: list[dict[str, Any]] = [
        {"measure": "mean_logprob", **_interval("auc", 0.09, 0.05)},
        {"measure": "n_tokens", **_interval("auc", 0.53, 0.08)},
    ]
    for layer in range(N_LAYERS):
        auc = 0.5 + 0.48 / (1 + float(np.exp(-(layer - 9) / 2)))
        rows.append({"measure": "score", "layer": layer, "auc_within_topics": auc - 0.02} | _interval("auc", auc, 0.05))
    return _table("directions", [{"concept": "lying", "n": 200, "n_pairs": 100, **row} for row in rows])


def make_conversations(n: int, *, n_tokens: int = 12) -> pl.DataFrame:
    """Return conversations of a run with made-up answers."""
    rng = np.random.default_rng(11)
    words = np.array(["The", " tower", " is", " tall", ",", " they", " say", ".", " It", " was", " built", "\n"])
    rows = []
    for at in range(n):
        tokens = rng.choice(words, n_tokens).tolist()
        activity, logprob = rng.normal(0, 1, n_tokens), -rng.exponential(1, n_tokens)
        rows.append(
            {"id": f"sample-{at:05d}", "dataset": DATASETS[at % 3], "behaviour": "followed the instruction"}
            | {"behavior_label": (1, 0, 1, None)[at % 4], "label_source": "verifier", "label_reason": f"reason {at}"}
            | {"reason": None, "answer": "".join(tokens), "tokens": tokens}
            | {"messages": json.dumps([{"role": "user", "content": f"Question {at}: how tall is it?"}])}
            | {"score: mean log-probability": float(logprob.mean()), "score: activity “lying”": float(activity.mean())}
            | {"token: log-probability": logprob.tolist(), "token: activity “lying”": activity.tolist()}
        )
    return pl.DataFrame(
        rows, infer_schema_length=None, schema_overrides={"behavior_label": pl.Int8, "reason": pl.String}
    )


def make_study() -> FakeStudy:
    """Return a made-up study."""
    dropped = (("behavior_label is null", 810), ('layer is "avg"', 8_640), ("head is not an integer", 270))
    return FakeStudy(
        make_tables(),
        LedgerFacts(87_480, 77_760, dropped, (("orphan-1", "in the table, without a label"),)),
        {"max_deviation": 2.2e-16},
        {"metrics": list(METRICS), "seed": 0, "n_permutations": 1000},
    )


def make_signal_data() -> ReportData:
    """Return the same of a study that compares signals over the generated tokens."""
    data, more = make_data(), signal_tables()
    verdicts = pl.concat([data.table("verdicts"), more.pop("verdicts")], how="diagonal_relaxed")
    detectors = data.table("detectors").with_columns(
        signal=pl.when(pl.col("role") == "baseline").then(pl.lit("baseline")).otherwise(pl.lit("attention"))
    )
    return replace(data, tables={**data.tables, **more, "verdicts": verdicts, "detectors": detectors})


def make_data() -> ReportData:
    """Return everything a report shows, made up."""
    facts = RunFacts(
        model="SmolLM2-135M-Instruct",
        n_conversations=288,
        question="Does attention predict whether the instruction is followed?",
        example=(
            ColouredText("<|im_start|>system\n", "template"),
            ColouredText("You are a helpful assistant.", "system"),
            ColouredText("<|im_end|>\n<|im_start|>user\n", "template"),
            ColouredText("Answer in capital letters.", "prompt"),
            ColouredText(" What is the capital of France?", "query"),
            ColouredText("<|im_end|>\n<|im_start|>assistant\n", "template"),
            ColouredText("PARIS IS THE CAPITAL OF FRANCE.", "generated"),
        ),
        commands=("foretell demo --to demo", "foretell study demo/attention.csv --seed 0 --to demo/study"),
    )
    return ReportData.from_study(make_study(), surfaces=(make_surface(),), direction=make_direction(), run_facts=facts)


@pytest.fixture(scope="session")
def data() -> ReportData:
    """Everything a report shows."""
    return make_data()


@pytest.fixture(scope="session")
def signal_data() -> ReportData:
    """Everything a report of a run shows."""
    return make_signal_data()


@pytest.fixture(scope="session")
def hostile_data(signal_data: ReportData) -> ReportData:
    """The same with text that tries to act."""
    attack = (
        "</script><script>document.title='hit'</script><img src=x onerror=document.title='hit'> "
        "$\\frac{1}{0}$ \x1b[31mred \u202eevil"
    )
    surface = make_surface(answers=((attack, attack), ("true", TRUE)))
    surface = replace(surface, question=attack, concept=attack, model=attack)
    tables = {
        name: frame.with_columns(pl.col("dataset").str.replace("flan|questions", attack.replace("$", "$$")))
        for name, frame in signal_data.tables.items()
    }
    for name in ("early", "told_by", "hidden_layers", "verdicts"):
        hostile = pl.when(pl.col("behaviour") == "answered correctly").then(pl.lit(attack)).otherwise("behaviour")
        tables[name] = tables[name].with_columns(behaviour=hostile)
    facts = RunFacts(attack, 1, attack, (ColouredText(attack, "query"), ColouredText(attack, attack)), (attack,))
    return replace(
        signal_data,
        tables=tables,
        surfaces=(surface,),
        facts=facts,
        notes=(attack,),
        ledger=LedgerFacts(2, 1, ((attack, 1),), ((attack, attack),), (attack,)),
        settings={"metrics": list(METRICS), attack: attack},
    )
