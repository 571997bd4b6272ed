"""What predicts that SmolLM2 answers correctly, and what causes it: a few heads, and the direction of false statements.

    python benchmarks/causes.py [--questions 96] [--controls 6] [--heads 3] [--doses 4]

Questions of four topics with known answers are answered with 16 tokens; label 1 is a correct answer. On half of
the questions the heads are chosen whose attention predicts the label best. On the other half these heads are ablated
(mean over tokens of the first half), and the direction of true and false statements, fitted on other texts, is removed
after one block and added. Log-odds are those of the right and a wrong answer. Writes `results/causes.json`, and prints
the rows of the table in docs/concepts/causes.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import torch

import foretell
from foretell.conversations.conversation import Conversation

RESULTS = Path(__file__).parent / "results"
LAYER = 14
TOPICS = ("capitals", "US state capitals", "elements", "currencies")
"""Of which this model knows some, with known wrong answers."""
SHOWN = ("auc", "p_predicts", "label_changed", "p_label", "odds_shift", "odds_loss", "p_odds")


def some_questions(n: int) -> list[Conversation]:
    """Return as many questions of each topic, spread over it."""
    every = foretell.builtin_conversations("questions")
    found = []
    for topic in TOPICS:
        own = [one for one in every if one.stratum == topic]
        found += own[:: max(len(own) * len(TOPICS) // n, 1)][: n // len(TOPICS)]
    return found


def number(value: float | None) -> str:
    """Return a number as a cell of the page."""
    return "" if value is None else f"{value:.2g}"


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--controls", type=int, default=6)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--doses", type=float, nargs="*", default=[4.0])
    options = parser.parse_args()
    model, start = foretell.load_model("smollm2"), time.perf_counter()
    run = foretell.read(model, some_questions(options.questions), answers="generate", max_new_tokens=16)
    labels = foretell.label(run)["behavior_label"].to_list()
    print({value: labels.count(value) for value in (1, 0, None)}, "answers by label", flush=True)
    direction = foretell.fit_direction(model, foretell.fact_pairs())
    table = foretell.causes(
        model,
        run,
        heads=options.heads,
        directions=[direction],
        layers=[LAYER],
        doses=options.doses,
        n_controls=options.controls,
        progress=True,
    )
    seconds = time.perf_counter() - start
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {seconds:.0f} s")
    print("| part | AUC | adjusted p | label changed | adjusted p | odds shift | odds lost | adjusted p | verdict |")
    for row in table.iter_rows(named=True):
        print(f"| {row['component']} | " + " | ".join(number(row[name]) for name in SHOWN) + f" | *{row['verdict']}* |")
        print(f"  {row['why']}; {row['reason']}; {row['n_label_groups']} and {row['n_odds_groups']} groups")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "causes.json").write_text(json.dumps({"seconds": seconds, "rows": table.to_dicts()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
