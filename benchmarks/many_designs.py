"""Coverage of every kind of 95 % interval in thirteen designs with at least 20 groups per label.

    python benchmarks/many_designs.py --studies 1000 --keep /tmp/blocks --write docs/concepts/coverage.md

Every study is simulated and analysed by the package's own functions, with small settings: few columns, two repeats,
few trees. The true value is the mean estimate over all studies of a design; of transfer it is the AUC of the fitted
detector. With `--keep`, blocks of 50 studies are stored, and a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.special import logit
from tqdm import tqdm

from detector_coverage import machine
from foretell.stats.auc.fold_auc import fold_auc, nested_increment
from foretell.stats.auc.intervals import Estimate, auc, auc_interval
from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import CrossValidation, HeldOutScores
from foretell.stats.detectors.learners import Linear
from foretell.stats.detectors.stages import Training, fit_stage
from foretell.stats.forest.importances import importances
from foretell.stats.forest.increment import ForestOfDataset, forest_increment
from foretell.stats.forest.measures import Objective
from foretell.stats.forest.random_forest import judge_forest
from foretell.stats.forest.thresholds import threshold_rules

BLOCK = 50
COLUMNS, REPEATS, HEADS, TREES = 5, 2, 4, 5
NONE, MEDIUM, STRONG = 0.0, 0.9, 1.6
"""Distance of the class means, in standard deviations."""

PAGE = """# Coverage in many designs

Share of 95 % intervals that cover the true value, in percent. Every label has at least 20 groups. *1 to 30*: groups
have 1 to 30 samples. Half of the variance is shared within a group. In *both labels*, labels and scores of a group
depend on each other; elsewhere a group has one label. Effects are none, medium and strong: the best possible AUC is
0.50, 0.74 and 0.87.

Studies per design, and the error of a percentage: {studies}.

The settings are small: {columns} columns, five folds, {repeats} repeats, {trees} trees, {heads} rows per sample. The
methods and more designs are in [intervals](intervals.md) and [held-out intervals](held-out-intervals.md).

{tables}

{words}

Increments have two repeats here, the fewest of a study; with five they cover more often, see
[held-out intervals](held-out-intervals.md). Where there is no effect they cover in 99 %: what repeats differ by widens
them, and where nothing at all is added the interval is that of independent scores. Where there is an effect they cover
in 91 to 97 %. The p-value decides, not the interval. The captions of the figures of detectors, forests, importances,
increments and threshold rules give these figures. Intervals of importances and of threshold rules are longer than they
need to be here. With 1.25 instead of 2.25 as the factor on their variance, that of Youden's index would cover in 92 to
98 %. The larger factor is kept, because without any the interval covers in as few as 83 % where a label has few
samples.

