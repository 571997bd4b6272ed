"""False-positive rates of per-head statistics on null tables, and their power on tables with an effect.

    python benchmarks/null_tables.py --write docs/concepts/null-tables.md

A table has 60 heads of one dataset. Reported are the shares of p-values below 5 % and 1 %, the family-wise error rate,
the false discovery rate and the power.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from foretell.stats.heads.association import column_statistics
from foretell.stats.heads.max_statistic import benjamini_hochberg, max_statistic

N_HEADS = 60
KINDS = ("pearson_p", "spearman_p", "auc_p")
PAGE = """# False positives on null tables

Among a thousand heads some correlate with any label by chance. This page measures the false-positive rates of all
p-values by simulation: tables of {n_heads} heads with a label that is independent of everything, {n_tables:,} tables
per row. A valid p-value is below 0.05 in 5 % of heads, whatever the frequency of the label, ties, or groups of
dependent samples. These tables have no baselines and are tested head by head; [verdicts](verdicts.md) shows whole
studies, with baselines and detectors.

{single}

*Groups, one label*: 30 prompts with 4 answers each, which share most of their signal and have one label. *Groups, both
labels*: each answer has its own label. *Groups of 1 to 8*: 40 prompts with one label each; half of them have one answer
and a quarter have eight. *Groups ignored*: the first of these analysed as if all answers were independent, as happens
without a `group` column. The tests with groups are score tests, which use the variance under the null hypothesis. With
sandwich variances, 13 % of the heads of the third kind were significant at 5 %, and 6 % at 1 %.

## Family-wise error

The probability that *any* head of a null table has a max-statistic p-value (`p_max`, {n_permutations} permutations) or
a false discovery rate (`q_value`) of at most 5 %. Within three standard errors of the simulation, up to {bound:.1f} %
is consistent with 5 %.

{family}

In the last two rows the label is three times as frequent in one of two task types, and heads separate the types but
carry no other signal. `p_max` permutes within types if there is a `stratum` column; `q_value` ignores types.

## False discoveries and power

A tenth of 200 heads have an effect of 0.9 standard deviations, 100 samples, {n_planted} tables. Of the heads with
`q_value` at most 10 %, {false:.1f} % are false discoveries, and {power:.0f} % of the heads with an effect are among
them. With `p_max` at most 5 %, {strict_power:.0f} % of them are found, and {any_false:.1f} % of tables have any false
discovery.

