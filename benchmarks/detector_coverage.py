"""Coverage of 95 % intervals of held-out statistics: detectors, increments, forests, threshold rules, transfer.

    python benchmarks/detector_coverage.py --write docs/concepts/held-out-intervals.md --keep /tmp/scores

Every study is simulated and analysed by the package's own functions. The true value is the expectation of the procedure
at that number of samples: the mean over all simulated studies of a cell. Most of the time is spent on fits; with
`--keep` their scores are stored, so that another interval can be evaluated on the same scores.
"""

from __future__ import annotations

import argparse
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit
from scipy.stats import norm, rankdata
from tqdm import tqdm

from detector_coverage_page import PAGE
from foretell.stats.auc.fold_auc import fold_auc, nadeau_bengio_factor, nested_increment
from foretell.stats.auc.intervals import Estimate, auc_interval
from foretell.stats.detectors.features import Features
from foretell.stats.detectors.held_out_scores import CrossValidation, HeldOutScores
from foretell.stats.detectors.learners import Linear
from foretell.stats.detectors.stages import Training, fit_stage
from foretell.stats.forest.importances import importances
from foretell.stats.forest.measures import OBJECTIVES
from foretell.stats.forest.random_forest import PROTOCOLS, ForestResult, Protocol, judge_forest
from foretell.stats.forest.thresholds import threshold_rules

REPEATS = 5
EFFECTS = ("none", "medium", "strong")
DISTANCES = {1: (0.0, 0.74, 1.81), 20: (0.0, 1.3, 2.4), 300: (0.0, 2.2, 4.0)}
"""Distance of the class means, in standard deviations, by number of features and effect."""

Fields = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One kind of simulated study."""

    n: int
    n_features: int
    effect: int
    rate: int
    """One in how many groups is positive."""
    per_group: int = 1
    mixed: bool = False
    """Whether a group has both labels."""

    @property
    def name(self) -> str:
        """Name of the cell, also the seed of its random numbers."""
        groups = f"{self.per_group}{'m' if self.mixed else ''}"
        return f"n{self.n}_p{self.n_features}_e{self.effect}_r{self.rate}_g{groups}"

    @property
    def cost(self) -> float:
        """Share of the studies that are simulated, because fits are slow."""
        if self.n * self.n_features > 50_000:
            return 0.24
        return 0.6 if self.mixed else 0.8 if self.n_features > 20 else 1.0

    @property
    def has_baseline(self) -> bool:
        """Whether the detector is put beside a baseline of one column."""
        return self.n_features == 20 and self.n < 300 and self.per_group == 1


INDEPENDENT = [(60, 2), (60, 6), (100, 2), (100, 10), (300, 2), (300, 10)]
"""Samples, and one in how many is positive, where every sample is its own group."""
WIDE = [(60, 2), (100, 10), (300, 2)]
"""Those that are also simulated with 300 features."""
FORESTS: dict[str, dict[str, float]] = {
    "60 samples, no effect": {},
    "60 samples, fingerprint": {"fingerprint": 0.6},
    "60 samples, fingerprint, weak effect": {"fingerprint": 0.3, "effect": 0.15},
    "60 samples, fingerprint, effect": {"fingerprint": 0.4, "effect": 0.6},
    "150 samples, fingerprint": {"n_samples": 150, "n_heads": 12, "fingerprint": 0.3},
    "150 samples, fingerprint, effect": {"n_samples": 150, "n_heads": 12, "fingerprint": 0.4, "effect": 0.3},
}


def cells() -> list[Cell]:
    """Return every kind of study for detectors."""
    kinds = [(n, p, rate, 1, False) for n, rate in INDEPENDENT for p in (1, 20, 300) if p < 300 or (n, rate) in WIDE]
    kinds += [(n, p, rate, 4, False) for n, rate in ((100, 2), (300, 6)) for p in (1, 20)] + [(100, 20, 2, 4, True)]
    return [Cell(n, p, effect, rate, per, mixed) for n, p, rate, per, mixed in kinds for effect in range(3)]


def drawn(cell: Cell, study: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels, groups, three random strata and a baseline of one study."""
    generator = np.random.default_rng([zlib.crc32(cell.name.encode()), study])
    n_groups = cell.n // cell.per_group
    group = np.repeat(np.arange(n_groups), cell.per_group)
    if cell.mixed:
        lean = generator.normal(size=n_groups) * 1.5
        label = (lean[group] + generator.normal(size=cell.n) > 0).astype(np.int64)
    else:
        positive = np.arange(n_groups) < max(2, round(n_groups / cell.rate))
        label = generator.permutation(positive.astype(np.int64))[group]
    if cell.per_group > 1:
        shared = np.sqrt(0.5) * generator.normal(size=(n_groups, cell.n_features))[group]
        features = shared + np.sqrt(0.5) * generator.normal(size=(cell.n, cell.n_features))
    else:
        features = generator.normal(size=(cell.n, cell.n_features))
    features = features + DISTANCES[cell.n_features][cell.effect] / np.sqrt(cell.n_features) * label[:, None]
    stratum = generator.integers(0, 3, cell.n)
    baseline = 0.5 * features[:, 0] + 0.87 * generator.normal(size=cell.n) + (0.4 * label if cell.effect else 0.0)
    return features, label, group, stratum, baseline


