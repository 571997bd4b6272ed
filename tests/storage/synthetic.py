"""Runs without a model: consistent in every table, the same for the same numbers, in as many parts as needed.

`python -m tests.storage.synthetic FOLDER N_PARTS [compact]` writes one and says so; it may be killed at any moment.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from foretell.schema.tables import MASSES, POOLS, SEGMENTS, SHARES
from foretell.storage.commits.part_commit import RunTable
from foretell.storage.runs import Run
from foretell.storage.state_choice import checkpoints_of
from foretell.storage.state_shards import write_states

N_LAYERS, N_HEADS, WIDTH, PER_PART = 2, 3, 8, 3
STATES = {"layers": [0, 1], "pools": list(POOLS), "dtype": "float16"}


def job(n_parts: int, **other: object) -> dict[str, object]:
    """A job of so many parts."""
    known = {"weights": "v2:0123456789abcdef", "model": "toy", "template": "t", "dtype": "float32", "detail": True}
    known |= {"answers": "given", "sampling": None, "batch_tokens": 64, "hidden": STATES, "rows": True}
    return {**known, "n_conversations": n_parts * PER_PART, "directions": [{"concept": "c", "vectors": "v"}], **other}


def ids_of(number: int) -> list[str]:
    """Samples of one part."""
    return [f"s{(number * 7919 + place) % 10_000:05d}-{number}-{place}" for place in range(PER_PART)]


def frames(number: int) -> dict[RunTable, pl.DataFrame]:
    """Rows of one part in every table but hidden."""
    generator = np.random.default_rng(number)
    found: dict[RunTable, list[pl.DataFrame]] = {}
    for own in ids_of(number):
        dataset, n_generated = f"set-{len(own) % 2}{number % 2}", int(generator.integers(1, 9))
        counts = dict(zip(SEGMENTS, (2, 3, 1, 4, n_generated), strict=True))
        lengths = {f"n_tokens_{name}": count for name, count in counts.items()}
        label = int(generator.integers(2))
        known = {"id": own, "dataset": dataset, "group": own, "messages": "[]", "answer": "so", "model": "toy"}
        found.setdefault("samples", []).append(
            pl.DataFrame([{**known, **lengths, "behavior_label": label, "label_source": "file", "mean_logprob": -1.0}])
        )
        for table, after in (("attention", [0]), ("checkpoints", checkpoints_of(POOLS[1], n_generated))):
            powers = [n for n in after if n & (n - 1) == 0]
            layer, head, place = (axis.ravel() for axis in np.indices((N_LAYERS, N_HEADS, len(powers))))
            rows = _masses(generator, len(layer))
            frame = pl.DataFrame({"id": own, "dataset": dataset, "layer": layer, "head": head, **rows})
            if table == "checkpoints":
                frame = frame.with_columns(n_generated=pl.Series(np.asarray(powers)[place]))
            found.setdefault("attention" if table == "attention" else "checkpoints", []).append(frame)
        n_tokens = sum(counts.values())
        generated = np.arange(n_tokens) >= n_tokens - n_generated
        tokens = {
            "id": own,
            "position": np.arange(n_tokens),
            "token_id": generator.integers(0, 99, n_tokens),
            "text": "x",
            "segment": [name for name, count in counts.items() for _ in range(count)],
            "logprob": np.where(generated, -generator.random(n_tokens), np.nan),
        }
        found.setdefault("tokens", []).append(pl.DataFrame(tokens).with_columns(pl.col("logprob").fill_nan(None)))
        layer, row = (axis.ravel() for axis in np.indices((N_LAYERS, n_generated)))
        place = {"id": own, "layer": layer, "position": row + n_tokens - n_generated, "answer_position": row}
        activity = pl.DataFrame({**place, "concept": "c", "activity": generator.normal(size=len(layer))})
        found.setdefault("activity", []).append(activity)
        layer, head, row = (axis.ravel() for axis in np.indices((N_LAYERS, N_HEADS, n_generated)))
        place = {"id": own, "layer": layer, "head": head, "position": row + n_tokens - n_generated}
        masses = {name: values.astype(np.float16) for name, values in _masses(generator, len(row)).items()}
        frame = pl.DataFrame({**place, "answer_position": row, **{name: masses[name] for name in MASSES}})
        found.setdefault("rows", []).append(frame)
    return {table: pl.concat(rows) for table, rows in found.items()}


def _masses(generator: np.random.Generator, n_rows: int) -> dict[str, np.ndarray]:
    raw = generator.gamma(2.0, size=(n_rows, 5))
    mass = dict(zip(MASSES, (raw / raw.sum(axis=1, keepdims=True)).T, strict=True))
    total = mass["PAM"] + mass["QAM"] + mass["SAM"]
    return mass | {share: mass[share.removesuffix("_norm")] / total for share in SHARES}


def append_part(run: Run, number: int) -> None:
    """Write one part, with its hidden states."""
    name, found = f"part-{number:05d}", frames(number)
    generator = np.random.default_rng(10_000 + number)
    lengths = dict(found["samples"].select("id", "n_tokens_generated").iter_rows())
    states = {
        own: {
            (pool, n): generator.normal(size=(N_LAYERS, WIDTH)).astype(np.float32)
            for pool in POOLS
            for n in checkpoints_of(pool, length)
        }
        for own, length in lengths.items()
    }
    found["hidden"] = write_states(run.path / "hidden", name, [0, 1], states, "float16")
    run.append(name, found)


def fill(run: Run, n_parts: int) -> Run:
    """Write every part that the run does not have yet, and mark it complete."""
    done = run.part_names
    for number in range(n_parts):
        if f"part-{number:05d}" not in done:
            append_part(run, number)
    run.finish()
    return run


def made(folder: Path | str, n_parts: int = 4) -> Run:
    """Return a whole run, new or resumed."""
    return fill(Run.create(folder, job(n_parts)), n_parts)


def copied(folder: Path, n_parts: int = 4) -> Run:
    """Return a whole run that was made once for all tests."""
    shutil.copytree(_made_once(n_parts), folder)
    return Run(folder)


@functools.cache
def _made_once(n_parts: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="foretell-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return made(folder / "run", n_parts).path


def contents(run: Run) -> dict[str, pl.DataFrame]:
    """Return everything that can be read from a run, wherever it is in its files."""
    found = {name: getattr(run, name) for name in ("samples", "attention", "checkpoints", "rows", "tokens", "activity")}
    found["hidden"] = run.hidden_states.drop("shard", "row")
    for layer in STATES["layers"]:
        for pool in POOLS:
            ids, states = run.hidden(int(layer), pool)
            found[f"{layer}/{pool}"] = pl.DataFrame({"id": ids, "states": states})
    return found


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Write or resume the run that the command line names, and say when it begins and ends."""
    folder, n_parts = sys.argv[1], int(sys.argv[2])
    _say("ready")
    run = made(folder, n_parts)
    if "compact" in sys.argv:
        run.compact()
    _say("done")


if __name__ == "__main__":
    main()