Made by `python benchmarks/many_designs.py --studies 1000 --write docs/concepts/coverage.md` ({machine}).
"""


@dataclass(frozen=True)
class Design:
    """One kind of simulated study."""

    words: str
    sizes: tuple[int, ...]
    """Samples of each group."""
    effect: float
    rate: float = 0.5
    """Share of the groups that are positive."""
    mixed: bool = False
    """Whether a group has both labels."""


_WIDE = tuple(range(1, 31))
DESIGNS = (
    Design("60 samples, no effect", (1,) * 60, NONE),
    Design("60 samples, medium", (1,) * 60, MEDIUM),
    Design("60 samples, strong", (1,) * 60, STRONG),
    Design("100 samples, medium", (1,) * 100, MEDIUM),
    Design("100 samples, a fifth positive, strong", (1,) * 100, STRONG, 0.2),
    Design("200 samples, a fifth positive, no effect", (1,) * 200, NONE, 0.2),
    Design("300 samples, medium", (1,) * 300, MEDIUM),
    Design("60 groups of 4, medium", (4,) * 60, MEDIUM),
    Design("60 groups of 4, both labels, strong", (4,) * 60, STRONG, mixed=True),
    Design("48 groups of 1 to 8, strong", 6 * tuple(range(1, 9)), STRONG),
    Design("60 groups of 1 to 30, no effect", 2 * _WIDE, NONE),
    Design("60 groups of 1 to 30, strong", 2 * _WIDE, STRONG),
    Design("60 groups of 1 to 30, both labels, strong", 2 * _WIDE, STRONG, mixed=True),
)


class Drawn:
    """One simulated table."""

    def __init__(self, design: Design, seed: int) -> None:
        self.seed = seed
        self.draw = np.random.default_rng([zlib.crc32(design.words.encode()), seed])
        self.distance = design.effect / np.sqrt(COLUMNS)
        n_groups = len(design.sizes)
        self.group = np.repeat(np.arange(n_groups), design.sizes)
        self.n = len(self.group)
        of_group = self.draw.permutation(np.arange(n_groups) < round(design.rate * n_groups)).astype(np.int64)
        self.label = of_group[self.group]
        if design.mixed:
            lean = 1.5 * self.draw.normal(size=n_groups)[self.group] + self.draw.normal(size=self.n)
            self.label = (lean > 0).astype(np.int64)
        self.dependent = n_groups < self.n
        self.features = self.normal(COLUMNS) + self.distance * self.label[:, None]
        useful = 0.4 if design.effect else 0.0
        self.baseline = 0.5 * self.features[:, 0] + 0.87 * self.normal(1)[:, 0] + useful * self.label
        self.stratum = self.draw.integers(0, 3, self.n)

    def normal(self, n_columns: int) -> np.ndarray:
        """Return standard normal columns; samples of a group share half of the variance."""
        own: np.ndarray = self.draw.normal(size=(self.n, n_columns))
        if not self.dependent:
            return own
        shared = self.draw.normal(size=(int(self.group.max()) + 1, n_columns))[self.group]
        return np.asarray(np.sqrt(0.5) * (shared + own))

    @cached_property
    def folds(self) -> CrossValidation:
        """The folds of all detectors."""
        return CrossValidation(self.label, group=self.group, n_repeats=REPEATS, seed=self.seed)

    @cached_property
    def known(self) -> HeldOutScores:
        """Held-out scores of the baseline."""
        return self.folds.scores(Features("b", "baseline", (self.baseline[:, None],)), beside=self.folds.nothing())

    @cached_property
    def rows(self) -> np.ndarray:
        """Return `HEADS` rows per sample of three shares, the first of which is higher at label 1."""
        lean = 0.3 * np.stack([self.normal(3) for _ in range(HEADS)], axis=1)
        lean[:, :, 0] += 0.3 * self.distance * self.label[:, None]
        return np.asarray((np.exp(lean) / np.exp(lean).sum(axis=2, keepdims=True)).reshape(-1, 3))


Found = dict[str, tuple[Estimate, float]]
"""Estimates by column of the table, with the true value, or nan where it is the mean estimate."""


def of_one_column(drawn: Drawn) -> Found:
    """Return the AUC of one column that no model was fitted for."""
    score = drawn.features.sum(axis=1)
    return {"AUC of a head": (auc_interval(score, drawn.label, group=drawn.group), np.nan)}


def of_detectors(drawn: Drawn) -> Found:
    """Return AUC, AUC within strata, and increment of a detector."""
    detector = Features("x", "detector", (drawn.features,))
    alone, both = drawn.folds.scores(detector), drawn.folds.scores(detector, beside=drawn.known)
    label = np.tile(drawn.label, alone.n_repeats)
    splits, strata = (alone.splits(drawn.group, within) for within in (np.zeros_like(drawn.group), drawn.stratum))
    return {
        "detector": (fold_auc(alone.score.ravel(), label, splits), np.nan),
        "within strata": (fold_auc(alone.score.ravel(), label, strata), np.nan),
        "increment": (nested_increment(both.score.ravel(), drawn.known.score.ravel(), label, splits), np.nan),
    }


def of_forests(drawn: Drawn) -> Found:
    """Return the AUC on held-out groups and on held-out rows, a permutation importance, and the increment."""
    label, sample, group = (np.repeat(one, HEADS) for one in (drawn.label, np.arange(drawn.n), drawn.group))
    settings: dict[str, Any] = {"n_trees": TREES, "n_repeats": REPEATS, "seed": drawn.seed, "n_jobs": 1}
    found = judge_forest(drawn.rows, label, sample, group=group, protocols=("grouped", "rows"), **settings)
    placed = replace(found["grouped"], places=np.arange(drawn.n))
    increment = forest_increment([ForestOfDataset(placed, 0.8 * drawn.baseline, drawn.group)])
    lost = next(one.value for one in importances(found["grouped"]) if one.kind == "permutation")
    return {
        "forest": (found["grouped"].auc, np.nan),
        "row split": (found["rows"].auc, np.nan),
        "importance": (lost, np.nan),
        "increment of a forest": (increment, np.nan),
    }


def of_rules(drawn: Drawn) -> Found:
    """Return the held-out value of threshold rules on one column, six rows per sample."""
    sample = np.repeat(np.arange(drawn.n), 6)
    value = drawn.features.sum(axis=1)[sample] + drawn.draw.normal(size=6 * drawn.n)
    names: dict[Objective, str] = {"youden": "Youden", "f1": "F1", "balanced_accuracy": "balanced accuracy"}
    found = threshold_rules(value, drawn.label[sample], drawn.group[sample], objectives=list(names), seed=drawn.seed)
    return {names[one.objective]: (one.heldout, np.nan) for one in found}


def of_transfer(drawn: Drawn) -> Found:
    """Return the AUC on this table of a detector that was fitted on 100 other samples, and its true AUC."""
    train, fresh = np.arange(100) % 2, np.arange(4000) % 2

    def others(label: np.ndarray) -> np.ndarray:
        return np.asarray(drawn.draw.normal(size=(len(label), COLUMNS)) + drawn.distance * label[:, None])

    training = Training(train, np.arange(100), np.full(100, logit(0.5)))
    stage = fit_stage(Linear(np.zeros(COLUMNS, dtype=np.int64)), others(train), training, seed=drawn.seed)
    found = auc_interval(stage.change(drawn.features), drawn.label, group=drawn.group)
    return {"transfer": (found, auc(stage.change(others(fresh)), fresh))}


KINDS: dict[str, Callable[[Drawn], Found]] = {
    "one column": of_one_column,
    "detectors": of_detectors,
    "forests": of_forests,
    "rules": of_rules,
    "transfer": of_transfer,
}


def block(design: Design, kind: str, start: int, keep: Path | None) -> dict[str, np.ndarray]:
    """Return estimate, lower, upper and truth of `BLOCK` studies by column."""
    path = None if keep is None else place_of(keep, design, kind, start)
    if path is not None and path.exists():
        with np.load(path) as archive:
            return {name: archive[name] for name in archive.files}
    rows: dict[str, list[tuple[float | None, ...]]] = {}
    for seed in range(start, start + BLOCK):
        for name, (one, truth) in KINDS[kind](Drawn(design, seed)).items():
            rows.setdefault(name, []).append((one.estimate, one.lower, one.upper, truth))
    found = {name: np.array(values, dtype=np.float64) for name, values in rows.items()}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **cast(Any, found))
    return found


def coverage(found: np.ndarray) -> float:
    """Return the share of defined intervals that cover the truth, or the mean estimate where no truth is known."""
    _, lower, upper, truth = found[~np.isnan(found[:, 1])].T
    target = np.where(np.isnan(truth), np.nanmean(found[:, 0]), truth)
    return float(np.mean((lower <= target + 1e-9) & (target - 1e-9 <= upper)))


def place_of(keep: Path, design: Design, kind: str, start: int) -> Path:
    """Return the file of a stored block."""
    return keep / f"{zlib.crc32(design.words.encode()):08x}-{kind}-{start}.npz"


def n_stored(keep: Path, kind: str) -> int:
    """Return how many studies of a kind are stored for every design."""
    starts = range(0, 100_000, BLOCK)
    whole = takewhile(lambda start: all(place_of(keep, one, kind, start).exists() for one in DESIGNS), starts)
    return BLOCK * len(list(whole))


def tables(n_studies: Mapping[str, int], keep: Path | None) -> tuple[str, str]:
    """Return the tables in Markdown, and the range of each column in words."""
    by_design: dict[str, dict[str, float]] = {}
    with tqdm(total=len(DESIGNS) * len(n_studies), unit="kind") as bar:
        for design in DESIGNS:
            cells = by_design.setdefault(design.words, {})
            for kind, n in n_studies.items():
                blocks = [block(design, kind, start, keep) for start in range(0, n, BLOCK)]
                for name in blocks[0]:
                    cells[name] = 100 * coverage(np.concatenate([one[name] for one in blocks]))
                bar.update()
    names = list(next(iter(by_design.values())))
    shown = [_table(names[start : start + 6], by_design) for start in range(0, len(names), 6)]
    columns = {name: np.array([cells[name] for cells in by_design.values()]) for name in names}
    ranges = (f"{name} {low.min():.0f} to {low.max():.0f}" for name, low in columns.items())
    outside = [
        f"{name} in {int(np.sum((low < 91.95) | (low > 98.05)))} of {len(DESIGNS)}"
        for name, low in columns.items()
        if ((low < 91.95) | (low > 98.05)).any()
    ]
    return "\n\n".join(shown), f"Lowest and highest: {', '.join(ranges)}. Outside 92 to 98 %: {', '.join(outside)}."


def _table(names: Sequence[str], by_design: dict[str, dict[str, float]]) -> str:
    lines = ["| design | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for words, cells in by_design.items():
        lines.append(f"| {words} | " + " | ".join(f"{cells[name]:.1f}" for name in names) + " |")
    return "\n".join(lines)


def main() -> None:
    """Simulate and print, or write, the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help=f"per design and kind, in blocks of {BLOCK}")
    parser.add_argument("--keep", type=Path, help="folder of stored blocks")
    parser.add_argument("--stored", action="store_true", help="make the page of what is stored")
    parser.add_argument("--write", type=Path, help="page to write")
    options = parser.parse_args()
    n_studies = {kind: n_stored(options.keep, kind) if options.stored else options.studies for kind in KINDS}
    n_studies = {kind: n for kind, n in n_studies.items() if n}
    shown, words = tables(n_studies, options.keep)
    error = 196 * np.sqrt(0.05 * 0.95)
    page = PAGE.format(
        studies=", ".join(f"{kind} {n:,} ({error / np.sqrt(n):.1f} points)" for kind, n in n_studies.items()),
        columns=COLUMNS,
        repeats=REPEATS,
        trees=TREES,
        heads=HEADS,
        tables=shown,
        words=words,
        machine=machine(),
    )
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
