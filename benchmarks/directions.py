"""Directions for falsehood on SmolLM2: six sets of statements, five methods, held-out topics, and controls.

    python benchmarks/directions.py --data ../shared/data --to directions-benchmark

Per set and method: held-out AUC per layer, next to that of the log-probability and the length of the answer, random
directions, directions fitted on shuffled answers, and the best layer chosen without the topics it is evaluated on. Then
transfer: a direction of each set evaluated on every other set, with negated cities, and stated compared with instructed
pairs. Every set is thinned to `--pairs` pairs and every third layer is evaluated, which takes about 20 minutes on two
cores. Sets without topics are divided into five parts by their order.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from tqdm import tqdm

import foretell
from foretell.conversations.pairs import ContrastPair, instructed_pairs
from foretell.directions.activations.paired import Activations, AnswerFacts, read_activations
from foretell.directions.contrasts import found_vectors
from foretell.directions.controls import transfer_scores
from foretell.directions.evidence import Controls, judge
from foretell.directions.fit_and_judge import fact_pairs
from foretell.stats.directions.estimators import METHODS
from foretell.stats.directions.null_band import agreement, transfer_matrix

N_PARTS = 5


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column name."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def city_pairs(data: Path, name: str) -> list[ContrastPair]:
    """Return the false and the true statement of each city; the topic is its country, assigned to one of five parts."""
    by_city: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows(data / "truth_is_universal" / f"{name}.csv"):
        by_city.setdefault(row["city"], {})[row["label"]] = row
    whole = {city: sides for city, sides in by_city.items() if len(sides) == 2}
    countries = sorted({sides["1"]["correct_country"] for sides in whole.values()})
    part = {country: index % N_PARTS for index, country in enumerate(countries)}
    return [
        ContrastPair(
            f"{name}-{city}",
            f"countries {part[sides['1']['correct_country']]}",
            f"Tell me something about {city}.",
            positive=sides["0"]["statement"],
            negative=sides["1"]["statement"],
        )
        for city, sides in whole.items()
    ]


def unpaired(path: Path, question: str) -> list[ContrastPair]:
    """Pair false with true statements in the order of the file; such a pair shares its question only."""
    every = rows(path)
    false, true = ([row["statement"] for row in every if row["label"] == label] for label in "01")
    return [
        ContrastPair(f"{path.stem}-{index}", f"part {index % N_PARTS}", question, positive=lie, negative=truth)
        for index, (lie, truth) in enumerate(zip(false, true, strict=False))
    ]


def truthfulqa(path: Path) -> list[ContrastPair]:
    """Return the best incorrect against the best answer; the topic is the question's category."""
    return [
        ContrastPair(f"{index}", row["Category"], row["Question"], row["Best Incorrect Answer"], row["Best Answer"])
        for index, row in enumerate(rows(path))
        if row["Best Incorrect Answer"].strip() and row["Best Answer"].strip()
    ]


def sets(data: Path) -> dict[str, Callable[[], list[ContrastPair]]]:
    """Return how to make each set's pairs; the false statement is always the positive one."""
    universal, fact = data / "truth_is_universal", "Tell me a fact."
    return {
        "facts": fact_pairs,
        "cities": lambda: city_pairs(data, "cities"),
        "negated cities": lambda: city_pairs(data, "neg_cities"),
        "elements": lambda: unpaired(universal / "element_symb.csv", fact),
        "animals": lambda: unpaired(universal / "animal_class.csv", fact),
        "repe_facts": lambda: unpaired(data / "repe_facts" / "facts_true_false.csv", fact),
        "truthfulqa": lambda: truthfulqa(data / "truthfulqa" / "TruthfulQA.csv"),
        "instructed": lambda: instructed(),
    }


def instructed() -> list[ContrastPair]:
    """Return true and false built-in answers as statements under an untruthful and an honest instruction."""
    facts = foretell.builtin_facts()
    said = [fact.true_answer if index % 2 else fact.false_answer for index, fact in enumerate(facts)]
    return instructed_pairs(said, topics=[fact.topic for fact in facts])


def thinned(pairs: Sequence[ContrastPair], n: int) -> list[ContrastPair]:
    """Return at most n pairs at even steps, so that all topics are kept."""
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(n, len(pairs))).astype(int))
    ordered = sorted(pairs, key=lambda pair: pair.topic)
    return [ordered[index] for index in chosen]


def some_layers(read: Activations, layers: Sequence[int]) -> Activations:
    """Return some layers of the activations."""
    facts = replace(read.facts, calibration=np.ascontiguousarray(read.facts.calibration[:, layers]))
    return Activations(np.ascontiguousarray(read.hidden[:, :, layers]), read.row_pair, read.tokens, facts)


def joined(read: Sequence[Activations]) -> Activations:
    """Return the pairs of several sets one after the other."""
    starts = np.cumsum([0, *(len(one.facts.n_tokens) for one in read)])
    facts = AnswerFacts(
        np.concatenate([one.facts.mean_logprob for one in read]),
        np.concatenate([one.facts.n_tokens for one in read]),
        np.concatenate([one.facts.calibration for one in read]),
        np.concatenate([one.facts.calibration_pair + start for one, start in zip(read, starts, strict=False)]),
    )
    row_pair = np.concatenate([one.row_pair + start for one, start in zip(read, starts, strict=False)])
    return Activations(np.concatenate([one.hidden for one in read]), row_pair, read[0].tokens, facts)


