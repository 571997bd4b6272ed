"""What workers cost and gain: one run by this process alone and by several, with the same batches.

    python benchmarks/workers.py --workers 1 2 --samples 48

Prints seconds until the first part, seconds in all, and tokens per second after the first part. Each process has one
thread, so that several of them compare with one. A second table has parts that take no time at all: what Ray itself
costs per part. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


def read_once(model: str, n_samples: int, n_workers: int, batch_tokens: int) -> dict[str, float]:
    """Read built-in prompts with generated answers; return times and counts."""
    import dataclasses

    import foretell
    from foretell.storage.runs import Run

    start = time.perf_counter()
    prompts = foretell.builtin_conversations("alpaca")
    samples = [dataclasses.replace(prompts[at % len(prompts)], id=f"{at:05d}") for at in range(n_samples)]
    loaded = foretell.load_model(model)
    ready = time.perf_counter()
    times: list[float] = []

    def watch(folder: Path) -> None:
        while not done:
            n_parts = len(list((folder / "attention").glob("part-*.parquet")))
            times.extend([time.perf_counter()] * (n_parts - len(times)))
            time.sleep(0.02)

    import threading

    done: list[None] = []
    with tempfile.TemporaryDirectory() as folder:
        watching = threading.Thread(target=watch, args=(Path(folder) / "run",))
        watching.start()
        workers = n_workers or None
        run: Run = foretell.read(
            loaded,
            samples,
            answers="generate",
            max_new_tokens=32,
            batch_tokens=batch_tokens,
            to=Path(folder) / "run",
            workers=workers,
            progress=False,
        )
        end = time.perf_counter()
        done.append(None)
        watching.join()
        n_bytes = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
        n_tokens = run.tokens.height
    n_parts = len(times)
    share = (n_parts - 1) / n_parts if n_parts > 1 else 1.0
    return {
        "load": ready - start,
        "first": times[0] - ready,
        "read": end - ready,
        "parts": n_parts,
        "tokens_per_second": n_tokens * share / max(times[-1] - times[0], 1e-9),
        "bytes_per_sample": n_bytes / n_samples,
    }


def empty_tasks(n_tasks: int, n_workers: int) -> dict[str, float]:
    """Return what tasks that do nothing take."""
    from foretell.jobs.ray_pool import Workers, on_workers

    start = time.perf_counter()
    arrived = [time.perf_counter() for _ in on_workers(Workers(n_workers), lambda: lambda task: task, range(n_tasks))]
    return {
        "first": arrived[0] - start,
        "per_task": (arrived[-1] - arrived[0]) / max(n_tasks - 1, 1),
        "end": time.perf_counter() - arrived[-1],
    }


def in_a_process(*words: object) -> dict[str, float]:
    """Run one measurement of this script in a process with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--batch-tokens", type=int, default=600)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, *numbers = options.one
        if kind == "read":
            print(json.dumps(read_once(numbers[0], *map(int, numbers[1:]))))
        else:
            print(json.dumps(empty_tasks(*map(int, numbers))))
        return
    machine = f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    print(machine, *(f"{name} {version(name)}" for name in ("torch", "ray")), sep=", ")
    rows = {}
    for n_workers in (0, *options.workers):
        words = ("read", options.model, options.samples, n_workers, options.batch_tokens)
        rows[f"{n_workers or 'no'} workers"] = one = in_a_process(*words)
        print(f"{n_workers or 'no':>3} workers:", ", ".join(f"{name} {value:.2f}" for name, value in one.items()))
    for n_workers in options.workers:
        rows[f"nothing, {n_workers} workers"] = one = in_a_process("empty", options.tasks, n_workers)
        print(
            f"{n_workers:>3} workers, nothing to do:", ", ".join(f"{name} {value:.4f}" for name, value in one.items())
        )
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "workers.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
