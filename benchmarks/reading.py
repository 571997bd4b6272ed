r"""What listening costs on top of the bare fused forward pass of the same model, side by side in one run.

    python benchmarks/reading.py                    # every row, some 30 minutes
    python benchmarks/reading.py --rounds 3 --processes 1 --sizes 512/64 --no-memory --clock cpu

Work is one text of T tokens whose last R are the answer, batch 1, no language-model head. Every round runs all ways
once, in turn, so that a slow spell of the machine hits all of them; a ratio is the median over rounds of a way's time
over the bare pass's time in the same round (texts of 2,048 tokens and more run half as many rounds). The C library
gives large freed memory back to the system, and how much of it depends on how a process's memory came to lie: 100,000
page faults more or less in a pass, one or two points for as long as the process runs. So every size runs in several
processes, and the median over them stands before their range; then once more in one that keeps what is freed, where a
pass has hardly any, without the other tools, whose time is mostly those. Generating 64 tokens is compared with
`generate` alone, and two answers of one prompt, read together, with reading each by itself. Memory is the peak of a
process of its own, less that of the bare pass, the median of several; all of them do the model's self-check first.
Rows are weighed by compiled code where there is a C compiler; `FORETELL_COMPILE=0` shows what it is without.
`--clock cpu` counts processor seconds instead of the clock on the wall, for machines that others use too.

transformer-lens and nnsight take part where they are installed. They ask for other versions of what foretell uses, so
give them an environment of their own that looks into this one:

    python -m venv peers && peers/bin/pip install transformer-lens nnsight
    echo "import site; site.addsitedir('$PWD/.venv/lib/python3.11/site-packages')" \
        > peers/lib/python3.11/site-packages/project.pth
    peers/bin/python benchmarks/reading.py
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
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

from foretell.reading.answering import force
from foretell.reading.attention import attention_named
from foretell.reading.embedded import smollm2_folder
from foretell.reading.listening import listen
from foretell.reading.models import Model, load_model
from foretell.reading.quiet import quiet
from foretell.reading.rendered import Rendered
from foretell.reading.residual import decoder_of
from foretell.reading.strips import strip_library

SIZES = ((128, 48), (512, 64), (1024, 64), (2048, 128), (4096, 128))
WAYS = ("bare", "masses", "everything", "eager")
REACH = {
    "masses": {(128, 48): 1.10, (512, 64): 1.05, (1024, 64): 1.03, (2048, 128): 1.03, (4096, 128): 1.02},
    "everything": {(512, 64): 1.10, (1024, 64): 1.06, (2048, 128): 1.05, (4096, 128): 1.05},
}
LONGEST_EAGER = 2048
LONG = 2048
"""Tokens from which a text runs half as many rounds."""
KEEPING = {"MALLOC_TRIM_THRESHOLD_": str(1 << 36), "MALLOC_MMAP_THRESHOLD_": str(1 << 36)}
"""Environment in which the GNU C library keeps what is freed; other C libraries do not know it."""


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
def listening(model: Model, way: str, codes: np.ndarray) -> Iterator[Any]:
    """Listen in the given way, and build what was heard before leaving."""
    if way == "bare":
        yield None
        return
    all_of_it = way == "everything"
    options = {"contribution": all_of_it, "entropy": all_of_it, "rows": False}
    with listen(model, codes, directions=[made_up_direction(model)], **options) as heard:
        yield heard
        _ = heard.mass, heard.lift, heard.activity, heard.contribution, heard.attention_entropy


def once(model: Model, way: str, token_ids: torch.Tensor, codes: np.ndarray) -> None:
    """Run one text in one way."""
    decoder = decoder_of(model.model)
    with torch.inference_mode():
        if way == "eager":
            with attention_named(model.model, lambda _: "eager"):
                attentions = model.model(
                    token_ids, output_attentions=True, use_cache=False, logits_to_keep=1
                ).attentions
            for one in attentions:
                for code in range(5):
                    _ = one[0, :, codes[0] == 4][:, :, codes[0] == code].sum(-1).mean(-1)
            return
        with listening(model, way, codes):
            decoder(input_ids=token_ids, use_cache=False)


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def compared(runs: dict[str, Callable[[], object]], n_rounds: int, clock: str) -> dict[str, list[float]]:
    """Run all ways once to warm up, then in turn, and return the seconds of each."""
    now = CLOCKS[clock]
    times: dict[str, list[float]] = {way: [] for way in runs}
    for run in runs.values():
        run()
    for _ in range(n_rounds):
        for way, run in runs.items():
            started = now()
            run()
            times[way].append(now() - started)
    return times


def ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """Median over rounds of each way's time over that of the first one."""
    bare = next(iter(times.values()))
    return {
        way: statistics.median(one / base for one, base in zip(values, bare, strict=True))
        for way, values in times.items()
        if values
    }


