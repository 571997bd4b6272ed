r"""Whether monitors keep their promise on real answers: held-out groups, the best baseline, and shifts.

    python benchmarks/what_tells.py --to what-tells --sets questions,instructions
    python benchmarks/shifts.py --questions what-tells/SmolLM2-135M-Instruct/questions/run \
        --instructions what-tells/SmolLM2-135M-Instruct/instructions/run --to shifts [--write]

1. The realised false-positive rate: monitors are fitted on half of the groups. The other half is the population from
   which calibration groups are drawn, again and again, so that the rate of each threshold is known exactly; and it is
   split into calibration and test groups, where the rate of the test groups has the noise of their number.
2. All signals against the best baseline, at thresholds from the same calibration groups: recall of the same positive
   answers.
3. One monitor on the same questions under shift: sampled, in other words, in French, in float32, with weights in
   int8 and int4, with eager attention. Their answers are read first, which resumes where it stopped.

`--write` replaces the tables of docs/concepts/guarantee.md. `--shifts sampled,french` reads only some; `--fits`,
`--shifted` and `--tokens` make it small enough to try.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from scipy.stats import betabinom

import foretell
from foretell.conversations.conversation import Conversation, Message, Span
from foretell.monitors.alarm_threshold import alarm_threshold, highest_by_group
from foretell.monitors.baseline_monitor import baseline_scores
from foretell.monitors.labelled import Labelled, calibration_samples, labelled_samples
from foretell.monitors.run_columns import moments
from foretell.reading.models.load import Model

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "guarantee.md"
RATE, CONFIDENCE = 0.1, 0.95
DRAWS = 1000
BOOTSTRAPS = 2000
FRENCH = Path(__file__).parent / "french_questions.csv"
"""Facts of the built-in questions, asked in French; accepted are the French names and the English ones."""
IN_FRENCH = "Réponds en une phrase :"
GROUP = 64
MONITORS = ("all signals", "log-probability and length")


@dataclass(frozen=True)
class Condition:
    """How questions are asked, and by what they are answered."""

    asked: str = "usual"
    """A wording of the built-in questions, or "french"."""
    temperature: float = 0.0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    attention: Literal["sdpa", "eager"] = "sdpa"
    bits: int | None = None
    """Of the integers that the weights of linear layers are rounded to, with a scale for every 64 of a row."""

    def model(self) -> Model:
        """Return the model."""
        loaded = foretell.load_model("smollm2", dtype=self.dtype)
        if self.attention != "sdpa":
            loaded.model.set_attn_implementation(self.attention)
        if self.bits is not None:
            for module in loaded.model.model.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.data = rounded(module.weight.data, self.bits)
        return loaded


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return weights as symmetric integers times a scale, which is how weight-only quantisation computes with them.

    Integers for the activations too (torch's dynamic quantisation) are refused by `foretell.read`: their scale is that
    of a whole batch, so that padding changes what attention is.
    """
    groups = weight.float().reshape(weight.shape[0], -1, GROUP)
    most = 2 ** (bits - 1) - 1
    scale = groups.abs().amax(dim=2, keepdim=True).clamp_min(1e-12) / most
    values: torch.Tensor = (groups / scale).round().clamp(-most, most) * scale
    return values.reshape(weight.shape).to(weight.dtype)


CONDITIONS = {
    "sampled": Condition(temperature=1.0),
    "float32": Condition(dtype="float32"),
    "int8 weights": Condition(bits=8),
    "int4 weights": Condition(bits=4),
    "eager": Condition(attention="eager"),
    "paraphrased": Condition("paraphrased"),
    "casual": Condition("casual"),
    "negated": Condition("negated"),
    "french": Condition("french"),
}


@dataclass(frozen=True)
class Held:
    """Highest score of each answer that a fit did not see, by kind of monitor."""

    samples: Labelled
    held: np.ndarray
    highest: dict[str, np.ndarray]


