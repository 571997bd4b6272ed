"""The demo: direction, answers to four sets of prompts, labels, surfaces, statistics and report on the embedded model.

Every stage saves its results, and a second call resumes from them.

    report = run_demo(Path("demo"))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from foretell.conversations.builtin import builtin_conversations
from foretell.conversations.conversation import Conversation
from foretell.conversations.set_names import BUILTIN_DATASETS
from foretell.directions.direction import Direction
from foretell.directions.fit_and_judge import (
    Controls,
    DirectionEvidence,
    fact_pairs,
    judge_directions,
    with_held_out_comparison,
)
from foretell.directions.surface import surface
from foretell.errors import FolderTakenError
from foretell.labels.label import label
from foretell.reading.models.load import Model, load_model
from foretell.reading.runs.read import read
from foretell.showing.report import report
from foretell.showing.run_facts import run_facts
from foretell.stats.study import study
from foretell.storage.atomic import written_whole
from foretell.storage.runs import Run, is_run
from foretell.storage.surfaces import Surface, builtin_surface_question
from foretell.storage.targets import DEMO, check_folder
from foretell.storage.writer_lock import writing_alone

__all__ = ["run_demo"]

_DIRECTION = "lying.safetensors"
_MODEL = "smollm2"
_MAX_NEW_TOKENS = 48
_BATCH_TOKENS = 8192
_LAYERS = slice(2, None, 3)
"""Layers whose hidden states are kept: every third."""
_POOLS = ("last prompt token", "mean over answer", "last answer token")
_ASKED = {"questions": 80, "false-claims": 100, "lies": 80}
"""Prompts of each set about facts."""
_INSTRUCTIONS = 60
"""Prompts of each set of instructions."""
_QUICK_FACTS = 4
_QUICK_PART = 10
"""The quick demo asks this part of all prompts."""
_STUDY: dict[str, Any] = {
    "n_trees": 80,
    "forest_rows": 10_000,
    "detector_folds": 3,
    "detector_repeats": 3,
    "early_repeats": 5,
}
"""Settings of the demo's study: fewer trees and rows take a third of the time and cost little certainty. AUCs within
kinds of tasks compare samples of one fold: with five folds of 60 samples, one repeat had ten to fifteen pairs."""
_QUICK_STUDY: dict[str, Any] = {
    **_STUDY,
    "n_trees": 10,
    "n_permutations": 100,
    "detector_repeats": 1,
    "early_repeats": 1,
}
"""Settings of the quick demo's study."""
_JUDGED = ("directions", "direction_choice", "direction_null")
"""Tables of the direction's evidence that are saved with it."""


