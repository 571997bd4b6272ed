"""How fast is the run store, and does its memory stay flat: writing, resuming, checking, compacting, reading.

Synthetic results of a model with 30 layers of 9 heads go through the store in parts of 16 samples; no model is run.
Resuming is timed with many small parts, reading hidden states against reading the same bytes plainly.

python benchmarks/run_store.py --samples 100000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from foretell.schema.tables import MASSES, POOLS, SEGMENTS, SHARES
from foretell.storage import atomic
from foretell.storage.commits.part_commit import RunTable
from foretell.storage.runs import Run, open_run
from foretell.storage.state_choice import checkpoints_of
from foretell.storage.state_shards import write_states

N_LAYERS, N_HEADS, WIDTH, N_GENERATED, N_PROMPT = 30, 9, 576, 50, 70
STATE_LAYERS = (8, 16, 24)


def frames(n_samples: int, generator: np.random.Generator) -> dict[RunTable, pl.DataFrame]:
    """Return the rows of one part; ids are numbers that `renamed` replaces."""
    counts = dict(zip(SEGMENTS, (5, 30, 15, 20, N_GENERATED), strict=True))
    own = pl.DataFrame({"id": [str(one) for one in range(n_samples)]})
    lengths = {f"n_tokens_{name}": count for name, count in counts.items()}
    known = {"dataset": "set", "messages": '[{"role": "user", "content": "words"}]', "answer": "so", "model": "none"}
    samples = own.with_columns(
        pl.col("id").alias("group"), **{key: pl.lit(one) for key, one in (known | lengths).items()}
    )
    sample, layer, head = (axis.ravel() for axis in np.indices((n_samples, N_LAYERS, N_HEADS)))
    raw = generator.gamma(2.0, size=(len(sample), 5)).astype(np.float32)
    mass = dict(zip(MASSES, (raw / raw.sum(axis=1, keepdims=True)).astype(np.float64).T, strict=True))
    total = mass["PAM"] + mass["QAM"] + mass["SAM"]
    shares = {name: mass[name.removesuffix("_norm")] / total for name in SHARES}
    lifts = {f"lift_{name}": generator.gamma(2.0, size=len(sample)).astype(np.float32) for name in SEGMENTS}
    place = {"id": sample.astype(str), "dataset": "set", "layer": layer, "head": head}
    attention = pl.DataFrame({**place, **mass, **shares, **lifts, "lookback": mass["SAM"]})
    n_tokens = sum(counts.values())
    sample, position = (axis.ravel() for axis in np.indices((n_samples, n_tokens)))
    segment = [name for name, count in counts.items() for _ in range(count)] * n_samples
    generated = position >= N_PROMPT
    tokens = pl.DataFrame({"id": sample.astype(str), "position": position, "text": "word", "segment": segment})
    tokens = tokens.with_columns(
        token_id=pl.Series(generator.integers(0, 49_000, len(position))),
        answer_position=pl.when(generated).then(position - N_PROMPT),
        logprob=pl.when(generated).then(-generator.gamma(1.0, size=len(position)).astype(np.float32)),
    )
    return {"samples": samples, "attention": attention, "tokens": tokens}


def renamed(found: dict[RunTable, pl.DataFrame], first: int) -> dict[RunTable, pl.DataFrame]:
    """Return the same rows of other samples."""
    own = (pl.col("id").cast(pl.Int64) + first).cast(pl.String).str.zfill(8)
    return {
        table: frame.with_columns(own.alias("id"), *([own.alias("group")] if table == "samples" else []))
        for table, frame in found.items()
    }


@contextmanager
def timed(results: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds of a block to the results."""
    begun = time.perf_counter()
    yield
    results[name] = results.get(name, 0.0) + time.perf_counter() - begun


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def written(folder: Path, n_samples: int, per_part: int, results: dict[str, float]) -> Run:
    """Write a run without hidden states."""
    found = frames(per_part, np.random.default_rng(0))
    run = Run.create(folder, {"model": "none", "n_conversations": n_samples})
    for number, first in enumerate(range(0, n_samples, per_part)):
        part = renamed(found, first)
        with timed(results, "write_s"):
            run.append(f"part-{number:06d}", part)
        if number == 200:
            results["peak_after_200_parts_mib"] = peak_mib()
    run.finish()
    rows = sum(run.n_rows(table) for table in found)
    n_bytes = sum(file.n_bytes or 0 for part in run.parts for file in part.files)
    results |= {"rows": rows, "rows_per_s": rows / results["write_s"], "bytes_per_row": n_bytes / rows}
    results["samples_per_s"] = n_samples / results["write_s"]
    results["attention_bytes_per_row"] = sum(
        file.n_bytes or 0 for part in run.parts for file in part.of_table("attention")
    ) / run.n_rows("attention")
    results["peak_after_writing_mib"] = peak_mib()
    return run


