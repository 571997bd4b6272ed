"""How often early curves say something of noise, and how close "told by" is to the token from which a signal exists.

    python benchmarks/planted_curves.py                     # 100 studies of noise, 100 of each planted family
    python benchmarks/planted_curves.py --studies 20 --families attention

Runs are those of the tests: 120 samples, answers of 12 to 40 tokens, 2 layers of 2 heads, hidden states of 2 layers and
3 pools, one direction, log-probabilities. A planted family carries the label from token 8 on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from scipy.stats import binomtest
from tqdm import tqdm

import foretell

RESULTS = Path(__file__).parent / "results"
SINCE = 8
CLOSE = (4, 8, 16)
"""Moments within one checkpoint of the planted one."""
NOISE = "nothing"
FAMILIES = ("attention", "hidden states", "activity")
SETTINGS: dict[str, Any] = {"n_trees": 3, "n_permutations": 0, "n_jobs": 1, "progress": False, "compute": False}


def first_moments(family: str, seed: int, effect: float) -> dict[str, int | None]:
    """Return when each family of signals tells the label in one study."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.stats.runs import planted_run

    planted = [] if family == NOISE else [family]
    with tempfile.TemporaryDirectory() as folder:
        run = planted_run(Path(folder) / "run", planted=planted, since=SINCE, effect=effect, seed=seed)
        return dict(foretell.study(run, **SETTINGS).told_by.select("signal", "n_generated").iter_rows())


def summary(family: str, found: Sequence[dict[str, int | None]]) -> dict[str, Any]:
    """Return how often anything was told, or how often the planted family was told within one checkpoint."""
    if family == NOISE:
        right = sum(all(after is None for after in one.values()) for one in found)
        return {"planted": family, "empty": _share(right, len(found)), "told": Counter(_detected(found))}
    at = [one[family] for one in found]
    close, said = sum(after in CLOSE for after in at), [after for after in at if after is not None]
    others = sum(one[name] is not None for one in found for name in one if name not in {family, "all"})
    counts = pl.Series(said, dtype=pl.Int64).value_counts().sort("").rows()
    return {
        "planted": family,
        "found": _share(len(said), len(found)),
        "within one checkpoint": _share(close, len(found)),
        "too early": sum(after < CLOSE[0] for after in said),
        "others told": others,
        "told by": dict(counts),
    }


def _detected(found: Sequence[dict[str, int | None]]) -> list[str]:
    return [name for one in found for name, after in one.items() if after is not None]


def _share(count: int, n: int) -> str:
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return f"{count} of {n} ({interval.low:.3f} to {interval.high:.3f})"


def main() -> None:
    """Make the studies and print what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--families", default=",".join((NOISE, *FAMILIES)), help="comma-separated; nothing is noise")
    parser.add_argument("--effect", type=float, default=2.5, help="in standard deviations of one column")
    parser.add_argument("--first-seed", type=int, default=5000)
    chosen = parser.parse_args()
    results = []
    for family in chosen.families.split(","):
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.studies)
        found = [first_moments(family, seed, chosen.effect) for seed in tqdm(seeds, desc=family, unit="study")]
        results.append(summary(family, found))
        print(json.dumps(results[-1]))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "planted_curves.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