@dataclass(frozen=True)
class _Demo:
    """Folder and settings of the demo."""

    folder: Path
    quick: bool
    seed: int
    overwrite: bool
    progress: bool | None
    print_line: Callable[[str], None]

    @cached_property
    def model(self) -> Model:
        """The embedded model, loaded when the first stage needs it."""
        self.print_line("loading the embedded model (it is converted on first use, which takes a while)")
        return load_model(_MODEL)

    @property
    def conversations(self) -> Sequence[Conversation]:
        """Some prompts of each built-in set; a few of each for the quick demo."""
        chosen: list[Conversation] = []
        part = _QUICK_PART if self.quick else 1
        for name in BUILTIN_DATASETS:
            prompts, n_asked = builtin_conversations(name), _INSTRUCTIONS // part
            chosen += [prompts[index * len(prompts) // n_asked] for index in range(n_asked)]
        for name, n_asked in _ASKED.items():
            chosen += _about_some_facts(name, n_asked // part)
        return chosen


def _about_some_facts(name: str, n_asked: int) -> list[Conversation]:
    """Return about so many prompts that can be labelled: always the same, all that a set has about a fact."""
    by_fact: dict[str, list[Conversation]] = {}
    for one in builtin_conversations(name):
        if one.verifier is not None and one.verifier["name"] != "without_label":
            by_fact.setdefault(one.group or one.id, []).append(one)
    chosen: list[Conversation] = []
    for fact in sorted(by_fact, key=lambda fact: hashlib.sha256(fact.encode()).digest()):  # in no order of topics
        if len(chosen) >= n_asked:
            break
        chosen += by_fact[fact]
    return chosen


def run_demo(
    folder: Path,
    *,
    quick: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool | None = None,
    print_line: Callable[[str], None] = lambda _line: None,
) -> Path:
    """Run the whole pipeline on the embedded model and return the path of the report.

    Args:
        folder: Output folder: `lying.safetensors`, its evidence (`directions.parquet` ...), `run/`, `surface/`,
            `results/`.
        quick: Use a tenth of the prompts and facts.
        seed: Random seed.
        overwrite: Start anew, and allow a folder that holds something other than this demo; other files stay.
        progress: Show bars; None shows them on a terminal only.
        print_line: Called with one line before each stage.

    Raises:
        ModelError: The package with the embedded weights is not installed.
        InputError: The folder holds other files, or cannot be written.
        FolderTakenError: The folder has a demo of other settings, or another process is writing into it.
    """
    demo = _Demo(folder, quick, seed, overwrite, progress, print_line)
    _check_folder(demo)
    with writing_alone(folder):
        _claim(demo)
        direction, evidence = _direction(demo)
        run = _run(demo, direction)
        label(run)
        for line in _label_lines(run):
            demo.print_line(line)
        shown = _surface(demo, direction, evidence)
        return _report(demo, run, shown, evidence)


def _check_folder(demo: _Demo) -> None:
    """Refuse a folder that holds something other than a demo with these settings."""
    marker = demo.folder / DEMO
    check_folder(demo.folder, overwrite=demo.overwrite, resumes=DEMO)
    if marker.exists() and not demo.overwrite and marker.read_text(encoding="utf-8") != _settings(demo):
        raise FolderTakenError(
            f"{demo.folder}: holds a demo with other settings (--quick or --seed); choose another folder, or replace "
            "it with --overwrite"
        )


def _claim(demo: _Demo) -> None:
    """Write down which demo the folder holds, and remove what an earlier one would hand on."""
    marker = demo.folder / DEMO
    if demo.overwrite:
        for name in (_DIRECTION, *(f"{table}.parquet" for table in _JUDGED), "surface/surface.json"):
            (demo.folder / name).unlink(missing_ok=True)
    if demo.overwrite or not marker.exists():
        with written_whole(marker) as draft:
            draft.write_text(_settings(demo), encoding="utf-8")


def _settings(demo: _Demo) -> str:
    return json.dumps({"quick": demo.quick, "seed": demo.seed})


def _direction(demo: _Demo) -> tuple[Direction, DirectionEvidence]:
    saved = demo.folder / _DIRECTION
    kept = {name: demo.folder / f"{name}.parquet" for name in (*_JUDGED, "scores")}
    if saved.exists() and all(path.exists() for path in kept.values()):
        tables = {name: pl.read_parquet(kept[name]) for name in _JUDGED}
        return Direction.load(saved), DirectionEvidence(tables, pl.read_parquet(kept["scores"]))
    pairs = fact_pairs(per_topic=_QUICK_FACTS if demo.quick else None)
    model = demo.model
    demo.print_line(f'fitting the direction "lying" on {len(pairs)} facts, evaluating it on held-out topics')
    controls = Controls(n_random=100, n_shuffled=0, n_folds=4, transfer=False, seed=demo.seed)
    judged = judge_directions(model, pairs, controls=controls, seed=demo.seed, progress=demo.progress)
    direction, evidence = judged.directions["mean-difference"], judged.evidence["mean-difference"]
    for name, path in kept.items():
        with written_whole(path) as draft:
            (evidence.scores if name == "scores" else evidence.tables[name]).write_parquet(draft)
    direction.save(saved, overwrite=True)
    return direction, evidence


def _run(demo: _Demo, direction: Direction) -> Run:
    folder = demo.folder / "run"
    prompts = demo.conversations
    if not demo.overwrite and is_run(folder) and (run := Run(folder)).finished and run.samples.height == len(prompts):
        demo.print_line(f"answers: {len(prompts)} already exist in {folder}")
        return run
    model = demo.model
    demo.print_line(f"generating answers to {len(prompts)} prompts and recording the model's signals")
    return read(
        model,
        prompts,
        answers="generate",
        directions=(direction,),
        hidden={"layers": list(range(model.n_layers))[_LAYERS], "pools": _POOLS},
        detail=True,
        to=folder,
        max_new_tokens=_MAX_NEW_TOKENS,
        batch_tokens=_BATCH_TOKENS,
        seed=demo.seed,
        overwrite=demo.overwrite,
        progress=demo.progress,
    )


def _label_lines(run: Run) -> list[str]:
    """Return how often each behaviour happened."""
    counted = (
        run.samples.with_columns(pl.col("behaviour").fill_null("label 1"))
        .group_by("behaviour", maintain_order=True)
        .agg(pl.col("behavior_label").sum().alias("happened"), pl.col("behavior_label").count().alias("labelled"))
    )
    return [
        f"labels: {happened} of {labelled} answers: {behaviour}" for behaviour, happened, labelled in counted.rows()
    ]


def _surface(demo: _Demo, direction: Direction, evidence: DirectionEvidence) -> Surface:
    folder = demo.folder / "surface"
    if (folder / "surface.json").exists():
        return Surface.read(folder)
    built_in = builtin_surface_question()
    question, answers = built_in.question, built_in.answers
    demo.print_line(f"computing activity surfaces of {len(answers)} answers to: {question}")
    layers = evidence.chosen_layers or None
    activity = surface(demo.model, direction, question, answers, titles=built_in.titles, layers=layers)
    shown = with_held_out_comparison(activity, evidence)
    shown.write(folder, overwrite=True)
    return shown


def _report(demo: _Demo, run: Run, shown: Surface, evidence: DirectionEvidence) -> Path:
    judged = evidence.tables["directions"]
    folder = demo.folder / "results"
    inputs_file = folder / "inputs.json"
    page = folder / "report.html"
    inputs = _inputs(run, shown, judged, demo.seed)
    if page.exists() and inputs_file.exists() and json.loads(inputs_file.read_text(encoding="utf-8")) == inputs:
        demo.print_line("the report already exists, and its inputs have not changed")
        return page
    demo.print_line("testing which signals tell the labels, and how early (most of the time is spent on forests)")
    settings = _QUICK_STUDY if demo.quick else _STUDY
    result = study(run, seed=demo.seed, progress=demo.progress, **settings)
    command = f"foretell demo{' --quick' if demo.quick else ''} --seed {demo.seed}"
    page = report(
        result,
        folder,
        surfaces=[shown],
        direction=judged,
        direction_null=evidence.tables["direction_null"],
        run_facts=run_facts(run, commands=[command]),
        overwrite=True,
        progress=demo.progress,
    )
    with written_whole(inputs_file) as draft:
        draft.write_text(json.dumps(inputs, indent=2), encoding="utf-8")
    return page


def _inputs(run: Run, shown: Surface, judged: pl.DataFrame, seed: int) -> dict[str, object]:
    """Return checksums of a report's inputs, so that it is rendered again only after a change."""
    from foretell import __version__

    labels = run.samples.select("id", "behavior_label").write_csv()
    parts = "".join(part.text() for part in run.parts)
    inputs = {"labels": labels, "parts": parts, "surface": shown.table().write_csv(), "direction": judged.write_csv()}
    checksums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in inputs.items()}
    return {**checksums, "seed": seed, "foretell": __version__}
