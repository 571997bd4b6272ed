"""Runs for tests of monitors: of a tiny model that answers, with labels that its own numbers give."""

from __future__ import annotations

import numpy as np
import polars as pl

import foretell
from foretell.conversations.conversation import Conversation, Message
from foretell.reading.models.load import Model
from foretell.storage.runs import Run

N_TOKENS = 20


def conversations(n: int = 48, *, seed: int = 0) -> list[Conversation]:
    generator = np.random.default_rng(seed)
    texts = ["".join(map(chr, generator.integers(97, 123, generator.integers(3, 20)))) for _ in range(n)]
    return [
        Conversation(id=f"c{index:02d}", dataset="tiny", messages=(Message("user", text),), group=f"g{index // 2:02d}")
        for index, text in enumerate(texts)
    ]


def answered_run(model: Model, asked: list[Conversation], **options: object) -> Run:
    """Return a run of generated answers; label 1 is a mean log-probability above the median."""
    hidden = {"layers": "all", "dtype": "float32"}
    settings = {"hidden": hidden, "rows": True, "max_new_tokens": N_TOKENS, "progress": False, **options}
    run = foretell.read(model, asked, answers="generate", **settings)  # type: ignore[arg-type]
    label_sure_answers(run)
    return run


def label_sure_answers(run: Run) -> None:
    """Label 1 is a mean log-probability above the median."""
    sure = run.samples["mean_logprob"]
    run.write_labels(
        run.samples.select(
            "id",
            behavior_label=(sure > sure.median()).cast(pl.Int8),
            label_source=pl.lit("made"),
            label_reason=pl.lit(None, dtype=pl.String),
        )
    )