Made by `python benchmarks/null_tables.py --write docs/concepts/null-tables.md`.
"""


@dataclass(frozen=True)
class Table:
    """A table whose label is independent of the heads, given the task type."""

    values: np.ndarray
    label: np.ndarray
    group: np.ndarray | None = None
    stratum: np.ndarray | None = None


def independent(n_positive: int, n_negative: int, *, ties: bool = False) -> Callable[[np.random.Generator], Table]:
    """Return a function that makes a table of independent samples."""

    def make(generator: np.random.Generator) -> Table:
        values = generator.gamma(2.0, size=(n_positive + n_negative, N_HEADS))
        label = generator.permutation(np.arange(n_positive + n_negative) < n_positive)
        return Table(np.round(values) if ties else values, label.astype(np.int8))

    return make


def grouped(
    sizes: Sequence[int] = (4,) * 30, *, mixed: bool = False, given: bool = True, rate: float = 0.5
) -> Callable[[np.random.Generator], Table]:
    """Return a function that makes a table of groups of dependent samples."""
    codes = np.repeat(np.arange(len(sizes)), sizes)

    def make(generator: np.random.Generator) -> Table:
        shared = 2 * generator.normal(size=(len(sizes), N_HEADS))
        values = shared[codes] + generator.normal(size=(codes.size, N_HEADS))
        of_group = generator.permutation(np.arange(len(sizes)) < rate * len(sizes))
        label = generator.random(codes.size) < rate if mixed else of_group[codes]
        return Table(values, label.astype(np.int8), codes if given else None)

    return make


UNEVEN = (1,) * 20 + (3,) * 10 + (8,) * 10


def task_types(*, given: bool) -> Callable[[np.random.Generator], Table]:
    """Return a function that makes a table whose heads and label both depend on the task type."""

    def make(generator: np.random.Generator) -> Table:
        kind = generator.integers(0, 2, 100)
        label = generator.random(100) < np.where(kind == 1, 0.75, 0.25)
        values = generator.normal(size=(100, N_HEADS)) + kind[:, None]
        return Table(values, label.astype(np.int8), stratum=kind if given else None)

    return make


SINGLE = {
    "20 + 20 samples": independent(20, 20),
    "20 + 200": independent(20, 200),
    "150 + 150": independent(150, 150),
    "150 + 150, many ties": independent(150, 150, ties=True),
    "5 + 50": independent(5, 50),
    "groups, one label": grouped(),
    "groups, both labels": grouped(mixed=True),
    "groups of 1 to 8, a fifth positive": grouped(UNEVEN, rate=0.2),
    "groups ignored": grouped(given=False),
}
FAMILY = {
    "20 + 20 samples": independent(20, 20),
    "20 + 200": independent(20, 200),
    "groups, one label": grouped(),
    "groups, both labels": grouped(mixed=True),
    "groups of 1 to 8, a fifth positive": grouped(UNEVEN, rate=0.2),
    "task types given": task_types(given=True),
    "task types not given": task_types(given=False),
}


def tables(
    make: Callable[[np.random.Generator], Table], n: int, *, name: str, progress: bool | None = None
) -> Iterator[Table]:
    """Yield tables, with a bar."""
    generator = np.random.default_rng(0)
    for _ in tqdm(range(n), desc=name, unit="table", leave=False, disable=None if progress is None else not progress):
        yield make(generator)


def single(n_tables: int) -> str:
    """Return the shares of single p-values below 5 % and 1 % as a Markdown table."""
    lines = ["| null table | Pearson 5 %, 1 % | Spearman 5 %, 1 % | AUC 5 %, 1 % |", "|---|---|---|---|"]
    for name, make in SINGLE.items():
        found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        for one in tables(make, n_tables, name=name):
            statistics = column_statistics(one.values, one.label, group=one.group)
            for kind in KINDS:
                found[kind].append(getattr(statistics, kind))
        shares = ((np.concatenate(found[kind]) <= bar for bar in (0.05, 0.01)) for kind in KINDS)
        cells = (", ".join(f"{100 * np.mean(below):.1f}" for below in pair) for pair in shares)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def family(n_tables: int, n_permutations: int) -> str:
    """Return the family-wise error rates as a Markdown table."""
    lines = ["| null table | `p_max` at most 5 % | `q_value` at most 5 % |", "|---|---|---|"]
    for name, make in FAMILY.items():
        corrected, discovered = [], []
        for seed, one in enumerate(tables(make, n_tables, name=name)):
            found = max_statistic(
                one.values, one.label, group=one.group, stratum=one.stratum, n_permutations=n_permutations, seed=seed
            )
            statistics = column_statistics(one.values, one.label, group=one.group)
            corrected.append(found.pvalue.min() <= 0.05)
            discovered.append(benjamini_hochberg(statistics.auc_p).min() <= 0.05)
        lines.append(f"| {name} | {100 * np.mean(corrected):.1f} % | {100 * np.mean(discovered):.1f} % |")
    return "\n".join(lines)


def planted(n_tables: int, n_permutations: int) -> dict[str, float]:
    """Return false discoveries and power, in percent, where a tenth of the heads have an effect."""
    generator = np.random.default_rng(1)
    label = np.arange(100) % 2
    false, power, strict, wrong = [], [], [], []
    for seed in tqdm(range(n_tables), desc="planted", unit="table", leave=False, disable=None):
        values = generator.normal(size=(100, 200))
        values[:, :20] += 0.9 * label[:, None]
        found = benjamini_hochberg(column_statistics(values, label).auc_p) <= 0.1
        best = max_statistic(values, label, n_permutations=n_permutations, seed=seed).pvalue <= 0.05
        false.append(found[20:].sum() / max(1, found.sum()))
        power.append(found[:20].mean())
        strict.append(best[:20].mean())
        wrong.append(best[20:].any())
    names = ("false", "power", "strict_power", "any_false")
    return {name: 100 * float(np.mean(part)) for name, part in zip(names, (false, power, strict, wrong), strict=True)}


def main() -> None:
    """Simulate and print, or write, the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2_000)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--planted", type=int, default=500)
    parser.add_argument("--write", type=Path, help="page to write")
    options = parser.parse_args()
    page = PAGE.format(
        n_heads=N_HEADS,
        n_tables=options.tables,
        n_permutations=options.permutations,
        n_planted=options.planted,
        bound=5 + 300 * np.sqrt(0.05 * 0.95 / options.tables),
        single=single(options.tables),
        family=family(options.tables, options.permutations),
        **planted(options.planted, options.permutations),
    )
    if options.write:
        options.write.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