def fitted_halves(run: foretell.Run, n_fits: int) -> list[Held]:
    """Return the highest scores of the held-out half of each fit."""
    samples, found = labelled_samples(run, None), []
    rows = moments(samples.n_generated, "checkpoints")
    frame = run.samples.filter(pl.col("id").is_in(list(samples.ids))).sort("id")
    for seed in range(n_fits):
        held = calibration_samples(samples, 0.5, seed=seed)
        options: dict[str, Any] = {"max_false_positive_rate": RATE, "calibration": 0.5, "seed": seed, "baseline": False}
        highest = {}
        for name, signals in zip(MONITORS, (None, ["confidence"]), strict=True):
            monitor = foretell.fit_monitor(run, signals=signals, **options)
            highest[name] = np.full(len(samples.ids), -np.inf)
            np.fmax.at(highest[name], rows.sample, monitor.scored(run, frame).score)
        highest |= baseline_scores(run, samples, held, "checkpoints", seed=seed)
        found.append(Held(samples, held, highest))
        print(f"  fit {seed + 1} of {n_fits}", flush=True)
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
    """Return the recall of the monitors and of the best baseline, and what all signals have more.

    Intervals are by bootstrap of groups. The best baseline is that with the highest recall.
    """
    generator, names = np.random.default_rng(0), list(halves[0].highest)
    n_groups = len(halves[0].samples.group_names)
    draws = [np.ones(n_groups, dtype=np.int64)]
    draws += [np.bincount(generator.integers(0, n_groups, n_groups), minlength=n_groups) for _ in range(BOOTSTRAPS)]
    every = {
        name: np.array([np.mean([recalls(one, name, draw) for one in halves]) for draw in draws]) for name in names
    }
    rows = []
    best = max((name for name in names if name not in MONITORS), key=lambda name: float(every[name][0]))
    for name in (*MONITORS, best):
        more = every["all signals"] - every[name]
        rows.append(
            {
                "monitor": f"best baseline: {name}" if name == best else name,
                "recall": every[name][0],
                "interval": np.quantile(every[name][1:], [0.025, 0.975]).tolist(),
                "more": more[0],
                "more_interval": np.quantile(more[1:], [0.025, 0.975]).tolist(),
                # Normal approximation: 80 % power of a two-sided test at 5 %
                "detectable": 2.8 * float(more[1:].std()),
            }
        )
    return rows


def french_questions() -> list[Conversation]:
    """Return questions in French; the group is that of the fact in English."""
    rows = list(csv.DictReader(FRENCH.open(encoding="utf-8")))
    answers: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        answers[row["topic"]] += row["answers"].split("|")
    found: list[Conversation] = []
    for row in rows:
        accepted, text = row["answers"].split("|"), f"{IN_FRENCH} {row['question']}"
        others = [one for one in dict.fromkeys(answers[row["topic"]]) if one not in accepted]
        check = {"name": "answers_correctly", "accepted": accepted, "asked": row["question"]}
        spans = (Span(0, len(IN_FRENCH), "prompt"), Span(len(IN_FRENCH) + 1, len(text), "query"))
        found.append(
            Conversation(
                id=f"french-{len(found):02d}",
                dataset="questions",
                messages=(Message("user", text, spans),),
                group=f"{row['topic']}: {row['subject']}",
                stratum=row["topic"],
                verifier=check if accepted[0].isdigit() else {**check, "others": others},
                behaviour="answered correctly",
            )
        )
    return found


def shifted_runs(
    questions: foretell.Run, to: Path, names: list[str], *, n: int, n_tokens: int
) -> dict[str, foretell.Run]:
    """Read the answers to some of the questions under every shift, and label them."""
    labelled = questions.samples.filter(pl.col("behavior_label").is_not_null())["id"].to_list()
    ids = sorted(labelled, key=lambda one: sha256(one.encode()).digest())[:n]
    runs = {}
    for name in names:
        condition = CONDITIONS[name]
        if condition.asked == "french":
            asked = french_questions()[:n]
        else:
            builtin = foretell.builtin_conversations("questions", wording=condition.asked)
            by_id = {one.id.removesuffix(f"-{condition.asked}"): one for one in builtin}
            asked = [by_id[one] for one in ids]
        runs[name] = foretell.read(
            condition.model(),
            asked,
            answers="generate",
            to=to / name,
            max_new_tokens=n_tokens,
            temperature=condition.temperature,
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
    return foretell.fit_monitor(study, max_false_positive_rate=RATE, confidence=CONFIDENCE, baseline=False)


def shift_tables(questions: foretell.Run, runs: dict[str, foretell.Run]) -> dict[str, list[dict[str, Any]]]:
    """Return the shifts of one monitor, and of one that was fitted on half of the topics."""
    groups = {group for run in runs.values() for group in run.samples["group"]}
    monitor = fitted_without(questions, pl.col("group").is_in(groups))
    conditions = foretell.shift(monitor, {"the same way": questions, **runs}, allow=["precision", "weights"])
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
    parser.add_argument("--shifts", default=",".join(CONDITIONS), help="which, with commas")
    parser.add_argument("--shifted", type=int, default=160, help="questions under each shift")
    parser.add_argument("--tokens", type=int, default=24, help="longest answer")
    parser.add_argument("--fits", type=int, default=6)
    options = parser.parse_args()
    names = options.shifts.split(",")
    runs = {name: foretell.open_run(getattr(options, name)) for name in ("questions", "instructions")}
    found: dict[str, Any] = {"realised": {}, "compared": {}}
    for name, run in runs.items():
        halves = fitted_halves(run, options.fits)
        found["realised"][name] = realised(halves)
        print(name, found["realised"][name], flush=True)
        found["compared"][name] = compared(halves)
        print(name, found["compared"][name], flush=True)
    shifted = shifted_runs(runs["questions"], options.to, names, n=options.shifted, n_tokens=options.tokens)
    found["shifts"] = shift_tables(runs["questions"], shifted)
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
