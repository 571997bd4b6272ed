"""Time of a whole study, with all statistics and the report, on a table of the usual size.

    python benchmarks/whole_study.py            # 76,800 rows: 300 samples, 256 heads, three datasets
    python benchmarks/whole_study.py --samples 5000 --layers 32 --heads 32

The table is made by the script: shares of three segments with a fingerprint per sample, a weak effect in one head, and
the baseline columns. It also prints the ratio to the time of one forest in the source's protocol, measured in the same
run, because machines differ and forests take most of a study; with millions of rows such a forest alone takes more than
ten minutes, and is left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import RandomForestClassifier

import foretell
from foretell.schema.tables import SHARES

RESULTS = Path(__file__).parent / "results"
MOST_ROWS_OF_FOREST = 1_000_000
DATASETS = ("alpaca", "flan", "sharegpt")


def table(n_samples: int, n_layers: int, n_heads: int, *, seed: int = 0) -> pl.DataFrame:
    """Return a table with the source's columns, a stratum, lengths and log-probability."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 2, n_samples)
    fingerprint = generator.gamma(6.0, size=(n_samples, 1, 1, 3))
    raw = fingerprint * generator.gamma(8.0, size=(n_samples, n_layers, n_heads, 3))
    raw[:, 0, 0, 0] *= 1.0 + 0.3 * label
    shares = raw / raw.sum(axis=-1, keepdims=True)
    sample, layer, head = (axis.ravel() for axis in np.indices(shares.shape[:3]))
    samples = {
        "behavior_label": label,
        "stratum": generator.choice(["length", "words", "case"], n_samples),
        "n_tokens_prompt": generator.integers(5, 40, n_samples),
        "n_tokens_generated": generator.integers(5, 48, n_samples),
        "mean_logprob": -generator.gamma(2.0, size=n_samples),
    }
    return pl.DataFrame(
        {
            "id": [f"s{index}" for index in sample],
            "dataset": [DATASETS[index % len(DATASETS)] for index in sample],
            "layer": layer,
            "head": head,
            **{name: shares[..., index].ravel() for index, name in enumerate(SHARES)},
            **{name: values[sample] for name, values in samples.items()},
        }
    )


def source_forest(frame: pl.DataFrame) -> float:
    """Return the seconds that the source's forest takes on all datasets, fitted once each."""
    start = time.perf_counter()
    for _, part in frame.group_by("dataset"):
        forest = RandomForestClassifier(n_estimators=200, random_state=0, n_jobs=2)
        forest.fit(part.select(SHARES).to_numpy(), part["behavior_label"].to_numpy())
    return time.perf_counter() - start


def timed(path: Path, folder: Path) -> dict[str, float]:
    """Return what a study from a file to its report takes in this process."""
    start = time.perf_counter()
    result = foretell.study(path, progress=True)
    tested = time.perf_counter()
    foretell.report(result, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    seconds = {"study_seconds": tested - start, "report_seconds": time.perf_counter() - tested}
    return {name: round(value, 1) for name, value in {**seconds, "peak_gib": peak}.items()}


def main() -> None:
    """Time one study from a file to its report, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--heads", type=int, default=16)
    options = parser.parse_args()
    frame = table(options.samples, options.layers, options.heads)
    n_rows, forest = frame.height, source_forest(frame) if frame.height <= MOST_ROWS_OF_FOREST else None
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.parquet"
        frame.write_parquet(path)
        del frame
        # A process of its own, so that its peak memory is that of the study.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            study = pool.submit(timed, path, Path(name) / "out").result()
    seconds = study["study_seconds"] + study["report_seconds"]
    numbers = {
        "rows": n_rows,
        **study,
        "source_forest_seconds": None if forest is None else round(forest, 1),
        "ratio_to_source_forest": None if forest is None else round(seconds / forest, 2),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {package: version(package) for package in ("foretell", "scikit-learn", "numpy", "polars")},
    }
    print(json.dumps(numbers, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "whole_study.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