def many_parts(folder: Path, n_parts: int, results: dict[str, float]) -> None:
    """Time what a resume does before it reads: 10,000 parts, each with its own file."""
    samples = {"samples": frames(1, np.random.default_rng(0))["samples"]}
    job = {"model": "none"}
    run = Run.create(folder, job)
    own = atomic._sync
    atomic._sync = lambda _: None  # that many files are not what is timed here
    for number in range(n_parts):
        run.append(f"part-{number:06d}", renamed(samples, number))
    atomic._sync = own
    with timed(results, "resume_s"):
        again = Run.create(folder, job)
        results["parts_resumed"] = len(again.part_names)


def states(folder: Path, n_parts: int, per_part: int, results: dict[str, float]) -> None:
    """Time reading hidden states of whole answers, in many shards and compacted, against reading as many bytes."""
    run = Run.create(folder, {"model": "none"})
    generator = np.random.default_rng(0)
    after = {pool: checkpoints_of(pool, N_GENERATED) for pool in POOLS}
    values = generator.normal(size=(len(STATE_LAYERS), WIDTH)).astype(np.float32)
    samples = frames(per_part, generator)["samples"]
    for number in range(n_parts):
        found = renamed({"samples": samples}, number * per_part)
        own = {one: {(pool, n): values for pool in POOLS for n in after[pool]} for one in found["samples"]["id"]}
        name = f"part-{number:06d}"
        found["hidden"] = write_states(run.path / "hidden", name, STATE_LAYERS, own, "float16")
        run.append(name, found)
    for name in ("parts", "compacted"):
        if name == "compacted":
            with timed(results, "compact_states_s"):
                run.compact()
        dropped = _drop_caches()
        with timed(results, f"index_{name}_s"):
            index = open_run(folder).state_index()
        with timed(results, f"states_{name}_s"):
            _, read = index.states(16, POOLS[1], None)
        results[f"states_mib_{name}"] = read.nbytes / 2 / 2**20
        plain = folder.parent / "plain"
        plain.write_bytes(b"\1" * (read.nbytes // 2))
        os.sync()
        if dropped:
            _drop_caches()
        with timed(results, f"plain_{name}_s"):
            np.fromfile(plain, dtype=np.float16).astype(np.float32)
        plain.unlink()


def _drop_caches() -> bool:
    """Empty the system's cache of files, where that is allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="utf-8")
    except OSError:
        return False
    return True


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--per-part", type=int, default=16)
    parser.add_argument("--parts", type=int, default=10_000, help="parts of the run that is resumed")
    parser.add_argument("--state-parts", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=None, help="where runs are written; default: a temporary folder")
    parser.add_argument("--only", choices=["write", "resume", "states"], default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="run-store-", dir=options.folder))
    results: dict[str, float] = {}
    try:
        if options.only in {None, "resume"}:
            many_parts(folder / "many", options.parts, results)
        if options.only in {None, "states"}:
            states(folder / "states", options.state_parts, options.per_part, results)
        if options.only in {None, "write"}:
            run = written(folder / "run", options.samples, options.per_part, results)
            with timed(results, "check_s"):
                results["damages"] = len(run.check())
            results["peak_after_check_mib"] = peak_mib()
            with timed(results, "compact_s"):
                run.compact()
            results["peak_after_compaction_mib"] = peak_mib()
            with timed(results, "check_compacted_s"):
                results["damages_compacted"] = len(run.check())
            results["peak_after_second_check_mib"] = peak_mib()
    finally:
        shutil.rmtree(folder)
    for name, value in results.items():
        print(f"{name:<28} {value:,.2f}")
    target = Path(__file__).parent / "results" / "run_store.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
