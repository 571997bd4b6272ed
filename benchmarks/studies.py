"""How often whole studies say something of noise, and how often they find what was planted.

    python benchmarks/studies.py --null 110 --planted 20          # studies per world
    python benchmarks/studies.py --keep /tmp/studies.jsonl        # goes on where it was interrupted

Each study runs with all its detectors, baselines, forests and permutations (fewer trees and permutations than by
default). The table gives, per world, the share of studies that say *signal* or *weak signal* anywhere under each
procedure for one error rate: Hommel's (which foretell uses), Holm's, and one primary signal per dataset (all heads)
with the others tested only where it is significant.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

import foretell
from foretell.stats.verdicts.error_rate import adjusted, holm
from foretell.stats.verdicts.rules import Evidence, usable_p
from study_worlds import NULL, PLANTED, World

RESULTS = Path(__file__).parent / "results"
QUICK: dict[str, Any] = {"n_trees": 20, "n_permutations": 199, "detector_repeats": 2, "n_jobs": 1, "progress": False}
RATE = 0.05
WORLDS = {world.name: world for world in (*NULL, *PLANTED)}


def primary(p: np.ndarray, names: Sequence[str]) -> bool:
    """Tell whether the primary signal of any dataset is significant by Holm's procedure over datasets."""
    own = np.array([value for value, name in zip(p, names, strict=True) if name == "all heads"])
    return bool(np.nanmin(np.append(holm(own), 1.0)) <= RATE)


def studied(job: tuple[str, int]) -> dict[str, Any]:
    """Run one study and return what it says."""
    name, seed = job
    world = WORLDS[name]
    table = world.make(np.random.default_rng([seed, *name.encode()]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = foretell.study(table, seed=seed, compute=False, **QUICK, **world.study)
        evidence: list[tuple[str, Evidence]] = [
            (dataset, one) for dataset, several in found.evidence.items() for one in several
        ]
        said = [one.verdict for several in found.found.values() for one in several]
    signals = [one.signal for _, one in evidence]
    p = np.array([usable_p(one) for _, one in evidence])
    return {
        "world": name,
        "seed": seed,
        "said": any(verdict in ("signal", "weak signal") for verdict in said),
        "leak": any(verdict == "leak" for verdict in said),
        "holm": bool(np.nanmin(np.append(holm(p), 1.0)) <= RATE),
        "primary": primary(p, signals),
        "found_by": [
            f"{dataset}: {one.signal}"
            for (dataset, one), value in zip(evidence, adjusted(p), strict=True)
            if value <= RATE
        ],
    }


def every(jobs: Sequence[tuple[str, int]], *, processes: int, keep: Path | None) -> list[dict[str, Any]]:
    """Return what every study says; with a file of results, only those that it lacks are run, and added to it."""
    lines = keep.read_text(encoding="utf-8").splitlines() if keep is not None and keep.exists() else []
    known = {(one["world"], one["seed"]): one for one in map(json.loads, lines)}
    missing = [job for job in jobs if job not in known]
    with ProcessPoolExecutor(processes) as pool:
        for one in tqdm(pool.map(studied, missing), total=len(missing), unit="study"):
            known[one["world"], one["seed"]] = one
            if keep is not None:
                with keep.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(one) + "\n")
    return [known[job] for job in jobs]


def summary(worlds: Sequence[World], results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per world, and one of all together."""
    rows = []
    for name in [*(world.name for world in worlds), "all"]:
        own = [one for one in results if name in ("all", one["world"])]
        if not own:
            continue
        counts = {key: sum(one[key] for one in own) for key in ("said", "holm", "primary", "leak")}
        ends = binomtest(counts["said"], len(own)).proportion_ci(method="wilson")
        by = Counter(signal for one in own for signal in one["found_by"])
        rows.append(
            {
                "world": name,
                "n": len(own),
                **{key: count / len(own) for key, count in counts.items()},
                "lower": ends.low,
                "upper": ends.high,
                "found_by": {signal: count / len(own) for signal, count in by.most_common(6)},
            }
        )
    return rows


def shown(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print a table."""
    print(f"\n| {title} | studies | say something, % (95 % interval) | Holm, % | primary, % | leak, % | most by |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        most = "; ".join(f"{signal} {100 * share:.0f}" for signal, share in list(row["found_by"].items())[:3])
        share, low, high, of_holm, of_primary, leak = (
            100 * row[key] for key in ("said", "lower", "upper", "holm", "primary", "leak")
        )
        print(
            f"| {row['world']} | {row['n']} | {share:.1f} ({low:.1f} to {high:.1f}) | {of_holm:.1f} | "
            f"{of_primary:.1f} | {leak:.1f} | {most} |"
        )


def main() -> None:
    """Run all worlds and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--null", type=int, default=110, metavar="N", help="studies per world of noise")
    parser.add_argument("--planted", type=int, default=20, metavar="N", help="studies per world with an effect")
    parser.add_argument("--only", nargs="*", metavar="WORLD", help="leave the other worlds out")
    parser.add_argument("--processes", type=int, default=max(os.cpu_count() or 1, 1))
    parser.add_argument("--keep", type=Path, metavar="FILE", help="JSON lines of studies that were run")
    parser.add_argument("--to", type=Path, default=RESULTS / "studies.json")
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "settings": QUICK,
        "versions": {name: version(name) for name in ("foretell", "numpy", "scikit-learn")},
        "python": platform.python_version(),
    }
    for kind, worlds, n in (("null", NULL, arguments.null), ("planted", PLANTED, arguments.planted)):
        chosen = [world for world in worlds if not arguments.only or world.name in arguments.only]
        jobs = [(world.name, seed) for seed in range(n) for world in chosen]
        results = every(jobs, processes=arguments.processes, keep=arguments.keep)
        report[kind] = summary(chosen, results)
        if report[kind]:
            shown(f"world ({kind})", report[kind])
    arguments.to.parent.mkdir(exist_ok=True)
    arguments.to.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
