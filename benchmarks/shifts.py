r"""Whether monitors keep their promise on real answers: held-out groups, the best baseline, and shifts.

    python benchmarks/what_tells.py --to what-tells --sets questions,instructions
    python benchmarks/shifts.py --questions what-tells/SmolLM2-135M-Instruct/questions/run \
        --instructions what-tells/SmolLM2-135M-Instruct/instructions/run --to shifts [--write]

1. The realised false-positive rate: monitors are fitted on half of the groups. The other half is the population from
   which calibration groups are drawn, again and again, so that the rate of each threshold is known exactly; and it is
   split into calibration and test groups, where the rate of the test groups has the noise of their number.
2. All signals against baselines, at thresholds from the same calibration groups: recall of the same positive answers.
3. One monitor on the same questions under shift. Their answers are read first, which resumes where it stopped.

`--write` replaces the tables of docs/concepts/guarantee.md.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, hstack
from scipy.stats import betabinom
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import foretell
from foretell.monitors.alarm_threshold import alarm_threshold, highest_by_group
from foretell.monitors.labelled import Labelled, calibration_samples, labelled_samples
from foretell.monitors.run_columns import Moments, moments

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "guarantee.md"
RATE, CONFIDENCE = 0.1, 0.95
FITS = 6
DRAWS = 1000
BOOTSTRAPS = 2000
N_SHIFTED = 160
Dtype = Literal["bfloat16", "float32"]
CONDITIONS: dict[str, tuple[str, Dtype, float]] = {
    "sampled": ("usual", "bfloat16", 1.0),
    "float32": ("usual", "float32", 0.0),
    "paraphrased": ("paraphrased", "bfloat16", 0.0),
    "casual": ("casual", "bfloat16", 0.0),
    "negated": ("negated", "bfloat16", 0.0),
}
"""Wording, precision and temperature of each shift."""


@dataclass(frozen=True)
class Held:
    """Highest score of each answer that a fit did not see, by kind of monitor."""

    samples: Labelled
    held: np.ndarray
    highest: dict[str, np.ndarray]


def answers_so_far(run: foretell.Run, samples: Labelled, rows: Moments) -> list[str]:
    """Return topic, prompt and the answer up to each moment, as one text."""
    known = {one["id"]: one for one in run.samples.iter_rows(named=True)}
    tokens = run.tokens.filter(pl.col("answer_position").is_not_null()).sort("id", "answer_position")
    written = dict(tokens.group_by("id", maintain_order=True).agg("text").iter_rows())
    texts = []
    for sample, size in zip(rows.sample, rows.n_generated, strict=True):
        one = known[samples.ids[sample]]
        prompt = " ".join(message["content"] for message in json.loads(one["messages"]))
        topic = re.sub(r"\W", "", f"topic{one['stratum']}")
        texts.append(f"{topic} {prompt} {''.join(written[samples.ids[sample]][:size])}")
    return texts


def word_scores(run: foretell.Run, samples: Labelled, held: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return the score of each moment by words of topic, prompt and answer, log-probability and length."""
    rows = moments(samples.n_generated, "checkpoints")
    texts = answers_so_far(run, samples, rows)
    train = np.flatnonzero(~held[rows.sample])
    words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit([texts[one] for one in train])
    numbers = np.column_stack([confidence, np.log1p(rows.n_generated)])
    numbers = (numbers - numbers[train].mean(axis=0)) / numbers[train].std(axis=0)
    matrix = hstack([words.transform(texts), csr_matrix(numbers)]).tocsr()
    model = LogisticRegression(C=1.0, max_iter=2000).fit(matrix[train], samples.label[rows.sample[train]])
    return np.asarray(model.decision_function(matrix))


def fitted_halves(run: foretell.Run) -> list[Held]:
    """Return the highest scores of the held-out half of each fit."""
    samples, found = labelled_samples(run, None), []
    rows = moments(samples.n_generated, "checkpoints")
    frame = run.samples.filter(pl.col("id").is_in(list(samples.ids))).sort("id")
    for seed in range(FITS):
        held = calibration_samples(samples, 0.5, seed=seed)
        options: dict[str, Any] = {"max_false_positive_rate": RATE, "calibration": 0.5, "seed": seed}
        scores = {}
        for name, signals in (("all signals", None), ("log-probability and length", ["confidence"])):
            monitor = foretell.fit_monitor(run, signals=signals, **options)
            scored = monitor.scored(run, frame)
            scores[name] = scored.score
            if signals is not None:
                words = word_scores(run, samples, held, scored.score)
                scores["words, topic, log-probability and length"] = words
        highest = {}
        for name, score in scores.items():
            highest[name] = np.full(len(samples.ids), -np.inf)
            np.fmax.at(highest[name], rows.sample, score)
        found.append(Held(samples, held, highest))
        print(f"  fit {seed + 1} of {FITS}", flush=True)
    return found


