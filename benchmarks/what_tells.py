"""What tells what a model does: all signals against all baselines, for six behaviours and one or two models.

    python benchmarks/what_tells.py --to what-tells                  # SmolLM2, 1,000 samples a behaviour
    python benchmarks/what_tells.py --to what-tells --samples 4507   # with all of HaluEval
    FORETELL_SECOND_MODEL=FOLDER python benchmarks/what_tells.py --to what-tells

Answers are generated or read, labelled, and studied with every default of `foretell.study`. Each stage is saved, so a
second call goes on where the first one stopped. The table at the end is that of docs/concepts/what-tells.md, which
`--write` replaces.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from tqdm import tqdm

import foretell
from behaviour_sets import SETS, BehaviourSet

LAYERS = 10
"""Layers whose hidden states are kept, evenly spaced."""
FAMILIES = ("attention", "hidden states", "activity", "confidence", "all")
PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "what-tells.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def hidden_layers(n_layers: int) -> list[int]:
    """Return evenly spaced layers, the last one among them."""
    step = max(n_layers // LAYERS, 1)
    return sorted({*range(n_layers - 1, -1, -step)})


def studied(model: foretell.Model, name: str, one: BehaviourSet, to: Path, options: argparse.Namespace) -> Path | None:
    """Read, label and study one set with one model, and return the folder of its results; None if it has no data."""
    folder = to / name / one.name
    if (folder / "results" / "study.json").exists():
        return folder / "results"
    conversations = one.sample(options.samples, seed=options.seed)
    if not conversations:
        tqdm.write(f"{one.name}: its data are not here")
        return None
    start = time.perf_counter()
    run = foretell.read(
        model,
        conversations,
        answers=one.answers,
        to=folder / "run",
        max_new_tokens=max(one.max_new_tokens, 1),
        detail=True,
        hidden={"layers": hidden_layers(model.n_layers)},
        directions=[direction(model, to / name)],
        batch_tokens=8192,
    )
    if one.answers == "generate":
        foretell.label(run)
    read_in = time.perf_counter() - start
    found = foretell.study(run, seed=options.seed)
    found.write_tables(folder / "results")
    tqdm.write(f"{name}, {one.name}: read in {read_in:.0f} s, studied in {time.perf_counter() - start - read_in:.0f} s")
    return folder / "results"


def direction(model: foretell.Model, folder: Path) -> foretell.Direction:
    """Return the direction "lying" of the built-in facts, fitted once for a model."""
    path = folder / "lying.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        foretell.fit_direction(model, foretell.fact_pairs()).save(path)
    return foretell.Direction.load(path)


def models() -> Iterator[tuple[str, str]]:
    """Return name and source of the models that are here."""
    yield "SmolLM2-135M-Instruct", "smollm2"
    second = os.environ.get("FORETELL_SECOND_MODEL")
    if second:
        yield Path(second).name, second


def lines(name: str, one: BehaviourSet, results: Path) -> Iterator[str]:
    """Return the rows of the page's table for one model and behaviour."""
    early, first, verdicts = (
        pl.read_parquet(results / f"{table}.parquet") for table in ("early", "told_by", "verdicts")
    )
    counted = early.filter(pl.col("counts"))
    if not counted.height:
        yield f"| {name} | {one.name} | no checkpoint counts | | | | | |"
        return
    last = max(counted["n_generated"].to_list())
    here = counted.filter(pl.col("n_generated") == last)
    known = here.filter(pl.col("detector") == "all baselines").to_dicts()
    n, n_positive = here.select("n", "n_positive").row(0)
    size = f"{n} ({100 * n_positive / n:.0f} %)"
    baselines = _area(known[0]) if known else "none"
    for family in FAMILIES:
        rows = here.filter(pl.col("signal") == family).to_dicts()
        if not rows:
            continue
        row = rows[0]
        gain = (
            f"{row['reason']}"
            if row["increment"] is None
            else f"{row['increment']:+.3f} ({row['increment_lower']:+.3f} to {row['increment_upper']:+.3f})"
        )
        by = first.filter(pl.col("signal") == family)["n_generated"].to_list()
        said = verdicts.filter(pl.col("signal").is_in([family, row["detector"]]))["verdict"].to_list()
        token = "never" if not by or by[0] is None else str(by[0])
        yield (
            f"| {name} | {one.name}, {size}, after {last} tokens | {family} | {_area(row)} | {baselines} | {gain} | "
            f"{token} | {said[0] if said else ''} |"
        )


def _area(row: dict[str, float | None]) -> str:
    """Return an AUC, and the one within strata where there are strata."""
    if row["auc"] is None:
        return "undefined"
    within = "" if row["auc_within"] is None else f" ({row['auc_within']:.2f})"
    return f"{row['auc']:.2f}{within}"


def page(table: str) -> None:
    """Replace the table of the page."""
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n{table}\n{END}", text), encoding="utf-8")


def main() -> None:
    """Study every behaviour with every model, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--samples", type=int, default=1000, help="about so many samples a behaviour")
    parser.add_argument("--sets", default=",".join(one.name for one in SETS), help="comma-separated names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="replace the table of the page")
    options = parser.parse_args()
    chosen = [one for one in SETS if one.name in options.sets.split(",")]
    sources = list(models())
    rows = []
    with tqdm(total=len(chosen) * len(sources), desc="behaviours", unit="study") as bar:
        for name, source in sources:
            model = foretell.load_model(source, dtype="float32")
            for one in chosen:
                results = studied(model, name, one, options.to, options)
                rows += [] if results is None else list(lines(name, one, results))
                bar.update()
    head = (
        "| model | behaviour, samples (label 1) | signal | AUC (within strata) | all baselines | increment (95 %) | "
        "told by token | verdict |\n|---|---|---|---|---|---|---|---|"
    )
    table = "\n".join([head, *rows])
    print(table)
    (options.to / "table.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.write:
        page(table)


if __name__ == "__main__":
    main()
