"""Cost of listening on a GPU, on random Llama models of 1 to 8 billion parameters in bfloat16.

    python benchmarks/reading_gpu.py                               # 1b at 2k to 32k tokens
    python benchmarks/reading_gpu.py --model 8b --tokens 2048 8192 32768

No weights are downloaded: sizes are those of the public models, numbers are random. Each round runs the bare fused pass
and the listening ones in turn, timed by CUDA events; a ratio is the median over rounds. Memory is the allocator's peak
above the bare pass. The target is 1.05 times the bare pass, with masses and activity.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from foretell.reading.capture.listen import listen
from foretell.reading.models.blocks import decoder_of

SHAPES: dict[str, dict[str, int]] = {
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "3b": {
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
WAYS = ("bare", "masses", "everything")
REACH = 1.05


class MadeUp:
    """A direction of the right shape."""

    concept = "made up"

    def __init__(self, n_layers: int, width: int) -> None:
        vectors = np.random.default_rng(1).normal(size=(n_layers, width)).astype(np.float32)
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.mean = np.zeros(n_layers, dtype=np.float32)
        self.standard_deviation = np.ones(n_layers, dtype=np.float32)


def random_model(size: str, longest: int, device: str) -> PreTrainedModel:
    """Return a Llama of a public model's shape with random weights."""
    settings: dict[str, Any] = {**SHAPES[size], "vocab_size": 32000, "max_position_embeddings": longest}
    torch.manual_seed(0)
    with torch.device(device):
        model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**settings))
    model.to(torch.bfloat16)  # type: ignore[arg-type]
    model.train(False)
    return model


def text(n_tokens: int, n_rows: int, device: str) -> tuple[torch.Tensor, np.ndarray]:
    """Return random tokens and their segments, the last `n_rows` generated."""
    generator = np.random.default_rng(0)
    codes = np.sort(generator.integers(0, 4, size=(1, n_tokens)), axis=1)
    codes[:, 0], codes[:, -n_rows:] = 3, 4
    return torch.from_numpy(generator.integers(10, 30000, size=(1, n_tokens))).to(device), codes


def once(model: PreTrainedModel, direction: MadeUp, way: str, token_ids: torch.Tensor, codes: np.ndarray) -> None:
    """Run one text in one way, and copy the results to the host."""
    decoder = decoder_of(model)
    with torch.inference_mode():
        if way == "bare":
            decoder(input_ids=token_ids, use_cache=False)
            return
        detail = way == "everything"
        with listen(model, codes, directions=[direction], contribution=detail, entropy=detail, rows=False) as capture:
            decoder(input_ids=token_ids, use_cache=False)
        _ = capture.mass, capture.lift, capture.activity, capture.contribution


def measured(run: Callable[[], None]) -> tuple[float, float]:
    """Return milliseconds by CUDA events and the allocator's peak in MiB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()  # type: ignore[no-untyped-call,unused-ignore]
    run()
    end.record()  # type: ignore[no-untyped-call,unused-ignore]
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)), torch.cuda.max_memory_allocated() / 2**20  # type: ignore[no-untyped-call,unused-ignore]


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SHAPES), default="1b")
    parser.add_argument("--tokens", type=int, nargs="*", default=[2048, 8192, 32768])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "reading_gpu.json")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "no CUDA device is here\n")
    model = random_model(arguments.model, max(arguments.tokens), "cuda")
    direction = MadeUp(model.config.num_hidden_layers, model.config.hidden_size)
    results = []
    for n_tokens in arguments.tokens:
        token_ids, codes = text(n_tokens, arguments.rows, "cuda")
        runs = {way: functools.partial(once, model, direction, way, token_ids, codes) for way in WAYS}
        for run in runs.values():
            run()
        rounds = [{way: measured(run) for way, run in runs.items()} for _ in range(arguments.rounds)]
        found = {
            way: {
                "ratio": statistics.median(one[way][0] / one["bare"][0] for one in rounds),
                "milliseconds": statistics.median(one[way][0] for one in rounds),
                "extra_mib": max(one[way][1] for one in rounds) - max(one["bare"][1] for one in rounds),
            }
            for way in WAYS
        }
        results.append({"tokens": n_tokens, "rows": arguments.rows, "ways": found, "reach": REACH})
        shown = ", ".join(f"{way} {one['ratio']:.3f} x {one['extra_mib']:+.0f} MiB" for way, one in found.items())
        print(f"{arguments.model} {n_tokens}/{arguments.rows}: {shown}", flush=True)
    result = {
        "device": torch.cuda.get_device_name(),
        "model": arguments.model,
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "forward": results,
    }
    arguments.to.parent.mkdir(exist_ok=True)
    arguments.to.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(arguments.to)


if __name__ == "__main__":
    main()