def realised(halves: list[Held], seed: int = 0) -> dict[str, float]:
    """Return how often the rate of the monitor of all signals exceeds the stated one."""
    generator = np.random.default_rng(seed)
    exact, rates, in_test, expected = [], [], [], []
    for one in halves:
        here = one.held & (one.samples.label == 0)
        population = highest_by_group(one.highest["all signals"][here], one.samples.group[here])
        n = len(population)
        for _ in range(-(-DRAWS // len(halves))):
            threshold = alarm_threshold(generator.choice(population, n), max_false_positive_rate=RATE)
            rates.append(float((population > threshold.score).mean()))
            exact.append(rates[-1] > RATE)
            order = generator.permutation(n)
            calibration, test = population[order[: n // 2]], population[order[n // 2 :]]
            found = alarm_threshold(calibration, max_false_positive_rate=RATE)
            in_test.append(float((test > found.score).mean()) > RATE)
            alarms, most = found.n_false_alarms or 0, int(RATE * len(test))
            # Alarms among new groups above the (alarms + 1)-th highest of n // 2 exchangeable scores
            expected.append(betabinom.sf(most, len(test), alarms + 1, len(calibration) - alarms))
    return {
        "groups": float(
            np.mean([len(np.unique(one.samples.group[one.held & (one.samples.label == 0)])) for one in halves])
        ),
        "mean_rate": float(np.mean(rates)),
        "exceeded": float(np.mean(exact)),
        "exceeded_in_test": float(np.mean(in_test)),
        "expected_in_test": float(np.mean(expected)),
    }


def recalls(one: Held, name: str, weight: np.ndarray) -> float:
    """Return the recall of one fit, with groups drawn so many times, at the threshold of the same groups."""
    label, group = one.samples.label, one.samples.group
    negative = one.held & (label == 0)
    codes, highest = np.unique(group[negative]), highest_by_group(one.highest[name][negative], group[negative])
    drawn = np.repeat(highest, weight[codes])
    threshold = alarm_threshold(drawn, max_false_positive_rate=RATE, confidence=CONFIDENCE)
    positive = one.held & (label == 1)
    caught = one.highest[name][positive] > (np.inf if threshold.score is None else threshold.score)
    return float(np.average(caught, weights=weight[group[positive]]))


def compared(halves: list[Held]) -> list[dict[str, Any]]:
    """Return the recall of each kind of monitor, and what all signals have more; intervals by bootstrap of groups."""
    generator, names = np.random.default_rng(0), list(halves[0].highest)
    n_groups = len(halves[0].samples.group_names)
    draws = [np.ones(n_groups, dtype=np.int64)]
    draws += [np.bincount(generator.integers(0, n_groups, n_groups), minlength=n_groups) for _ in range(BOOTSTRAPS)]
    every = {
        name: np.array([np.mean([recalls(one, name, draw) for one in halves]) for draw in draws]) for name in names
    }
    rows = []
    for name in names:
        more = every["all signals"] - every[name]
        rows.append(
            {
                "monitor": name,
                "recall": every[name][0],
                "interval": np.quantile(every[name][1:], [0.025, 0.975]).tolist(),
                "more": more[0],
                "more_interval": np.quantile(more[1:], [0.025, 0.975]).tolist(),
                # Normal approximation: 80 % power of a two-sided test at 5 %
                "detectable": 2.8 * float(more[1:].std()),
            }
        )
    return rows


def shifted_runs(questions: foretell.Run, to: Path) -> dict[str, foretell.Run]:
    """Read the answers to some of the questions under every shift, and label them."""
    labelled = questions.samples.filter(pl.col("behavior_label").is_not_null())["id"].to_list()
    ids = sorted(labelled, key=lambda one: sha256(one.encode()).digest())[:N_SHIFTED]
    runs = {}
    for name, (wording, dtype, temperature) in CONDITIONS.items():
        asked = foretell.builtin_conversations("questions", wording=wording)
        by_id = {one.id.removesuffix(f"-{wording}"): one for one in asked}
        model = foretell.load_model("smollm2", dtype=dtype)
        runs[name] = foretell.read(
            model,
            [by_id[one] for one in ids],
            answers="generate",
            to=to / name,
            max_new_tokens=24,
            temperature=temperature,
            hidden={"layers": questions.manifest["job"]["hidden"]["layers"]},
            detail=True,
            batch_tokens=4096,
            progress=False,
        )
        foretell.label(runs[name])
        print(f"  {name} is read", flush=True)
    return runs


def fitted_without(run: foretell.Run, left_out: pl.Expr) -> foretell.Monitor:
    """Return a monitor of a run's answers but for some."""
    samples = run.samples.filter(pl.col("behavior_label").is_not_null() & ~left_out)
    study = foretell.study(run, labels=samples.select("id", "behavior_label"), compute=False)
    return foretell.fit_monitor(study, max_false_positive_rate=RATE, confidence=CONFIDENCE)


def shift_tables(questions: foretell.Run, to: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the shifts of one monitor, and of one that was fitted on half of the topics."""
    runs = shifted_runs(questions, to)
    groups = runs["sampled"].samples["group"].to_list()
    monitor = fitted_without(questions, pl.col("group").is_in(groups))
    conditions = foretell.shift(monitor, {"the same way": questions, **runs}, allow=["precision"])
    lengths = foretell.shift(monitor, {"the same way": questions}, by="length")
    topics = questions.samples["stratum"].unique().sort().to_list()
    others = foretell.shift(fitted_without(questions, pl.col("stratum").is_in(topics[::2])), questions, by="stratum")
    others = others.filter(pl.col("part").is_in(topics[::2]))
    return {"conditions": conditions.to_dicts(), "length": lengths.to_dicts(), "topics": others.to_dicts()}


def page_tables(found: dict[str, Any]) -> str:
    """Return the tables of the page."""
    lines = [
        "| behaviour | groups with label 0 | mean rate | exceeded | exceeded on test groups | expected there |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found["realised"].items():
        values = " | ".join(
            f"{one[key]:.3f}" for key in ("mean_rate", "exceeded", "exceeded_in_test", "expected_in_test")
        )
        lines.append(f"| {name} | {one['groups']:.0f} | {values} |")
    lines += ["", "| behaviour | monitor | recall | all signals have more | detectable |", "|---|---|---|---|---|"]
    for name, rows in found["compared"].items():
        for row in rows:
            low, high = row["interval"]
            more = ["", ""]
            if row["monitor"] != "all signals":
                more = [f"{row['more']:+.2f} ({row['more_interval'][0]:+.2f} to {row['more_interval'][1]:+.2f})"]
                more.append(f"{row['detectable']:.2f}")
            lines.append(
                f"| {name} | {row['monitor']} | {row['recall']:.2f} ({low:.2f} to {high:.2f}) | {' | '.join(more)} |"
            )
    head = "| shift | verdict | more needed | false alarms | rate | recall | change of recall | drift: distance, p |"
    lines += ["", head, "|---|---|---|---|---|---|---|---|"]
    for kind, rows in found["shifts"].items():
        lines += [_shift_line(kind, row) for row in rows]
    return "\n".join(lines)


def _shift_line(kind: str, row: dict[str, Any]) -> str:
    name = row["run"] if kind == "conditions" else f"topic left out: {row['part']}" if kind == "topics" else row["part"]

    def interval(value: str, sign: str = "") -> str:
        if row[value] is None:
            return ""
        return f"{row[value]:{sign}.2f} ({row[f'{value}_lower']:{sign}.2f} to {row[f'{value}_upper']:{sign}.2f})"

    more = "" if row["n_more_needed"] == 0 else "out of reach" if row["n_more_needed"] is None else row["n_more_needed"]
    alarms = f"{row['n_false_alarms']} of {row['n_negative_groups']}"
    drift = "" if row["drift_p"] is None else f"{row['drift_distance']:.2f}, {row['drift_p']:.3f}"
    cells = [name, row["verdict"], more, alarms, interval("false_positive_rate"), interval("recall")]
    return f"| {' | '.join(map(str, [*cells, interval('recall_change', '+'), drift]))} |"


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True, help="labelled run of the built-in questions")
    parser.add_argument("--instructions", type=Path, required=True, help="labelled run of instructions")
    parser.add_argument("--to", type=Path, required=True, help="folder of the runs under shift")
    parser.add_argument("--write", action="store_true", help="replace the tables of the page")
    options = parser.parse_args()
    runs = {name: foretell.open_run(getattr(options, name)) for name in ("questions", "instructions")}
    found: dict[str, Any] = {"realised": {}, "compared": {}}
    for name, run in runs.items():
        halves = fitted_halves(run)
        found["realised"][name] = realised(halves)
        print(name, found["realised"][name], flush=True)
        found["compared"][name] = compared(halves)
        print(name, found["compared"][name], flush=True)
    found["shifts"] = shift_tables(runs["questions"], options.to)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "shifts.json").write_text(json.dumps(found, indent=2) + "\n")
    tables = page_tables(found)
    print(tables)
    if options.write:
        begin, end = "<!-- table: begin -->", "<!-- table: end -->"
        pattern = re.compile(rf"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(pattern.sub(lambda _: f"{begin}\n{tables}\n{end}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