def forward_pass(model: Model, size: tuple[int, int], n_rounds: int, clock: str, *, alone: bool) -> dict[str, Any]:
    """Time every way at one size, in this process; alone leaves out what collects whole attention weights."""
    n_tokens, n_rows = size
    token_ids, codes = text(n_tokens, n_rows)
    collects = n_tokens <= LONGEST_EAGER and not alone
    runs: dict[str, Callable[[], object]] = {
        way: functools.partial(once, model, way, token_ids, codes) for way in WAYS if way != "eager" or collects
    }
    if collects:
        runs |= {name: make(token_ids, codes) for name, make in outside_tools().items()}
    times = compared(runs, n_rounds if n_tokens < LONG else max(3, n_rounds // 2), clock)
    return {"bare_seconds": statistics.median(times["bare"]), "ratios": ratios(times)}


def forward_passes(sizes: list[tuple[int, int]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every size in several processes of its own, and return medians over them."""
    results = []
    for n_tokens, n_rows in sizes:
        wanted = ("--rounds", str(arguments.rounds), "--clock", arguments.clock, "--forward", f"{n_tokens}/{n_rows}")
        found = [json.loads(in_a_process(*wanted)) for _ in range(arguments.processes)]
        every = {way: [one["ratios"][way] for one in found] for way in found[0]["ratios"]}
        results.append(
            {
                "tokens": n_tokens,
                "rows": n_rows,
                "bare_seconds": statistics.median(one["bare_seconds"] for one in found),
                "ratios": {way: statistics.median(values) for way, values in every.items()},
                "ratios_of_processes": every,
                "keeping_freed_memory": json.loads(in_a_process(*wanted, "--alone", environment=KEEPING)),
                "reach": {
                    way: sizes_[n_tokens, n_rows] for way, sizes_ in REACH.items() if (n_tokens, n_rows) in sizes_
                },
            }
        )
        print(as_lines(results[-1]), flush=True)
    return results


def as_lines(found: dict[str, Any]) -> str:
    """Return what was found at one size, usually and where freed memory is kept, a line each."""
    kept = found["keeping_freed_memory"]
    ranges = ", ".join(
        f"{way} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        for way, values in found["ratios_of_processes"].items()
        if way != "bare"
    )
    ratios_kept = ", ".join(f"{way} {ratio:.3f}" for way, ratio in kept["ratios"].items() if way != "bare")
    return (
        f"{found['tokens']}/{found['rows']}: bare {found['bare_seconds']:.3f} s; {ranges}\n"
        f"    where freed memory is kept: bare {kept['bare_seconds']:.3f} s; {ratios_kept}"
    )


def in_a_process(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Return the last line that this script prints in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    variables = os.environ | (environment or {})
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=variables)
    return done.stdout.splitlines()[-1]


def outside_tools() -> dict[str, Callable[[torch.Tensor, np.ndarray], Callable[[], object]]]:
    """Other tools that are installed, as functions of a text that return what runs it and adds up the masses."""
    found: dict[str, Callable[[torch.Tensor, np.ndarray], Callable[[], object]]] = {}
    if importlib.util.find_spec("transformer_lens"):
        from transformer_lens import TransformerBridge  # type: ignore[import-not-found,unused-ignore]

        with quiet():
            lens = TransformerBridge.boot_transformers(str(smollm2_folder()), device="cpu", dtype=torch.float32)

        def patterns(token_ids: torch.Tensor, codes: np.ndarray) -> Callable[[], object]:
            rows, inside = rows_and_segments(codes)

            def run() -> list[torch.Tensor]:
                with torch.no_grad():
                    _, cache = lens.run_with_cache(
                        token_ids, names_filter=lambda name: name.endswith("hook_pattern"), return_type=None
                    )
                return [(cache[name][0, :, rows] @ inside).mean(1) for name in cache]

            return run

        found["transformer-lens"] = patterns
    if importlib.util.find_spec("nnsight"):
        from nnsight import LanguageModel  # type: ignore[import-not-found,unused-ignore]

        traced = load_model("smollm2")
        traced.model.set_attn_implementation("eager")
        wrapped = LanguageModel(traced.model, tokenizer=traced.tokenizer)

        def inside_trace(token_ids: torch.Tensor, codes: np.ndarray) -> Callable[[], object]:
            rows, inside = rows_and_segments(codes)

            def run() -> list[Any]:
                kept = []
                with torch.no_grad(), wrapped.trace(token_ids):
                    for block in wrapped.model.layers:
                        kept.append((block.self_attn.output[1][0, :, rows] @ inside).mean(1).save())
                return kept

            return run

        found["nnsight"] = inside_trace
    return found


def rows_and_segments(codes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are rows, and 1 where a token belongs to a segment."""
    return torch.from_numpy(codes[0] == 4), torch.from_numpy((codes[0][:, None] == np.arange(5)).astype(np.float32))


def generating(model: Model, n_rounds: int, clock: str, n_new: int = 64) -> dict[str, float]:
    """Time of `generate` with listening over that without."""
    token_ids, codes = text(200, 0)
    options = {"max_new_tokens": n_new, "min_new_tokens": n_new, "do_sample": False, "pad_token_id": 0}

    def run(way: str) -> None:
        all_of_it = way == "everything"
        with torch.inference_mode(), contextlib.ExitStack() as stack:
            if way != "bare":
                direction = [made_up_direction(model)]
                stack.enter_context(
                    listen(model, codes, directions=direction, contribution=all_of_it, entropy=all_of_it)
                )
            model.model.generate(token_ids, attention_mask=torch.ones_like(token_ids), **options)  # type: ignore[operator]

    ways = ("bare", "masses", "everything")
    found = ratios(compared({way: functools.partial(run, way) for way in ways}, n_rounds, clock))
    print(f"generating {n_new} tokens: masses {found['masses']:.3f}, everything {found['everything']:.3f}", flush=True)
    return found


def sharing(model: Model, n_rounds: int, clock: str, n_prompt: int = 512, n_answer: int = 64) -> dict[str, float]:
    """Time of reading two answers to one prompt together over that of reading each by itself."""
    token_ids, codes = text(n_prompt + n_answer, n_answer)
    answers = []
    for seed in range(2):
        own = token_ids[0].numpy().copy()
        own[n_prompt:] = np.random.default_rng(seed).integers(10, 40000, n_answer)
        answers.append(Rendered("", own, codes[0], np.zeros((len(own), 2), dtype=np.int64), n_prompt))
    found: dict[str, float] = {}
    for name, detail in (("masses", False), ("everything", True)):
        separate = functools.partial(lambda detail: [force(model, [one], detail=detail) for one in answers], detail)
        together = functools.partial(force, model, answers, detail=detail)
        found[name] = ratios(compared({"separate": separate, "together": together}, n_rounds, clock))["together"]
    shown = ", ".join(f"{name} {ratio:.3f}" for name, ratio in found.items())
    print(f"two answers of one {n_prompt}-token prompt: {shown}", flush=True)
    return found


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
        peaks = {
            way: statistics.median(peak(way, n_tokens, n_rows) for _ in range(n_rounds))
            for way in ("bare", "masses", "everything")
        }
        extra = {way: value - peaks["bare"] for way, value in peaks.items() if way != "bare"}
        results.append({"tokens": n_tokens, "rows": n_rows, "bare_mib": peaks["bare"], "extra_mib": extra})
        shown = ", ".join(f"{way} {value:+.0f} MiB" for way, value in extra.items())
        print(f"memory {n_tokens}/{n_rows}: bare {peaks['bare']:.0f} MiB; {shown}", flush=True)
    return results


def parsed_size(size: str) -> tuple[int, int]:
    """Return tokens and rows of a size such as 512/64."""
    n_tokens, n_rows = size.split("/")
    return int(n_tokens), int(n_rows)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", type=parsed_size, nargs="*", default=list(SIZES))
    parser.add_argument("--memory", type=parsed_size, nargs="*", default=[(2048, 128), (8192, 128)], metavar="T/R")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--no-generate", action="store_true")
    parser.add_argument("--no-sharing", action="store_true")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--processes", type=int, default=3, help="for every size of forward passes, and for memory")
    parser.add_argument("--forward", type=parsed_size, metavar="T/R", help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "T/R"), help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "reading.json")
    arguments = parser.parse_args()
    model = load_model("smollm2")
    if arguments.forward:
        found = forward_pass(model, arguments.forward, arguments.rounds, arguments.clock, alone=arguments.alone)
        print(json.dumps(found))
        return
    if arguments.peak:
        way, size = arguments.peak
        # The self-check of a model's first use is no part of what a pass costs; every process does it.
        for first in ("bare", "masses", "everything"):
            once(model, first, *text(64, 8))
        forget_peak()
        once(model, way, *text(*parsed_size(size)))
        print(peak_so_far())
        return
    result = {
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "compiled": strip_library() is not None,
        "clock": arguments.clock,
        "forward": forward_passes(arguments.sizes, arguments),
        "generate": None if arguments.no_generate else generating(model, arguments.rounds, arguments.clock),
        "sharing": None if arguments.no_sharing else sharing(model, arguments.rounds, arguments.clock),
        "memory": None if arguments.no_memory else memory(arguments.memory, arguments.processes),
        "reach": {"generate": 1.10, "sharing": 0.65, "extra_mib": {"2048": 16, "8192": 64}},
    }
    arguments.to.parent.mkdir(exist_ok=True)
    arguments.to.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(arguments.to)


if __name__ == "__main__":
    main()
