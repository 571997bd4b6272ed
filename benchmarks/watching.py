"""Cost of watching a model with a monitor, relative to plain generation, in one run.

    python benchmarks/watching.py [--rounds 9]

SmolLM2 writes 64 tokens for 8 prompts, greedily. The monitor looks at 16 heads, spread over the layers, and at hidden
states of 2 layers. Plain generation and the ways of watching take turns, in an order that changes with the round; plain
generation is timed twice per round. A ratio is the median over rounds of a way's time over the mean of both plain ones,
by the clock on the wall and in processor seconds of this process, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import foretell
from foretell.monitors.alarm_threshold import alarm_threshold
from foretell.monitors.made_from import MadeFrom
from foretell.monitors.monitor import Monitor, StoredDirections
from foretell.monitors.monitor_columns import Columns
from foretell.monitors.recall import recall
from foretell.reading.chat.chat_template import template_fingerprint
from foretell.reading.chat.rendered import Batch, pad_batch
from foretell.reading.chat.spans import render
from foretell.reading.models.fingerprints import weights_fingerprint
from foretell.reading.models.load import Model

RESULTS = Path(__file__).parent / "results"
N_PROMPTS, N_TOKENS = 8, 64
Seconds = tuple[float, float]


def monitor_of(model: Model, generator: np.random.Generator, n_heads: int = 16, n_layers: int = 2) -> Monitor:
    """Return a monitor of random weights: what it costs does not depend on them."""
    chosen = generator.choice(model.n_layers * model.n_heads, n_heads, replace=False)
    heads = tuple(sorted((int(one) // model.n_heads, int(one) % model.n_heads) for one in chosen))
    layers = tuple(range(model.n_layers // (n_layers + 1), model.n_layers, model.n_layers // (n_layers + 1)))[:n_layers]
    columns = Columns(heads=heads, layers=layers, width=model.width, confidence=True, length=True)
    n_columns = sum(columns.sizes.values())
    nothing = np.zeros(0)
    made_from = MadeFrom(
        model=model.name,
        weights=weights_fingerprint(model.model),
        template=template_fingerprint(model.tokenizer),
        dtypes=(str(model.dtype).removeprefix("torch."),),
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        behaviour=None,
        signals=(),
        directions=(),
        n_training_samples=0,
        n_training_groups=0,
        training_groups="",
        n_calibration_samples=0,
        n_calibration_groups=0,
        calibration_groups="",
        held_out_auc=None,
        sampling="{}",
        seed=0,
        date="",
        version=version("foretell"),
    )
    threshold = replace(alarm_threshold(np.zeros(400)), score=1e9)
    weight = generator.normal(size=n_columns) / n_columns
    return Monitor(
        columns=columns,
        centre=np.zeros(n_columns),
        weight=weight,
        intercept=0.0,
        slope=1.0,
        shift=0.0,
        scored_at="checkpoints",
        threshold=threshold,
        recall=recall(nothing, nothing.astype(np.int64), nothing.astype(np.int64)),
        made_from=made_from,
        directions=StoredDirections(np.zeros((0, 0), dtype=np.float32), nothing, nothing),
    )


def generate(model: Model, batch: Batch) -> None:
    """Write the answers, all of one length."""
    with torch.inference_mode():
        model.model.generate(  # type: ignore[operator]
            input_ids=batch.token_ids,
            attention_mask=batch.attention_mask,
            min_new_tokens=N_TOKENS,
            max_new_tokens=N_TOKENS,
            do_sample=False,
            pad_token_id=model.pad_id,
        )


def watched(model: Model, batch: Batch, monitor: Monitor, every: int | None) -> Callable[[], Seconds]:
    """Return what generates under a monitor. The model is checked once, as where a server starts."""

    def run() -> Seconds:
        with foretell.watch(model, monitor, segments=batch.segments, every=every) as watching:
            seconds = timed(model, batch)
        assert watching.scored  # noqa: S101
        return seconds

    return run


def timed(model: Model, batch: Batch) -> Seconds:
    """Return seconds on the wall and of the processor for writing the answers."""
    wall, cpu = time.perf_counter(), time.process_time()
    generate(model, batch)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Print and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    model, generator = foretell.load_model("smollm2"), np.random.default_rng(0)
    prompts = foretell.builtin_conversations("alpaca")[:N_PROMPTS]
    batch = pad_batch([render(model, one, answer=None) for one in prompts], pad_id=model.pad_id, side="left")
    monitor = monitor_of(model, generator)

    def plain() -> Seconds:
        return timed(model, batch)

    ways: dict[str, Callable[[], Seconds]] = {
        "plain": plain,
        "every token": watched(model, batch, monitor, 1),
        "every 8 tokens": watched(model, batch, monitor, 8),
        "checkpoints": watched(model, batch, monitor, None),
        "plain again": plain,
    }
    for way in ways.values():
        way()
    seconds: dict[str, list[Seconds]] = {name: [] for name in ways}
    for _ in range(rounds):
        for place in generator.permutation(len(ways)):
            name, way = list(ways.items())[place]
            seconds[name].append(way())
    bare = np.mean([seconds["plain"], seconds["plain again"]], axis=0)
    machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()}
    print(f"{machine}, torch {torch.__version__}, {torch.get_num_threads()} threads, plain {np.median(bare, axis=0)} s")
    found = []
    for name in list(ways)[1:]:
        compared = np.array(seconds["plain"]) if name == "plain again" else bare
        for clock, ratios in zip(("wall", "processor"), (np.array(seconds[name]) / compared).T.tolist(), strict=True):
            lowest, highest = min(ratios), max(ratios)
            ratio = statistics.median(ratios)
            found.append({"way": name, "clock": clock, "ratio": ratio, "lowest": lowest, "highest": highest})
            print(f"{name:15} {clock:9} {ratio:.3f}  ({lowest:.3f} to {highest:.3f}, {rounds} rounds)")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "watching.json").write_text(json.dumps({**machine, "ratios": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