def simulated(cell: Cell, n_studies: int) -> Fields:
    """Return the held-out scores of all studies of a cell."""
    stored: dict[str, list[np.ndarray]] = {name: [] for name in ("S", "F", "L", "G", "K", "B", "T")}
    for study in range(n_studies):
        features, label, group, stratum, baseline = drawn(cell, study)
        folds = CrossValidation(label, group=group, n_repeats=REPEATS, seed=study)
        detector = Features("x", "detector", (features,))
        found = folds.scores(detector)
        if found.reason is not None:
            continue
        for name, value in (("S", found.score), ("F", found.fold), ("L", label), ("G", group), ("K", stratum)):
            stored[name].append(value)
        if cell.has_baseline:
            single = Features("b", "baseline", (baseline[:, None],))
            known = folds.scores(single, beside=folds.nothing())
            stored["B"].append(known.score)
            stored["T"].append(folds.scores(detector, beside=known).score)
    small = {"S": np.float32, "F": np.int8, "L": np.int8, "G": np.int16, "K": np.int8, "B": np.float64, "T": np.float64}
    return {name: np.array(values, dtype=small[name]) for name, values in stored.items()}


def simulated_forests(kind: Mapping[str, float], n_studies: int) -> Fields:
    """Return the held-out scores of forests on rows of all studies of a kind."""
    stored: dict[str, list[np.ndarray]] = {}
    for study in range(n_studies):
        features, label, sample = head_rows(study, **kind)
        found = judge_forest(features, label, sample, n_trees=20, n_repeats=3, seed=study, n_jobs=1)
        for protocol, result in found.items():
            for name in ("score", "fold", "repeat", "label", "group"):
                stored.setdefault(f"{protocol}_{name}", []).append(getattr(result, name))
        stored.setdefault("permuted", []).append(found["grouped"].permuted.astype(np.float32))
    return {name: np.array(values) for name, values in stored.items()}


