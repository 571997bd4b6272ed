"""How often per-head statistics find something where there is nothing, and the right heads where there is something.

    python benchmarks/null_tables.py --write docs/concepts/null-tables.md

A table is 60 heads of one dataset. Single p-values are judged by how many fall below 5 % and 1 %, the best of a table
by how often it does, finds among many by their share that is false.
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
PAGE = """# What is found where there is nothing

With a thousand heads, some go with any label by luck. What every p-value of foretell does then was simulated: tables of
{n_heads} heads whose label means nothing, {n_tables:,} tables per row. A p-value that is what it says falls below 5 %
in 5 % of heads, whatever the label's rate, ties, or groups of dependent samples.

{single}

*Groups, one label* are 30 prompts with 4 answers each that share most of their signal and have one label; in *groups,
both labels* each answer has its own; *groups of 1 to 8* are 40 prompts with one label each, half of them with one
answer and a quarter with eight. *Groups ignored* is the first of these judged as if every answer stood alone: the
mistake that a table without a `group` column makes. The tests with groups are score tests, whose variance is that of a
label that means nothing; sandwich variances around what was found called 13 % of the heads of the third kind
significant at 5 %, and 6 % at 1 %.

## The best of many

The chance that *any* head of a null table has a corrected p-value (`p_max`, {n_permutations} permutations) or a false
discovery rate (`q_value`) of at most 5 %. With three standard errors of the simulation, anything up to {bound:.1f} % is
in keeping with 5 %.

{family}

In *kind of task told* the label is three times as frequent in one of two kinds of task, and heads tell the kinds apart
but nothing else. `p_max` permutes within the kinds; `q_value`, and `p_max` without a `stratum` column, do not know of
them.

## Finds among many

A tenth of 200 heads carry an effect of 0.9 standard deviations, 100 samples, {n_planted} tables: of the heads with
`q_value` at most 10 %, {false:.1f} % are false; {power:.0f} % of the heads with an effect are among them. With `p_max`
at most 5 %, {strict_power:.0f} % of them are found, and {any_false:.1f} % of tables have any false find.

Made by `python benchmarks/null_tables.py --write docs/concepts/null-tables.md`.
"""


@dataclass(frozen=True)
class Table:
    """A table whose label means nothing (beyond its kind of task)."""

    values: np.ndarray
    label: np.ndarray
    group: np.ndarray | None = None
    stratum: np.ndarray | None = None


def plain(n_positive: int, n_negative: int, *, ties: bool = False) -> Callable[[np.random.Generator], Table]:
    """Return what makes a table of independent samples."""

    def make(generator: np.random.Generator) -> Table:
        values = generator.gamma(2.0, size=(n_positive + n_negative, N_HEADS))
        label = generator.permutation(np.arange(n_positive + n_negative) < n_positive)
        return Table(np.round(values) if ties else values, label.astype(np.int8))

    return make


def grouped(
    sizes: Sequence[int] = (4,) * 30, *, mixed: bool = False, told: bool = True, rate: float = 0.5
) -> Callable[[np.random.Generator], Table]:
    """Return what makes a table of groups of dependent samples."""
    codes = np.repeat(np.arange(len(sizes)), sizes)

    def make(generator: np.random.Generator) -> Table:
        shared = 2 * generator.normal(size=(len(sizes), N_HEADS))
        values = shared[codes] + generator.normal(size=(codes.size, N_HEADS))
        of_group = generator.permutation(np.arange(len(sizes)) < rate * len(sizes))
        label = generator.random(codes.size) < rate if mixed else of_group[codes]
        return Table(values, label.astype(np.int8), codes if told else None)

    return make


UNEVEN = (1,) * 20 + (3,) * 10 + (8,) * 10


def kinds_of_task(*, told: bool) -> Callable[[np.random.Generator], Table]:
    """Return what makes a table whose heads and label both depend on the kind of task."""

    def make(generator: np.random.Generator) -> Table:
        kind = generator.integers(0, 2, 100)
        label = generator.random(100) < np.where(kind == 1, 0.75, 0.25)
        values = generator.normal(size=(100, N_HEADS)) + kind[:, None]
        return Table(values, label.astype(np.int8), stratum=kind if told else None)

    return make


SINGLE = {
    "20 + 20 samples": plain(20, 20),
    "20 + 200": plain(20, 200),
    "150 + 150": plain(150, 150),
    "150 + 150, many ties": plain(150, 150, ties=True),
    "5 + 50": plain(5, 50),
    "groups, one label": grouped(),
    "groups, both labels": grouped(mixed=True),
    "groups of 1 to 8, a fifth positive": grouped(UNEVEN, rate=0.2),
    "groups ignored": grouped(told=False),
}
FAMILY = {
    "20 + 20 samples": plain(20, 20),
    "20 + 200": plain(20, 200),
    "groups, one label": grouped(),
    "groups, both labels": grouped(mixed=True),
    "groups of 1 to 8, a fifth positive": grouped(UNEVEN, rate=0.2),
    "kind of task told": kinds_of_task(told=True),
    "kind of task not told": kinds_of_task(told=False),
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
    """Return how often a null table has any find as a Markdown table."""
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
    """Return the shares of false and of missed finds, in percent, where a tenth of the heads carry an effect."""
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
