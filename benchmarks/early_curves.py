"""Time and memory of early curves: all signals of a run after 0, 1, 2, 4, ... tokens.

    python benchmarks/early_curves.py                      # 300 samples, 30 layers of 9 heads, 16 hidden states each
    python benchmarks/early_curves.py --samples 2000 --width 4096 --states-only

The run is made by the script, of noise. Hidden states are made anew for each layer and pool, so that only one is in
memory, as from a memory-mapped file. `--states-only` leaves out the rest, to measure the memory of hidden states.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

import foretell
from foretell.schema.tables import MASSES, SHARES
from foretell.stats.signals.hidden_so_far import HiddenStates
from foretell.stats.signals.moment import after_tokens
from foretell.storage.runs import Run

RESULTS = Path(__file__).parent / "results"
N_LAYERS, N_HEADS, N_TOKENS = 30, 9, 100
POOLS = ("mean over answer", "last answer token")


@dataclass(frozen=True)
class NoisyRun(Run):
    """A run whose hidden states are noise."""

    n_samples: int = 0
    width: int = 0
    n_layers: int = 8

    @property
    def ids(self) -> list[str]:
        """Ids of the samples."""
        return [f"s{index:05d}" for index in range(self.n_samples)]

    @property
    def hidden_states(self) -> pl.DataFrame:
        """Return which states there are."""
        after = [1 << power for power in range(7)] + [N_TOKENS]
        places = pl.DataFrame({"layer": range(self.n_layers)}).join(pl.DataFrame({"pool": POOLS}), how="cross")
        places = places.join(pl.DataFrame({"n_generated": after}), how="cross")
        return pl.DataFrame({"id": self.ids}).join(places, how="cross")

    def hidden(self, layer: int, pool: str, n_generated: int | None = None) -> tuple[list[str], np.ndarray]:
        """Return ids and states."""
        generator = np.random.default_rng([layer, POOLS.index(pool), n_generated or 0])
        return self.ids, generator.standard_normal((self.n_samples, self.width), dtype=np.float32)


def noisy_run(path: Path, n_samples: int, width: int, *, states_only: bool) -> NoisyRun:
    """Return a run of noise; every answer has 100 tokens."""
    generator = np.random.default_rng(0)
    made = NoisyRun(Run.create(path, {"model": "none"}).path, n_samples=n_samples, width=width)
    if states_only:
        return made
    ids = np.array(made.ids)
    samples = pl.DataFrame(
        {
            "id": ids,
            "dataset": "noise",
            "group": ids,
            "messages": [" ".join(f"word{one}" for one in row) for row in generator.integers(0, 300, (n_samples, 20))],
            "behavior_label": np.arange(n_samples) % 2,
            "n_tokens_prompt": generator.integers(5, 60, n_samples),
            "n_tokens_query": generator.integers(5, 60, n_samples),
            "n_tokens_generated": N_TOKENS,
            "model": "none",
        }
    )
    sample, place = (axis.ravel() for axis in np.indices((n_samples, N_TOKENS)))
    tokens = pl.DataFrame(
        {
            "id": ids[sample],
            "position": place + 50,
            "answer_position": place,
            "token_id": 0,
            "text": [f"word{one} " for one in generator.integers(0, 300, sample.size)],
            "segment": "generated",
            "logprob": -generator.exponential(size=sample.size),
            "entropy": generator.exponential(size=sample.size),
        }
    )
    activity = pl.concat(
        tokens.select("id", "position", "answer_position").with_columns(
            layer=layer, concept=pl.lit("truth"), activity=pl.Series(generator.normal(size=sample.size))
        )
        for layer in range(0, N_LAYERS, 4)
    )
    first = pl.concat(_heads(generator, ids, 1 << power) for power in range(7))
    tables = {"samples": samples, "tokens": tokens, "activity": activity, "checkpoints": first}
    made.append("part", {**tables, "attention": _heads(generator, ids, N_TOKENS)})  # type: ignore[dict-item]
    return made


def _heads(generator: np.random.Generator, ids: np.ndarray, after: int) -> pl.DataFrame:
    sample, layer, head = (axis.ravel() for axis in np.indices((len(ids), N_LAYERS, N_HEADS)))
    masses = generator.dirichlet(np.full(5, 5.0), size=sample.size)
    shares = masses[:, [1, 2, 0]] / masses[:, :3].sum(axis=1, keepdims=True)
    about = {"id": ids[sample], "dataset": "noise", "layer": layer, "head": head, "n_generated": after}
    columns = {**dict(zip(MASSES, masses.T, strict=True)), **dict(zip(SHARES, shares.T, strict=True))}
    return pl.DataFrame({**about, **columns})


def _peak() -> float:
    """Return the largest memory of this process so far in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--states-only", action="store_true")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        run = noisy_run(Path(folder) / "run", chosen.samples, chosen.width, states_only=chosen.states_only)
        before, start, processor = _peak(), time.perf_counter(), time.process_time()
        if chosen.states_only:
            moment = after_tokens(tuple(run.ids), np.full(chosen.samples, N_TOKENS), N_TOKENS)
            family = HiddenStates(run, run.ids).family(moment)
            assert family.columns is not None  # noqa: S101
            what = f"one Gram matrix of {run.n_layers} layers x {len(POOLS)} pools and its factor"
        else:
            study = foretell.study(run, compute=False, progress=False)
            study.samples  # noqa: B018
            before, start, processor = _peak(), time.perf_counter(), time.process_time()
            what = f"curves at {study.early['n_generated'].n_unique()} moments, {N_LAYERS} x {N_HEADS} heads"
        result = {
            "samples": chosen.samples,
            "width": chosen.width,
            "what": what,
            "seconds": round(time.perf_counter() - start, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
            "peak_gib": round(_peak(), 2),
            "peak_before_gib": round(before, 2),
            "machine": platform.processor() or platform.machine(),
            "versions": {name: version(name) for name in ("foretell", "numpy", "scipy")},
        }
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "early_curves.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