def main() -> None:
    """Read each set once, evaluate every method on it, and write tables and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--to", type=Path, default=Path("directions-benchmark"))
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--every", type=int, default=3, help="Judge every n-th layer.")
    parser.add_argument("--random", type=int, default=100)
    parser.add_argument("--shuffled", type=int, default=5)
    options = parser.parse_args()
    started = time.perf_counter()
    model = foretell.load_model("smollm2")
    layers = list(range(options.every - 1, model.n_layers, options.every))
    controls = Controls(n_random=options.random, n_shuffled=options.shuffled, n_folds=N_PARTS, transfer=False)
    read: dict[str, Activations] = {}
    tables: dict[str, list[pl.DataFrame]] = {}
    made = {name: thinned(make(), options.pairs) for name, make in sets(options.data).items()}
    steps = tqdm(total=len(made) * len(METHODS) + len(METHODS), desc="sets and methods")
    for name, pairs in made.items():
        read[name] = some_layers(read_activations(model, pairs, tokens="mean", progress=False), layers)
        vectors = {}
        for method, find in METHODS.items():
            steps.set_postfix_str(f"{name}, {method}")
            named = (method, find)
            found = judge(
                pairs, read[name], named, concept="falsehood", controls=controls, layers=layers, progress=False
            )
            vectors[method] = found_vectors(*named, read[name].hidden)[0]
            for table, frame in found.tables.items():
                kept = frame.with_columns(set=pl.lit(name), method=pl.lit(method))
                tables.setdefault(table, []).append(kept.select("set", "method", pl.exclude("set", "method")))
            steps.update()
        cosines = agreement(vectors, concept="falsehood", layers=layers)
        tables.setdefault("direction_agreement", []).append(cosines.with_columns(set=pl.lit(name)))
    every, parts = joined(list(read.values())), np.repeat(np.arange(len(read)), [len(pairs) for pairs in made.values()])
    for method, find in METHODS.items():
        steps.set_postfix_str(f"between sets, {method}")
        moved = transfer_scores(every, parts, (method, find))
        matrix = transfer_matrix(moved, parts, list(made), concept="falsehood", method=method, layers=layers)
        tables.setdefault("direction_transfer", []).append(matrix)
        steps.update()
    steps.close()
    options.to.mkdir(parents=True, exist_ok=True)
    for table, frames in tables.items():
        pl.concat(frames).write_parquet(options.to / f"{table}.parquet")
    counts = {name: len(pairs) for name, pairs in made.items()}
    summary = summarised({table: pl.concat(frames) for table, frames in tables.items()}, counts)
    summary += f"\n{time.perf_counter() - started:.0f} s, layers {layers}\n"
    (options.to / "summary.md").write_text(summary, encoding="utf-8")
    print(summary)


def summarised(tables: dict[str, pl.DataFrame], counts: dict[str, int]) -> str:
    """Return the main numbers as Markdown."""
    lines = ["| set | pairs | " + " | ".join(METHODS) + " | log-probability | random, 95th | shuffled, mean |"]
    lines.append("|" + "---|" * (len(METHODS) + 5))
    choice, null, judged = tables["direction_choice"], tables["direction_null"], tables["directions"]
    for name, n in counts.items():
        together = choice.filter((pl.col("set") == name) & (pl.col("heldout") == "all"))
        cells = []
        for method in METHODS:
            row = together.filter(pl.col("method") == method).row(0, named=True)
            cells.append(interval(row["auc"], row["auc_lower"], row["auc_upper"]))
        base = judged.filter((pl.col("set") == name) & (pl.col("measure") == "mean_logprob")).row(0, named=True)
        best = null.filter((pl.col("set") == name) & pl.col("layer").is_null())
        upper = best.filter((pl.col("kind") == "random") & (pl.col("method") == "mean-difference"))["auc_upper"][0]
        shuffled = null.filter((pl.col("set") == name) & (pl.col("kind") == "shuffled") & pl.col("layer").is_not_null())
        areas = shuffled["auc_mean"].drop_nulls().to_numpy()
        cells += [
            interval(1 - base["auc"], 1 - base["auc_upper"], 1 - base["auc_lower"]),
            f"{upper:.2f}",
            f"{areas.mean():.2f}",
        ]
        lines.append(f"| {name} | {n} | " + " | ".join(cells) + " |")
    for method in METHODS:
        matrix = tables["direction_transfer"].filter(pl.col("method") == method)
        lines += ["", f"Fitted on the row, judged on the column: {method}", ""]
        lines += ["| | " + " | ".join(counts) + " |", "|" + "---|" * (len(counts) + 1)]
        for train in counts:
            line = matrix.filter(pl.col("train") == train)
            by_set = dict(zip(line["judged"], line["auc"], strict=True))
            lines.append(f"| {train} | " + " | ".join(f"{by_set[name]:.2f}" for name in counts) + " |")
    lines += ["", "Mean cosine between methods' directions over layers and sets", ""]
    cosines = (
        tables["direction_agreement"].group_by("method", "other", maintain_order=True).agg(pl.col("cosine").mean())
    )
    lines += [f"* {method} and {other}: {cosine:.2f}" for method, other, cosine in cosines.rows()]
    return "\n".join(lines) + "\n"


def interval(value: float, lower: float, upper: float) -> str:
    """Return a number with its interval."""
    return f"{value:.2f} ({lower:.2f}-{upper:.2f})"


if __name__ == "__main__":
    main()
