"""Time of the per-head statistics and of a plain loop over pandas, scipy and scikit-learn, in one run.

    python benchmarks/association.py                 # 76,800 and 5 million rows, permutations
    python benchmarks/association.py --huge          # also 100 million rows: 2 GB of disk, some minutes

The loop groups with pandas and calls scipy and scikit-learn per head and metric; its interval is either a DeLong
variance in numpy or a bootstrap of 200 resamples. Where the loop would be slow it runs on the first heads only and is
extrapolated by their share; the table says so. Times are medians; memory is the peak of a separate process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from scipy import stats
from sklearn.metrics import roc_auc_score

from foretell.stats.auc.rank_sums import compiled_loops
from foretell.stats.heads.association import association
from foretell.stats.heads.max_statistic import max_statistic
from foretell.stats.heads.out_of_core import stream_association
from foretell.stats.table.joined import read_table

METRICS = ("PAM_norm", "QAM_norm", "SAM_norm")


def make_table(folder: Path, *, n_samples: int, n_layers: int, n_heads: int, seed: int = 0) -> Path:
    """Write a sorted table of one dataset, one Parquet file per layer, and return its folder."""
    generator = np.random.default_rng(seed)
    folder.mkdir()
    ids = pl.Series("id", [f"sample-{index:06d}" for index in range(n_samples)])
    label = generator.integers(0, 2, n_samples).astype(np.int8)
    for layer in range(n_layers):
        raw = generator.standard_gamma(2.0, size=(3, n_heads * n_samples), dtype=np.float32)
        raw /= raw.sum(axis=0)
        pl.DataFrame(
            {
                "id": pl.concat([ids] * n_heads),
                "dataset": pl.repeat("alpaca", n_heads * n_samples, eager=True),
                "layer": np.full(n_heads * n_samples, layer, dtype=np.int32),
                "head": np.repeat(np.arange(n_heads, dtype=np.int32), n_samples),
                **dict(zip(METRICS, raw, strict=True)),
                "behavior_label": np.tile(label, n_heads),
            }
        ).write_parquet(folder / f"layer-{layer:03d}.parquet", compression="lz4", row_group_size=1 << 20)
    return folder


def delong_interval(score: Any, label: Any) -> tuple[float, float]:
    """Return the 95 % Wald interval by DeLong's variance, as one would write it in numpy."""
    high, low = score[label == 1], score[label == 0]
    below = stats.rankdata(np.r_[high, low])[: high.size] - stats.rankdata(high)
    above = high.size - (stats.rankdata(np.r_[high, low])[high.size :] - stats.rankdata(low))
    area = below.mean() / low.size
    error = np.sqrt((below / low.size).var(ddof=1) / high.size + (above / high.size).var(ddof=1) / low.size)
    return area - 1.96 * error, area + 1.96 * error


