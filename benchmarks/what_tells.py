"""What tells what a model does: all signals against all baselines, for six behaviours and one or two models.

    python benchmarks/what_tells.py --to what-tells                       # SmolLM2, about 1,000 samples a behaviour
    python benchmarks/what_tells.py --to what-tells --sets questions,lies
    FORETELL_SECOND_MODEL=FOLDER python benchmarks/what_tells.py --to what-tells
    python benchmarks/what_tells.py --to what-tells --write               # only the page, of what is finished

Answers are generated or read, labelled, and studied. Every batch of answers and every study is saved, so a second call
goes on where the first one stopped; calls with different `--sets` can share a folder. Of HaluEval and TruthfulQA all
answers are read. `--write` replaces the tables of docs/concepts/what-tells.md (`behaviour_tables.py` makes them).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

import foretell
from behaviour_sets import SETS, BehaviourSet
from behaviour_tables import page_tables

LAYERS = 8
"""At most so many layers' hidden states are kept, evenly spaced."""
BATCH_TOKENS = 4096
STUDY: dict[str, Any] = {
    "n_trees": 20,
    "forest_rows": 3000,
    "n_permutations": 200,
    "detector_repeats": 2,
    "early_repeats": 1,
}
"""Settings of the study that are not the defaults: the forest on rows and single heads are beside the question, and
folds of so many samples hardly differ."""
PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "what-tells.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


class LazyModel:
    """A model that is loaded when it is needed first, in bfloat16: it takes half the time of float32."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self._source = source

    @cached_property
    def loaded(self) -> foretell.Model:
        """The model."""
        return foretell.load_model(self._source, dtype="bfloat16")

    def direction(self, folder: Path) -> foretell.Direction:
        """Return the direction "lying" of the built-in facts, fitted once for a model."""
        path = folder / "lying.safetensors"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            foretell.fit_direction(self.loaded, foretell.fact_pairs()).save(path, overwrite=True)
        return foretell.Direction.load(path)


def hidden_layers(n_layers: int) -> list[int]:
    """Return evenly spaced layers, the last one among them."""
    return sorted(range(n_layers - 1, -1, -max(-(-n_layers // LAYERS), 1)))


def models() -> Iterator[LazyModel]:
    """Return the models that are here."""
    yield LazyModel("SmolLM2-135M-Instruct", "smollm2")
    second = os.environ.get("FORETELL_SECOND_MODEL")
    if second:
        yield LazyModel(_name(Path(second)), second)


def _name(folder: Path) -> str:
    """Return the name that a folder's settings give, or else that of the folder."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(settings.get("_model_name_or_path") or folder.name).replace(" ", "-")


def read_and_study(model: LazyModel, one: BehaviourSet, to: Path, options: argparse.Namespace) -> None:
    """Read, label and study one set with one model, unless that is done."""
    folder = to / one.name
    studies: dict[str, dict[str, Any]] = {"results": {}}
    if one.first_tokens is not None:
        studies["first-tokens"] = {"first_tokens": one.first_tokens}
    missing = {name: more for name, more in studies.items() if not (folder / name / "study.json").exists()}
    if not missing:
        return
    conversations = one.sample(options.samples, seed=options.seed)
    if not conversations:
        tqdm.write(f"{one.name}: its data are not here")
        return
    start = time.perf_counter()
    run = foretell.read(
        model.loaded,
        conversations,
        answers=one.answers,
        to=folder / "run",
        max_new_tokens=max(one.max_new_tokens, 1),
        detail=True,
        hidden={"layers": hidden_layers(model.loaded.n_layers)},
        directions=[model.direction(to)],
        batch_tokens=BATCH_TOKENS,
    )
    if one.answers == "generate":
        foretell.label(run)
    read_in = time.perf_counter() - start
    n_labelled = run.samples["behavior_label"].count()
    for name, more in missing.items():
        foretell.study(run, seed=options.seed, **STUDY, **more).write_tables(folder / name)
    studied_in = time.perf_counter() - start - read_in
    tqdm.write(
        f"{model.name}, {one.name}: {len(conversations)} samples read in {read_in:.0f} s, {n_labelled} of them studied "
        f"in {studied_in:.0f} s"
    )


def main() -> None:
    """Study every behaviour with every model, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--samples", type=int, default=1000, help="about so many generated answers a behaviour")
    parser.add_argument("--sets", default=",".join(one.name for one in SETS), help="comma-separated names")
    parser.add_argument("--models", default="", help="comma-separated names; default: all that are here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="only replace the tables of the page")
    options = parser.parse_args()
    if not options.write:
        chosen = [one for one in SETS if one.name in options.sets.split(",")]
        several = [one for one in models() if not options.models or one.name in options.models.split(",")]
        with tqdm(total=len(chosen) * len(several), desc="behaviours", unit="study") as bar:
            for model in several:
                for one in chosen:
                    read_and_study(model, one, options.to / model.name, options)
                    bar.update()
    tables = page_tables(options.to, [one.name for one in SETS])
    print(tables)
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        pattern = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
        PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n{tables}\n{END}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
