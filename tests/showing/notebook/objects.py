"""One object of every public kind, made without a large model, with a text of the caller's in every place for texts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

import foretell
from foretell.conversations.conversation import Conversation, Message, Span
from foretell.conversations.pairs import ContrastPair
from foretell.directions.direction import Direction, DirectionSource
from foretell.monitors.alarm_threshold import Threshold
from foretell.monitors.live.watching import Scored, Watching
from foretell.monitors.made_from import MadeFrom
from foretell.monitors.monitor import Monitor, StoredDirections
from foretell.monitors.monitor_columns import Columns
from foretell.monitors.recall import Recall, Share
from foretell.records.skipped import ReadList, Skipped
from foretell.stats.comparison.comparison import Comparison
from foretell.stats.study import Study
from foretell.storage.runs import Run
from foretell.storage.surfaces import AnswerActivity, Surface
from tests.stats.tables import head_table

__all__ = ["every_object", "made_monitor", "made_study"]


@cache
def _study() -> Study:
    return foretell.study(
        head_table(n_samples=24), n_trees=5, n_permutations=20, detector_repeats=1, n_jobs=1, compute=False
    )


@cache
def _comparison() -> Comparison:
    return foretell.compare(_study(), _study(), n_permutations=20)


def _written(text: str) -> str:
    """Return a text as a table or file can hold it: without lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def made_study(text: str = "made") -> Study:
    """A study of two data sets, of which nothing is computed."""
    study = _study()
    samples = study.table.samples.with_columns(pl.col("dataset").replace({"flan": _written(text)}))
    return replace(study, table=replace(study.table, samples=samples), settings=replace(study.settings, source=text))


def made_monitor(text: str = "made", *, threshold: bool = True) -> Monitor:
    """A monitor of one head, one activity and the log-probabilities."""
    columns = Columns(heads=((1, 2),), activity=((text, 3),), confidence=True)
    made = MadeFrom(
        model=text,
        weights=text,
        template=text,
        dtypes=(text,),
        n_layers=4,
        n_heads=3,
        behaviour=text,
        signals=(text,),
        directions=((text, text),),
        n_training_samples=20,
        n_training_groups=20,
        training_groups=text,
        n_calibration_samples=10,
        n_calibration_groups=10,
        calibration_groups=text,
        held_out_auc=0.8,
        sampling="{}",
        seed=0,
        date=text,
        version=text,
        notes=(text,),
    )
    known = (
        Threshold(1.5, None, 0.1, 0.9, 22, 22, 0, 0.1)
        if threshold
        else Threshold(None, text, 0.1, 0.9, 3, 22, None, None)
    )
    recall = Recall(Share(0.5, 0.3, 0.7, 0.95, 10, 10), {1: 0.1, 2: 0.2, 4: 0.5}, 2.0, 0.5)
    n = sum(columns.sizes.values())
    none = StoredDirections(np.zeros((1, 4)), np.zeros(1), np.ones(1))
    centre, weight = np.zeros(n), np.arange(1.0, n + 1)
    return Monitor(columns, centre, weight, 0.0, 1.0, 0.0, "checkpoints", known, recall, made, none)


def made_direction(text: str = "made") -> Direction:
    """A direction of four layers, of which one is undefined."""
    vectors = np.eye(4, 6, dtype=np.float32)
    vectors[1] = np.nan
    scale = np.array([0.5, np.nan, 1.0, 2.0])
    source = DirectionSource("mean-difference", "mean", text, text, 7, (text,), 6, 50, 3, "0")
    return Direction(text, vectors, scale.copy(), scale, (None, text, None, None), source)


def made_surface(text: str = "made") -> Surface:
    """A surface of two answers."""
    answers = tuple(
        AnswerActivity(f"{text}{index}", text, (text, "b", "c", "d"), np.arange(12.0).reshape(3, 4) / 6 - 1, -1.0)
        for index in range(2)
    )
    return Surface(text, text, "z", text, (0, 1, 2), answers)


def made_comparison(text: str = "made") -> Comparison:
    """A comparison of two studies, whose texts are replaced."""
    found, written = _comparison(), _written(text)
    table = found.table.with_columns(dataset=pl.lit(written), what=pl.lit(written), behaviour=pl.lit(written))
    heads = found.heads.with_columns(dataset=pl.lit(written), metric=pl.lit(written)).unique(["kind", "layer", "head"])
    return replace(found, names=(text, text), table=table, heads=heads, notes=(text,))


def made_watching(text: str = "made") -> Watching:
    """What is known of two answers, of which one has an alarm."""
    watching = Watching(made_monitor(text))
    watching.start(2)
    watching.scored = [Scored(0, 1, 0.5, 0.6, alarm=False), Scored(1, 2, 2.0, 0.9, alarm=True)]
    watching._first_alarm = {1: 2}
    return watching


def made_run(text: str, folder: Path) -> Run:
    """A run of one sample."""
    written = _written(text)
    run = Run.create(folder, {"model": written, "dtype": "float32", "answers": "given"})
    sample = {"id": "a", "dataset": written, "behaviour": written, "group": "a", "messages": "[]", "model": "m"}
    run.append("part", {"samples": pl.DataFrame({**sample, "behavior_label": 1})})
    return run


class _Network:
    """What `Model` asks of a network, without one."""

    config = SimpleNamespace()

    def __init__(self) -> None:
        import torch

        self.dtype, self.device = torch.float32, torch.device("cpu")

    def num_parameters(self) -> int:
        return 12


def made_model(text: str = "made") -> Any:
    """A model without a network: most of what it says of itself is unknown."""
    from foretell.reading.models.load import Model

    made = object.__new__(Model)
    for name, value in (("model", _Network()), ("tokenizer", [1, 2]), ("name", text), ("loader", None)):
        object.__setattr__(made, name, value)
    return made


def made_capture(text: str = "made") -> Any:
    """A capture of two samples inside an open block, into which nothing was fed."""
    from foretell.reading.capture.recording import Recording
    from foretell.reading.capture.results import Capture

    class Block:
        def flush(self) -> None:
            raise AssertionError("showing a capture reads nothing")

        def finish(self, token_ids: object) -> None:
            raise AssertionError("showing a capture reads nothing")

    return Capture(Recording(np.array([[0, 2, 4], [-1, 2, 4]]), 2, 0, text), Block())


def every_object(text: str, folder: Path) -> dict[str, Any]:
    """Return one object of every kind by its name."""
    message = Message("user", text, (Span(0, 1, text),))
    conversation = Conversation(text, text, (message,), text, behaviour=text, label_reason=text)
    pair = ContrastPair(text, text, text, text, text, text)
    return {
        "Span": message.spans[0],
        "Message": message,
        "Conversation": conversation,
        "ContrastPair": pair,
        "ReadList": ReadList([conversation] * 7, [Skipped(1, text)]),
        "Workers": _workers(text),
        "Run": made_run(text, folder),
        "Study": made_study(text),
        "Direction": made_direction(text),
        "Surface": made_surface(text),
        "Monitor": made_monitor(text),
        "Watching": made_watching(text),
        "Scored": Scored(0, 1, 0.5, 0.5, alarm=False),
        "Model": made_model(text),
        "Capture": made_capture(text),
        "Comparison": made_comparison(text),
    }


def _workers(text: str) -> Any:
    from foretell.jobs.ray_pool import Workers

    made = object.__new__(Workers)  # Ray may not be installed
    for name, value in (("n_workers", 2), ("gpus_per_worker", 0.0), ("address", text)):
        object.__setattr__(made, name, value)
    return made
