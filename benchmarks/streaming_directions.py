"""Memory of streamed fitting: synthetic activations of many pairs of a wide model, in one pass.

    python benchmarks/streaming_directions.py                  # 10,000 pairs, 32 layers of width 4,096
    python benchmarks/streaming_directions.py --pairs 2000     # quicker; the memory is nearly the same

A direction is planted in every layer, and its cosine with the fitted one is printed. Peak memory is that of the whole
process with interpreter and libraries, read from the operating system after the run. Calibration tokens are kept up to
`calibration_bytes`, and all that fitting does with them is done too: signs, scales, and scales of random directions.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from tqdm import tqdm

from foretell.directions.activations.paired import CALIBRATION_BYTES, Sink
from foretell.directions.components import RunningComponent
from foretell.directions.contrasts import Contrast, calibrated, oriented
from foretell.directions.random_directions import random_scale

BATCH = 250
SIGNAL = 0.5
"""Half the distance between both sides along the planted direction, in standard deviations of the noise."""


def main() -> None:
    """Stream synthetic rows into both sinks and print time, memory and cosines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--methods", choices=["mean-difference", "both"], default="both")
    options = parser.parse_args()
    before = peak_gib()
    generator = torch.Generator().manual_seed(0)
    planted = torch.randn((options.layers, options.width), generator=generator)
    planted /= planted.norm(dim=1, keepdim=True)
    contrast = Contrast()
    component = RunningComponent(options.layers, n_rows=options.pairs)
    sinks: tuple[Sink, ...] = (contrast,) if options.methods == "mean-difference" else (contrast, component)
    started = time.perf_counter()
    n_tokens = max(2, CALIBRATION_BYTES // (4 * options.layers * options.width))
    calibration = np.empty((n_tokens, options.layers, options.width), dtype=np.float32)
    for start in tqdm(range(0, options.pairs, BATCH), unit="batch", disable=None):
        n = min(BATCH, options.pairs - start)
        for layer in range(options.layers):
            hidden = torch.randn((n, 2, options.width), generator=generator)
            shift = SIGNAL * planted[layer]
            # A quarter of the pairs carries a larger shift, so that there is a first principal component.
            strength = 1.0 + 15.0 * (torch.rand((n, 1), generator=generator) < 0.25)
            hidden[:, 0] += strength * shift
            hidden[:, 1] -= strength * shift
            for sink in sinks:
                sink.add(layer, np.arange(start, start + n), hidden)
            rows = calibration[2 * start : 2 * (start + n), layer]
            rows[:] = hidden.reshape(-1, options.width)[: len(rows)].numpy()
    read = time.perf_counter() - started
    calibration = calibration[: 2 * options.pairs]
    found = {"mean-difference": np.stack([contrast.difference[layer] for layer in range(options.layers)])}
    if len(sinks) > 1:
        found["paired-component"] = component.vectors()
    scales = {name: calibrated(*oriented(vectors, contrast), calibration) for name, vectors in found.items()}
    random = random_scale(calibration)
    took = time.perf_counter() - started
    print(f"{options.pairs} pairs, {options.layers} layers of width {options.width}")
    print(f"peak memory {peak_gib():.2f} GiB ({before:.2f} GiB before the first row)")
    print(f"{read:.0f} s for the rows, made here too; {took - read:.0f} s for what was found")
    kept = f"{len(calibration)} tokens, {calibration.nbytes / 2**20:.0f} MiB"
    print(f"calibration: {kept}, {random.n_draws} random directions beside")
    for name, vectors in found.items():
        if any(scales[name].reasons):
            raise SystemExit(f"{name}: a layer has no scale: {scales[name].reasons}")
        cosine = np.abs((vectors * planted.numpy()).sum(axis=1)) / np.linalg.norm(vectors, axis=1)
        print(f"{name}: cosine with the planted direction, lowest of all layers {cosine.min():.4f}")


def peak_gib() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