def bootstrap_interval(score: Any, label: Any) -> tuple[float, float]:
    """Return the percentile interval of 200 resamples of `roc_auc_score`."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        chosen = generator.integers(0, label.size, label.size)
        found.append(roc_auc_score(label[chosen], score[chosen]))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def user_loop(frame: pd.DataFrame, interval: Callable[[Any, Any], tuple[float, float]]) -> pd.DataFrame:
    """Return the statistics per dataset, layer, head and metric, one scipy call at a time."""
    rows = []
    for key, part in frame.groupby(["dataset", "layer", "head"]):
        label = part["behavior_label"].to_numpy()
        for metric in METRICS:
            score = part[metric].to_numpy(dtype=np.float64)
            pearson, spearman = stats.pearsonr(score, label), stats.spearmanr(score, label)
            test = stats.mannwhitneyu(score[label == 1], score[label == 0])
            area = roc_auc_score(label, score)
            rows.append((*key, metric, *pearson, *spearman, area, *interval(score, label), test.pvalue))
    return pd.DataFrame(rows)


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of several runs after a warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def compare_with_loop(folder: Path, *, n_samples: int, n_layers: int, n_heads: int, n_looped: int) -> dict[str, Any]:
    """Time both ways on one table, the loop on its first heads."""
    table = make_table(
        folder / f"rows-{n_samples * n_layers * n_heads}", n_samples=n_samples, n_layers=n_layers, n_heads=n_heads
    )
    n_rows, n_columns = n_samples * n_layers * n_heads, n_layers * n_heads
    ours = timed(lambda: stream_association(table, n_permutations=0, progress=False), 7)
    single, text = folder / f"rows-{n_rows}.parquet", folder / f"rows-{n_rows}.csv"
    whole = pl.concat([pl.read_parquet(part) for part in sorted(table.glob("*.parquet"))])
    whole.write_parquet(single)
    whole.write_csv(text)
    from_single = timed(lambda: stream_association(single, n_permutations=0, progress=False), 7)
    from_text = timed(lambda: stream_association(text, n_permutations=0, progress=False), 3)
    memory = timed(lambda: association(read_table(single), n_permutations=0, progress=False), 3)
    permuted = timed(lambda: stream_association(table, n_permutations=1000, progress=False), 1)
    start = time.perf_counter()
    frame = pd.concat(pd.read_parquet(part) for part in sorted(table.glob("*.parquet")))
    reading = time.perf_counter() - start
    slice_of = frame[frame["layer"] * n_heads + frame["head"] < n_looped]
    loops = {}
    for interval in (delong_interval, bootstrap_interval):
        heads = n_looped if interval is delong_interval else max(1, n_looped // 16)
        part = slice_of[slice_of["layer"] * n_heads + slice_of["head"] < heads]
        start = time.perf_counter()
        user_loop(part, interval)
        loops[interval.__name__] = reading + (time.perf_counter() - start) * n_columns / heads
    return {
        "rows": n_rows,
        "columns": 3 * n_columns,
        "looped_heads_of": [n_looped, n_columns],
        "foretell_from_parts_s": ours,
        "foretell_from_one_parquet_file_s": from_single,
        "foretell_from_csv_s": from_text,
        "foretell_in_memory_table_s": memory,
        "foretell_with_1000_permutations_s": permuted,
        "loop_delong_s": loops["delong_interval"],
        "loop_bootstrap_s": loops["bootstrap_interval"],
        "ratio_delong": loops["delong_interval"] / ours,
        "ratio_bootstrap": loops["bootstrap_interval"] / ours,
    }


def permutations() -> dict[str, Any]:
    """Time 1,000 max-statistic permutations, and one ranking of the columns with scipy."""
    generator = np.random.default_rng(0)
    values, label = generator.normal(size=(1000, 3072)), generator.integers(0, 2, 1000)
    ours = timed(lambda: max_statistic(values, label, n_permutations=1000), 5)
    rank = timed(lambda: stats.rankdata(values, axis=0), 5)
    return {"permutations_s": ours, "scipy_rank_once_s": rank, "ratio": ours / rank}


def read_and_sort(folder: Path) -> None:
    """Read the columns part by part and sort each metric's columns once: a lower bound for the large benchmark."""
    for part in sorted(folder.glob("*.parquet")):
        frame = pl.read_parquet(part, columns=["id", "dataset", "layer", "head", *METRICS, "behavior_label"])
        n_heads = frame.get_column("head").n_unique()
        for metric in METRICS:
            np.sort(frame.get_column(metric).to_numpy().reshape(n_heads, -1), axis=1)


def peak_gib() -> float:
    """Return this process' peak memory; getrusage would show the parent's where that was larger."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _measured(work: Callable[[Path], Any], folder: Path, queue: Any) -> None:
    compiled_loops("auto")  # loading the compiled loops is part of start-up, like importing numpy
    start, used = time.perf_counter(), time.process_time()
    work(folder)
    queue.put((time.perf_counter() - start, time.process_time() - used, peak_gib()))


def alone(work: Callable[[Path], Any], folder: Path) -> tuple[float, float, float]:
    """Return seconds, processor seconds and peak GiB of some work in a separate process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measured, args=(work, folder, queue))
    process.start()
    result: tuple[float, float, float] = queue.get()
    process.join()
    return result


def stream(folder: Path) -> None:
    """Run the streamed statistics without permutations."""
    stream_association(folder, n_permutations=0, progress=False)


def huge(folder: Path) -> dict[str, Any]:
    """Time 100 million rows, and reading and sorting alone; a quarter of the layers shows the memory."""
    whole = make_table(folder / "whole", n_samples=25_000, n_layers=32, n_heads=125)
    quarter = make_table(folder / "quarter", n_samples=25_000, n_layers=8, n_heads=125)
    alone(stream, quarter)
    floor, floor_cpu, _ = alone(read_and_sort, whole)
    seconds, cpu, peak = alone(stream, whole)
    _, _, small = alone(stream, quarter)
    return {
        "rows": 100_000_000,
        "foretell_s": seconds,
        "read_and_sort_s": floor,
        "ratio": seconds / floor,
        "ratio_of_processor_seconds": cpu / floor_cpu,
        "peak_gib": peak,
        "peak_gib_quarter_of_the_layers": small,
    }


def main() -> None:
    """Run the benchmarks and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--huge", action="store_true", help="also 100 million rows")
    parser.add_argument("--only-huge", action="store_true", help="nothing but 100 million rows")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    names = ("numpy", "scipy", "scikit-learn", "polars", "pandas", "numba")
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} cores",
        "versions": {name: version(name) for name in names},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.only_huge:
            found["76,800 rows"] = compare_with_loop(folder, n_samples=300, n_layers=16, n_heads=16, n_looped=256)
            found["5 million rows"] = compare_with_loop(folder, n_samples=10_000, n_layers=20, n_heads=25, n_looped=32)
            found["permutations"] = permutations()
        if options.huge or options.only_huge:
            found["100 million rows"] = huge(folder)
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
