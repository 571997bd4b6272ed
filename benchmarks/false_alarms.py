"""How often the false-positive rate of a monitor's threshold exceeds what it was asked for.

    python benchmarks/false_alarms.py [--splits 1000]

In each of many worlds, populations of groups are made whose scores depend on each other within a group and an answer;
each split draws calibration groups, finds the threshold, and looks at the share of a large set of new groups with a
false alarm at any of the scored moments. The share of splits where that exceeds the wanted rate must not be above
1 - confidence.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from scipy.stats import binom

from foretell.monitors.alarm_threshold import alarm_threshold, highest_by_group, negatives_needed

RESULTS = Path(__file__).parent / "results"
N_NEW = 200_000


def highest(generator: np.random.Generator, n: int, most: int, n_moments: int, values: int | None) -> np.ndarray:
    """Return the highest score of each of n groups of 1 to `most` answers, scored at so many moments."""
    size = generator.integers(1, most + 1, n)
    group = np.repeat(np.arange(n), size)
    base = generator.normal(size=n)[group] + generator.normal(size=len(group))
    score = np.full(len(group), -np.inf)
    for _ in range(n_moments):
        score = np.maximum(score, base + generator.standard_t(3, size=len(group)))
    if values is not None:
        score = np.clip(np.round(score), 0, values)
    return highest_by_group(score, group)


def exceeded(n: int, rate: float, confidence: float, world: tuple[int, int, int | None], n_splits: int) -> int:
    """Return in how many splits the realised rate is above the wanted one."""
    generator = np.random.default_rng([n, int(rate * 1e4), *map(int, (world[0], world[1], world[2] or 0))])
    population = np.sort(highest(generator, N_NEW, *world))
    count = 0
    for _ in range(n_splits):
        found = alarm_threshold(highest(generator, n, *world), max_false_positive_rate=rate, confidence=confidence)
        assert found.score is not None  # noqa: S101
        realised = 1 - np.searchsorted(population, found.score, side="right") / N_NEW
        count += bool(realised > rate)
    return count


def main() -> None:
    """Print the share of splits in each world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=1000)
    n_splits = parser.parse_args().splits
    rows = []
    for (rate, confidence), most, n_moments, values in itertools.product(
        ((0.01, 0.95), (0.05, 0.95), (0.1, 0.9)), (1, 12), (1, 7), (None, 3)
    ):
        needed = negatives_needed(rate, confidence)
        for n in (needed, 3 * needed + 1):
            count = exceeded(n, rate, confidence, (most, n_moments, values), n_splits)
            # What chance allows where the truth is exactly 1 - confidence, in one of a thousand worlds
            is_within = count <= binom.ppf(0.999, n_splits, 1 - confidence)
            rows.append(
                {
                    "rate": rate,
                    "confidence": confidence,
                    "groups": n,
                    "answers per group": f"1 to {most}" if most > 1 else "1",
                    "moments": n_moments,
                    "values": values,
                    "exceeded": count / n_splits,
                    "within": bool(is_within),
                }
            )
            print(*(f"{name} {value}" for name, value in rows[-1].items()), sep="; ", flush=True)
    worst = max(rows, key=lambda row: float(row["exceeded"]) - (1 - float(row["confidence"])))
    print(f"{sum(bool(row['within']) for row in rows)} of {len(rows)} worlds within; the worst: {worst}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "false_alarms.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