def head_rows(
    study: int, *, n_samples: float = 60, n_heads: float = 20, fingerprint: float = 0.0, effect: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of three shares, their labels and their samples."""
    generator = np.random.default_rng([7, study])
    samples, heads = int(n_samples), int(n_heads)
    label = generator.permutation(np.arange(samples) % 2)
    lean = fingerprint * generator.normal(size=(samples, 1, 3)) + 0.2 * generator.normal(size=(samples, heads, 3))
    lean[:, :, 0] += effect * label[:, None]
    shares = np.exp(lean) / np.exp(lean).sum(axis=2, keepdims=True)
    return shares.reshape(-1, 3), np.repeat(label, heads), np.repeat(np.arange(samples), heads)


def cached(folder: Path | None, name: str, make: Callable[[], Fields]) -> Fields:
    """Return stored arrays, or make and store them."""
    path = None if folder is None else folder / f"{name}.npz"
    if path is not None and path.exists():
        with np.load(path) as archive:
            return {key: archive[key] for key in archive.files}
    made = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **made)
    return made


def judged(scores: Fields, n_repeats: int, kind: str) -> list[Estimate]:
    """Return the estimate of every study: `auc`, `within` strata, or `gain` over the baseline."""
    found = []
    for study in range(len(scores["S"])):
        label, stratum = scores["L"][study].astype(np.int64), scores["K"][study].astype(np.int64)
        score = scores["S"][study, :n_repeats].astype(np.float64)
        fold = scores["F"][study, :n_repeats].astype(np.int64)
        heldout = HeldOutScores(score, fold, None, np.empty((n_repeats, 0, len(label))))
        within = stratum if kind == "within" else np.zeros(len(label), dtype=np.int64)
        splits, truth = heldout.splits(scores["G"][study].astype(np.int64), within), np.tile(label, n_repeats)
        if kind == "gain":
            together, baseline = (scores[name][study, :n_repeats].ravel() for name in ("T", "B"))
            found.append(nested_increment(together, baseline, truth, splits))
        else:
            found.append(fold_auc(score.ravel(), truth, splits))
    return found


def forest_result(scores: Fields, study: int, protocol: Protocol) -> ForestResult:
    """Return a forest's stored scores as a result."""
    score, fold, repeat, label, group = (
        scores[f"{protocol}_{name}"][study] for name in ("score", "fold", "repeat", "label", "group")
    )
    nothing = np.zeros(len(label), dtype=np.int64)
    permuted = scores["permuted"][study].astype(np.float64) if protocol == "grouped" else np.zeros((1, 0, len(label)))
    row, n_folds = np.arange(len(label)), 3 if protocol == "grouped" else 1
    filled = (row, permuted, np.zeros((1, permuted.shape[1])), nothing)
    known = (score > 0.5, label, nothing, fold, group, group, repeat, *filled)
    return ForestResult(protocol, score, *known, n_folds=n_folds)


def misses(found: Sequence[Estimate], truth: float | Sequence[float] | np.ndarray) -> tuple[float, float, int]:
    """Return the shares of intervals below and above the truth, and the number of intervals."""
    defined = [index for index, one in enumerate(found) if one.lower is not None and one.upper is not None]
    lower, upper = (np.array([getattr(found[index], end) for index in defined]) for end in ("lower", "upper"))
    target = np.broadcast_to(truth, len(found))[defined]
    return float(np.mean(upper < target - 1e-9)), float(np.mean(lower > target + 1e-9)), len(defined)


def mean_of(found: Sequence[Estimate]) -> float:
    """Return the mean estimate: the expectation of the procedure, up to the error of the simulation."""
    return float(np.mean([one.estimate for one in found if one.estimate is not None]))


def shown(found: Sequence[Estimate], truth: float | np.ndarray | None = None) -> str:
    """Return the coverage in percent."""
    below, above, _ = misses(found, mean_of(found) if truth is None else truth)
    return f"{100 * (1 - below - above):.0f}"


def detector_tables(keep: Path | None, n_studies: int) -> dict[str, str]:
    """Return the tables on detectors and on increments."""
    aucs, gains = [], []
    covered: dict[str, list[float]] = {"five": [], "one": [], "within": [], "gain": []}
    alarms: list[bool] = []
    found_nothing: list[bool] = []
    rows: dict[str, list[list[str]]] = {}
    for cell in tqdm(cells(), desc="detectors", unit="cell"):
        scores = cached(keep, cell.name, partial(simulated, cell, round(cell.cost * n_studies)))
        five, within, one = (judged(scores, r, kind) for r, kind in ((5, "auc"), (5, "within"), (1, "auc")))
        truth = mean_of(five)
        entry = [f"{truth:.2f}", shown(five), shown(one, truth), shown(within)]
        rows.setdefault(f"{setting_of(cell, scores)} | {cell.n_features}", []).append(entry)
        for name, found in (("five", five), ("one", one), ("within", within)):
            covered[name].append(coverage(found))
        if not cell.effect:
            alarms += [one.lower is not None and one.lower > 0.5 for one in five]
        if cell.has_baseline:
            gain, single = judged(scores, 5, "gain"), judged(scores, 1, "gain")
            covered["gain"].append(coverage(gain))
            if not cell.effect:
                found_nothing += [one.p_above is not None and one.p_above <= 0.05 for one in gain]
            words = f"{setting_of(cell, scores)} | {EFFECTS[cell.effect]}"
            gains.append(f"| {words} | {mean_of(gain):+.2f} | {shown(gain)} | {shown(single, mean_of(gain))} |")
    for setting, entries in rows.items():
        columns = (", ".join(entry[index] for entry in entries) for index in range(4))
        aucs.append(f"| {setting} | " + " | ".join(columns) + " |")
    return {
        "aucs": "\n".join(aucs),
        "gains": "\n".join(gains),
        "alarms": f"{100 * np.mean(alarms):.1f} %",
        "gain_alarms": f"{100 * np.mean(found_nothing):.1f} %",
        **summary(covered),
    }


def coverage(found: Sequence[Estimate]) -> float:
    """Return the share of intervals that cover the mean estimate."""
    below, above, _ = misses(found, mean_of(found))
    return 1 - below - above


def summary(covered: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Return lowest, median and highest coverage by kind of number, in percent."""
    return {
        f"{name}_range": f"{100 * min(values):.0f} to {100 * max(values):.0f} %, median {100 * np.median(values):.0f} %"
        for name, values in covered.items()
    }


def setting_of(cell: Cell, scores: Fields) -> str:
    """Return samples, positives and groups in words."""
    positive = "about half" if cell.mixed else str(int(scores["L"][0].sum()))
    groups = (
        f"groups of {cell.per_group}{', both labels' if cell.mixed else ''}" if cell.per_group > 1 else "independent"
    )
    return f"{cell.n}, {positive} positive | {groups}"


def forest_table(keep: Path | None, n_studies: int) -> str:
    """Return the table on forests and their permutation importances."""
    lines = []
    for name, kind in tqdm(FORESTS.items(), desc="forests", unit="kind"):
        file = "forest_" + name.replace(", ", "_").replace(" ", "-")
        scores = cached(keep, file, partial(simulated_forests, kind, n_studies))
        found: dict[str, list[Estimate]] = {}
        drops: list[list[Estimate]] = []
        for study in range(len(scores["grouped_score"])):
            results = {protocol: forest_result(scores, study, protocol) for protocol in PROTOCOLS}
            for protocol, result in results.items():
                area = fold_auc(result.score, result.label, result.splits)
                found.setdefault(protocol, []).append(area)
            drops.append([one.value for one in importances(results["grouped"]) if one.kind == "permutation"])
        columns = [f"{mean_of(found[protocol]):.2f}: {shown(found[protocol])}" for protocol in PROTOCOLS]
        worth = [f"{mean_of(metric):+.2f}: {shown(metric)}" for metric in zip(*drops, strict=True)]
        lines.append(f"| {name} | " + " | ".join([columns[1], columns[0], columns[2], ", ".join(worth[:2])]) + " |")
    return "\n".join(lines)


def rule_tables(n_studies: int) -> dict[str, str]:
    """Return the table on threshold rules, and the coverage of intervals that are conditional on the cuts."""
    lines, given = [], []
    kinds = [(n, rate, shift) for n, rate in ((60, 2), (100, 10), (300, 2)) for shift in (0.0, 1.0)]
    for n, rate, shift in tqdm(kinds, desc="rules", unit="kind"):
        found: dict[str, list[Estimate]] = {name: [] for name in OBJECTIVES}
        for study in range(n_studies):
            generator = np.random.default_rng([11, n, rate, study])
            label = (generator.random(n) < 1 / rate).astype(np.int64)
            sample = np.repeat(np.arange(n), 6)
            value = generator.normal(size=n)[sample] + generator.normal(size=6 * n) + shift * np.sqrt(2) * label[sample]
            for rule in threshold_rules(value, label[sample], sample, seed=study):
                found[rule.objective].append(rule.heldout)
        given.append(coverage([narrowed(one, np.sqrt(nadeau_bengio_factor(5))) for one in found["youden"]]))
        columns = (f"{mean_of(found[name]):.2f}: {shown(found[name])}" for name in OBJECTIVES)
        words = f"{n} samples, one in {rate} positive, {'effect' if shift else 'no effect'}"
        lines.append(f"| {words} | " + " | ".join(columns) + " |")
    return {"rules": "\n".join(lines), "given": f"{100 * min(given):.0f} to {100 * max(given):.0f} %"}


def narrowed(one: Estimate, by: float) -> Estimate:
    """Return an estimate with its interval before it was widened."""
    if one.estimate is None or one.lower is None or one.upper is None:
        return one
    lower, upper = (one.estimate + (end - one.estimate) / by for end in (one.lower, one.upper))
    return replace(one, lower=lower, upper=upper)


def transfer_table(n_studies: int) -> str:
    """Return the table on transfer: coverage of the fitted detector's AUC and of the mean of such detectors."""
    lines = []
    for n, effect in tqdm([(n, effect) for n in (60, 300) for effect in range(3)], desc="transfer", unit="kind"):
        found, own = [], []
        distance = DISTANCES[20][effect] / np.sqrt(20)
        for study in range(n_studies):
            generator = np.random.default_rng([13, n, effect, study])
            train, fresh = np.arange(n) % 2, np.arange(10_100) % 2
            features = generator.normal(size=(n, 20)) + distance * train[:, None]
            others = generator.normal(size=(10_100, 20)) + distance * fresh[:, None]
            block = np.zeros(20, dtype=np.int64)
            training = Training(train, np.arange(n), np.full(n, logit(train.mean())))
            score = fit_stage(Linear(block), features, training, seed=study).change(others)
            found.append(auc_interval(score[:100], fresh[:100]))
            ranks = rankdata(score[100:])
            own.append((ranks[fresh[100:] == 1].sum() - 5000 * 5001 / 2) / 5000**2)
        each, all_ = shown(found, np.array(own)), shown(found, float(np.mean(own)))
        lines.append(f"| {n} | {EFFECTS[effect]} | {np.mean(own):.2f} | {each} | {all_} |")
    return "\n".join(lines)


def machine() -> str:
    """Return the machine and the versions that may matter."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("foretell", "numpy", "scipy", "scikit-learn"))
    return f"{platform.machine()}, Python {platform.python_version()}, {packages}"


def numbers(keep: Path | None, n_studies: int, n_of_detectors: int) -> Iterator[tuple[str, str]]:
    """Yield the values of the page's placeholders by name."""
    yield from detector_tables(keep, n_of_detectors).items()
    yield "forests", forest_table(keep, round(0.6 * n_studies))
    yield from rule_tables(n_studies).items()
    yield "transfer", transfer_table(n_studies)
    yield "studies", str(n_studies)
    yield "of_forests", str(round(0.6 * n_studies))
    yield "of_detectors", str(n_of_detectors)
    yield "fewer", f"{round(min(cell.cost for cell in cells()) * n_of_detectors)} to {round(0.8 * n_of_detectors)}"
    yield "error", f"{100 * norm.ppf(0.975) * np.sqrt(0.05 * 0.95 / n_of_detectors):.1f}"
    yield "machine", machine()


def main() -> None:
    """Simulate and print, or write, the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=250, help="studies per kind of rule and transfer")
    parser.add_argument("--detector-studies", type=int, default=60, help="per kind of detector, fewer of slow ones")
    parser.add_argument("--keep", type=Path, help="folder of stored scores")
    parser.add_argument("--write", type=Path, help="page to write")
    options = parser.parse_args()
    page = PAGE.format(**dict(numbers(options.keep, options.studies, options.detector_studies)))
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    print(machine())
    print(page)


if __name__ == "__main__":
    main()
