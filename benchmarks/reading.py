r"""Cost of listening relative to the bare fused forward pass of the same model, in one run.

    python benchmarks/reading.py                    # every row, some 25 to 50 minutes
    python benchmarks/reading.py --seconds 20 --processes 1 --sizes 512/64 --only forward

Work is one text of T tokens whose last R are the answer, batch 1, no language-model head. All ways run layer by layer
in turn (`layer_by_layer.py` says why). The bare pass is run twice: a ratio is the median over rounds of a way's time
over the mean of both bare passes in the same round, with a 95 % interval for that median from its order statistics (the
range for fewer than six rounds). "Bare again" is the second one over the first. The memory layout of a process changes
a ratio by up to one percentage point, so every size runs in several processes, and the range of their medians is given.
Whole passes, one way after another, give the same with much wider intervals: they are timed in a separate process and
printed as well.

Hidden states at eight layers, in all pools, are compared with reading masses without them. Generating 64 tokens is
compared with `generate` alone, step by step in turn, and two answers of one prompt, read together, with reading each by
itself. Eager attention, and transformer-lens and nnsight where they are installed, are timed in whole passes, relative
to listening to masses. Memory is the peak of a separate process less that of the bare pass, the median of several; each
does the model's self-check first. `--clock cpu` counts processor seconds instead of wall-clock time.

transformer-lens and nnsight require other versions of what foretell uses, so give them a separate environment that also
sees the packages of this one:

    python -m venv peers && peers/bin/pip install transformer-lens nnsight
    echo "import site; site.addsitedir('$PWD/.venv/lib/python3.11/site-packages')" \
        > peers/lib/python3.11/site-packages/project.pth
    peers/bin/python benchmarks/reading.py
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import quantile_test

from foretell.reading.capture.listen import listen
from foretell.reading.chat.rendered import Rendered
from foretell.reading.models.blocks import decoder_blocks, decoder_of
from foretell.reading.models.load import Dtype, Model, load_model
from foretell.reading.runs.answers import force
from foretell.schema.tables import POOLS
from layer_by_layer import in_turn, twin
from other_tools import other_tools

SIZES = ((128, 48), (512, 64), (1024, 64), (2048, 128), (4096, 128))
WAYS = ("bare", "masses", "everything")
STATES = (1, 5, 9, 13, 17, 21, 25, 29)
"""Layers whose hidden states are read where their cost is measured."""
BARE = ("bare", "bare again")
PARTS = ("forward", "states", "tools", "generate", "sharing", "memory")
CEILINGS = {
    "masses": {(128, 48): 1.12, (512, 64): 1.06, (1024, 64): 1.06, (2048, 128): 1.06, (4096, 128): 1.06},
    "everything": 1.16,
    "states": 1.03,
    "tools": {"eager": 3.5, "transformer-lens": 3.5, "nnsight": 2.5},
    "generate": {"masses": 1.12, "everything": 1.16},
    "sharing": 0.68,
    "extra_mib": {"2048": 16, "8192": 64},
}
LEAST_ROUNDS = 3
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
Times = dict[str, list[float]]


def text(n_tokens: int, n_rows: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Random tokens and segments: a system text, instruction, query and template pieces, then the answer."""
    generator = np.random.default_rng(seed)
    codes = np.full((1, n_tokens), 3)
    n_prompt = n_tokens - n_rows
    edges = [4, n_prompt // 5, n_prompt // 5 + 4, n_prompt // 2, n_prompt - 5]
    codes[0, edges[0] : edges[1]] = 0
    codes[0, edges[2] : edges[3]] = 1
    codes[0, edges[3] : edges[4]] = 2
    codes[0, n_prompt:] = 4
    return torch.from_numpy(generator.integers(10, 40000, size=(1, n_tokens))), codes


@dataclass(frozen=True)
class MadeUp:
    """A direction of the right shape."""

    vectors: np.ndarray
    mean: np.ndarray
    standard_deviation: np.ndarray
    concept: str = "made up"


@functools.cache
def made_up_direction(model: Model) -> MadeUp:
    """Return a random direction for the model."""
    vectors = np.random.default_rng(1).normal(size=(model.n_layers, model.width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return MadeUp(vectors, np.zeros(model.n_layers, dtype=np.float32), np.ones(model.n_layers, dtype=np.float32))


@contextlib.contextmanager
def listening(
    model: Model, way: str, codes: np.ndarray, *, rows: bool = False, states: tuple[int, ...] = ()
) -> Iterator[Any]:
    """Listen in the given way, and build the results before leaving."""
    if way == "bare":
        yield None
        return
    all_of_it = way == "everything"
    options: dict[str, Any] = {"contribution": all_of_it, "entropy": all_of_it, "rows": rows}
    with listen(model, codes, directions=[made_up_direction(model)], hidden=states, **options) as capture:
        yield capture
        for pool in POOLS if states else ():
            for after in (None,) if pool == POOLS[0] else (*capture.checkpoints, None):
                capture.hidden(pool, after)
        _ = capture.mass, capture.lift, capture.activity, capture.contribution, capture.entropy


def once(model: Model, way: str, token_ids: torch.Tensor, codes: np.ndarray, *, states: tuple[int, ...] = ()) -> None:
    """Run one text in one way."""
    with torch.inference_mode(), listening(model, way, codes, states=states):
        decoder_of(model.model)(input_ids=token_ids, use_cache=False)


@dataclass(frozen=True)
class Pace:
    """The clock, and the time of one comparison."""

    clock: str
    seconds: float

    def now(self) -> float:
        """Return the clock's seconds."""
        return CLOCKS[self.clock]()

    def rounds(self) -> Callable[[int], bool]:
        """Return a function that says whether to begin another round, from now on."""
        end = time.perf_counter() + self.seconds
        return lambda n_rounds: n_rounds < LEAST_ROUNDS or time.perf_counter() < end


def whole_passes(runs: dict[str, Callable[[], object]], pace: Pace) -> Times:
    """Run all ways once to warm up, then one after another, every other round backwards; return seconds."""
    times: Times = {way: [] for way in runs}
    for run in runs.values():
        run()
    go_on = pace.rounds()
    while go_on(n_rounds := len(next(iter(times.values())))):
        for way in reversed(runs) if n_rounds % 2 else runs:
            started = pace.now()
            runs[way]()
            times[way].append(pace.now() - started)
    return times


def forward(size: tuple[int, int], pace: Pace, *, seed: int, whole: bool, dtype: Dtype) -> Times:
    """Time the bare pass and listening at one size in this process."""
    model, (token_ids, codes) = load_model("smollm2", dtype=dtype), text(*size)
    if whole:
        return whole_passes({way: functools.partial(once, model, way, token_ids, codes) for way in WAYS}, pace)
    ways = {way: way for way in WAYS} | dict.fromkeys(BARE, "bare")
    twins = {name: twin(model) for name in ways}
    runs = {name: functools.partial(once, twins[name], way, token_ids, codes) for name, way in ways.items()}
    stops = [block for one in twins.values() for block in decoder_blocks(one.model)]
    return in_turn(runs, stops, go_on=pace.rounds(), now=pace.now, seed=seed)


def over(times: Times, *baselines: str) -> Times:
    """Return every other way's time over the mean of the baselines' in the same round."""
    base = [statistics.mean(one) for one in zip(*(times[baseline] for baseline in baselines), strict=True)]
    return {
        way: [one / other for one, other in zip(values, base, strict=True)]
        for way, values in times.items()
        if way not in baselines
    }


def summary(ratios: list[float]) -> dict[str, float]:
    """Return the median, its 95 % interval (the range for fewer than six rounds), and how many rounds there were."""
    interval: Any = quantile_test(ratios, q=0, p=0.5).confidence_interval(0.95)
    low, high = (interval.low, interval.high) if len(ratios) >= 6 else (min(ratios), max(ratios))
    return {"median": statistics.median(ratios), "low": float(low), "high": float(high), "rounds": len(ratios)}


def shown(found: dict[str, dict[str, float]]) -> str:
    """Return summaries as one line."""
    return ", ".join(f"{way} {one['median']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for way, one in found.items())


def forward_passes(sizes: list[tuple[int, int]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every size in separate processes, print the results and return them."""
    results = []
    for n_tokens, n_rows in sizes:
        wanted = ["--forward", f"{n_tokens}/{n_rows}", "--clock", arguments.clock, "--seconds", str(arguments.seconds)]
        wanted += ["--dtype", arguments.dtype]
        times = [json.loads(in_a_process(*wanted, "--seed", str(seed))) for seed in range(arguments.processes)]
        ratios = [over(one, *BARE) | over({way: one[way] for way in BARE}, "bare") for one in times]
        layers = {way: summary([ratio for one in ratios for ratio in one[way]]) for way in ratios[0]}
        medians = {way: [statistics.median(one[way]) for one in ratios] for way in ratios[0]}
        whole = {way: summary(one) for way, one in over(json.loads(in_a_process(*wanted, "--whole")), "bare").items()}
        bare = statistics.median(second for one in times for second in one["bare"])
        size = {"tokens": n_tokens, "rows": n_rows, "bare_seconds": bare}
        results.append(
            size | {"layer_by_layer": layers, "of_processes": medians, "seconds": times, "whole_passes": whole}
        )
        spread = ", ".join(f"{way} {min(values):.3f} to {max(values):.3f}" for way, values in medians.items())
        print(
            f"{n_tokens}/{n_rows}: bare {bare:.3f} s, {layers['masses']['rounds']} rounds; {shown(layers)}\n"
            f"    medians of processes: {spread}\n    whole passes: {shown(whole)}",
            flush=True,
        )
    return results


def in_a_process(*arguments: str) -> str:
    """Return the last line that this script prints in a separate process."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def tools(pace: Pace) -> dict[str, dict[str, float]]:
    """Time of other tools relative to listening to masses, at 2,048 tokens."""
    model, (token_ids, codes) = load_model("smollm2"), text(2048, 128)
    runs = {"masses": functools.partial(once, model, "masses", token_ids, codes)}
    times = whole_passes(runs | other_tools(model, token_ids, codes), pace)
    found = {way: summary(ratios) for way, ratios in over(times, "masses").items()}
    print(f"over masses at 2048/128: {shown(found)}", flush=True)
    return found


def generating(pace: Pace, n_new: int = 64) -> dict[str, dict[str, float]]:
    """Time of `generate` with listening relative to that without."""
    model, (token_ids, codes) = load_model("smollm2"), text(200, 0)
    options = {"max_new_tokens": n_new, "min_new_tokens": n_new, "do_sample": False, "pad_token_id": 0}

    def run(model: Model, way: str) -> None:
        with listening(model, way, codes, rows=True):
            model.model.generate(token_ids, attention_mask=torch.ones_like(token_ids), **options)  # type: ignore[operator]

    twins = {way: twin(model) for way in WAYS}
    runs = {way: functools.partial(run, one, way) for way, one in twins.items()}
    # Layer by layer, one way would bring the weights into the cache for the others, and weights dominate a step.
    stops = [decoder_of(one.model) for one in twins.values()]
    times = in_turn(runs, stops, go_on=pace.rounds(), now=pace.now)
    found = {way: summary(ratios) for way, ratios in over(times, "bare").items()}
    print(f"generating {n_new} tokens: {shown(found)}", flush=True)
    return found


def sharing(pace: Pace, n_prompt: int = 512, n_answer: int = 64) -> dict[str, dict[str, float]]:
    """Time of reading two answers to one prompt together relative to reading each separately."""
    model, (token_ids, codes) = load_model("smollm2"), text(n_prompt + n_answer, n_answer)
    answers = []
    for seed in range(2):
        own = token_ids[0].numpy().copy()
        own[n_prompt:] = np.random.default_rng(seed).integers(10, 40000, n_answer)
        answers.append(Rendered("", own, codes[0], np.zeros((len(own), 2), dtype=np.int64), n_prompt))

    def separately(model: Model, *, detail: bool) -> None:
        for answer in answers:
            force(model, [answer], detail=detail)

    found = {}
    for name, detail in (("masses", False), ("everything", True)):
        one, other = twin(model), twin(model)
        runs: dict[str, Callable[[], object]] = {
            "separate": functools.partial(separately, one, detail=detail),
            "together": functools.partial(force, other, answers, detail=detail),
        }
        stops = [*decoder_blocks(one.model), *decoder_blocks(other.model)]
        times = in_turn(runs, stops, go_on=pace.rounds(), now=pace.now)
        found[name] = summary(over(times, "separate")["together"])
    print(f"two answers of one {n_prompt}-token prompt: {shown(found)}", flush=True)
    return found


def hidden_states(pace: Pace) -> dict[str, dict[str, float]]:
    """Time of reading masses and hidden states at eight layers relative to reading masses, given and generated."""
    model, found = load_model("smollm2"), {}
    for size in ((128, 48), (512, 64), (2048, 128)):
        token_ids, codes = text(*size)
        twins = {"without": (twin(model), ()), "with": (twin(model), STATES)}
        runs: dict[str, Callable[[], object]] = {
            way: functools.partial(once, one, "masses", token_ids, codes, states=states)
            for way, (one, states) in twins.items()
        }
        stops = [block for one, _ in twins.values() for block in decoder_blocks(one.model)]
        times = in_turn(runs, stops, go_on=pace.rounds(), now=pace.now)
        found["/".join(map(str, size))] = summary(over(times, "without")["with"])
    found["generating"] = _generating_states(model, pace)
    print(f"hidden states at {len(STATES)} layers, over masses alone: {shown(found)}", flush=True)
    return found


def _generating_states(model: Model, pace: Pace, n_new: int = 64) -> dict[str, float]:
    token_ids, codes = text(200, 0)
    options = {"max_new_tokens": n_new, "min_new_tokens": n_new, "do_sample": False, "pad_token_id": 0}

    def run(one: Model, states: tuple[int, ...]) -> None:
        with listening(one, "masses", codes, rows=True, states=states):
            one.model.generate(token_ids, attention_mask=torch.ones_like(token_ids), **options)  # type: ignore[operator]

    twins = {"without": (twin(model), ()), "with": (twin(model), STATES)}
    runs = {way: functools.partial(run, *one) for way, one in twins.items()}
    stops = [decoder_of(one.model) for one, _ in twins.values()]
    return summary(over(in_turn(runs, stops, go_on=pace.rounds(), now=pace.now), "without")["with"])


def forget_peak() -> None:
    """Let the kernel count this process's peak memory from here, so that loading the model does not hide a pass."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_so_far() -> float:
    """Peak resident memory in MiB, since it was last forgotten where the kernel can do that."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak(way: str, n_tokens: int, n_rows: int) -> float:
    """Peak resident memory in MiB of a process that runs one text once."""
    return float(in_a_process("--peak", way, f"{n_tokens}/{n_rows}"))


def memory(sizes: list[tuple[int, int]], n_rounds: int) -> list[dict[str, Any]]:
    """Return the peak memory of each way above that of the bare pass."""
    results = []
    for n_tokens, n_rows in sizes:
        peaks = {way: statistics.median(peak(way, n_tokens, n_rows) for _ in range(n_rounds)) for way in WAYS}
        extra = {way: value - peaks["bare"] for way, value in peaks.items() if way != "bare"}
        results.append({"tokens": n_tokens, "rows": n_rows, "bare_mib": peaks["bare"], "extra_mib": extra})
        listed = ", ".join(f"{way} {value:+.0f} MiB" for way, value in extra.items())
        print(f"memory {n_tokens}/{n_rows}: bare {peaks['bare']:.0f} MiB; {listed}", flush=True)
    return results


def parsed_size(size: str) -> tuple[int, int]:
    """Return tokens and rows of a size such as 512/64."""
    n_tokens, n_rows = size.split("/")
    return int(n_tokens), int(n_rows)


def one_peak(way: str, n_tokens: int, n_rows: int) -> float:
    """Return the peak resident memory in MiB of one text in this process."""
    model = load_model("smollm2")
    # The self-check of a model's first use is not part of the cost of a pass; every process does it.
    for first in WAYS:
        once(model, first, *text(64, 8))
    forget_peak()
    once(model, way, *text(n_tokens, n_rows))
    return peak_so_far()


def parsed() -> argparse.Namespace:
    """Return the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=parsed_size, nargs="*", default=list(SIZES), metavar="T/R")
    parser.add_argument("--memory", type=parsed_size, nargs="*", default=[(2048, 128), (8192, 128)], metavar="T/R")
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS), help="leave the other parts out")
    parser.add_argument(
        "--seconds", type=float, default=60, help="of each comparison in each process, three rounds at least"
    )
    parser.add_argument("--processes", type=int, default=3, help="for every size of forward passes, and for memory")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the forward passes")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "reading.json")
    parser.add_argument("--forward", type=parsed_size, metavar="T/R", help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "T/R"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print and store."""
    arguments = parsed()
    pace = Pace(arguments.clock, arguments.seconds)
    if arguments.forward:
        print(
            json.dumps(
                forward(arguments.forward, pace, seed=arguments.seed, whole=arguments.whole, dtype=arguments.dtype)
            )
        )
        return
    if arguments.peak:
        print(one_peak(arguments.peak[0], *parsed_size(arguments.peak[1])))
        return
    parts: dict[str, Callable[[], object]] = {
        "forward": lambda: forward_passes(arguments.sizes, arguments),
        "states": lambda: hidden_states(pace),
        "tools": lambda: tools(pace),
        "generate": lambda: generating(pace),
        "sharing": lambda: sharing(pace),
        "memory": lambda: memory(arguments.memory, arguments.processes),
    }
    result = {
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "clock": arguments.clock,
        "ceilings": {
            name: {str(key): value for key, value in ceiling.items()} if isinstance(ceiling, dict) else ceiling
            for name, ceiling in CEILINGS.items()
        },
    }
    result |= {part: parts[part]() for part in PARTS if part in arguments.only}
    arguments.to.parent.mkdir(exist_ok=True)
    arguments.to.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(arguments.to)


if __name__ == "__main__":
    main()
