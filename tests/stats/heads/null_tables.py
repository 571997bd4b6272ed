"""Tables without an association, in which samples come in groups and strata of many shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class NullTable:
    """Columns that share part of their noise within groups, and labels that do not depend on them."""

    values: np.ndarray
    label: np.ndarray
    group: np.ndarray | None
    stratum: np.ndarray | None

    @property
    def names(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        return self.group, self.stratum

    @property
    def options(self) -> dict[str, Any]:
        return {"group": self.group, "stratum": self.stratum}


def null_table(
    seed: int,
    *,
    n_groups: int = 40,
    largest: int = 30,
    rate: float = 0.5,
    labels: Literal["one", "both"] = "both",
    shared: float = 0.5,
    by_size: float = 0.0,
    n_strata: int = 1,
    noise: Literal["normal", "ties", "heavy"] = "normal",
    n_columns: int = 20,
) -> NullTable:
    """Return a table whose groups have 1 to `largest` samples.

    `shared` is the part of the noise that a group has in common, `by_size` how much more often the label is 1 in large
    groups. Strata differ in values and in label.
    """
    generator = np.random.default_rng(seed)
    size = generator.integers(1, largest + 1, n_groups)
    group, stratum = np.repeat(np.arange(n_groups), size), generator.integers(0, n_strata, n_groups)
    odds = np.log(rate / (1 - rate)) + by_size * (size - size.mean()) / max(size.std(), 1.0)
    odds += 2 * (stratum - (n_strata - 1) / 2)
    chance = 1 / (1 + np.exp(-odds))
    of_group = (
        generator.beta(chance * 1.5, (1 - chance) * 1.5) if labels == "both" else generator.random(n_groups) < chance
    )
    label = generator.random(group.size) < of_group[group]
    draw = generator.standard_cauchy if noise == "heavy" else generator.standard_normal
    common = draw((n_groups, n_columns)) + draw((n_groups, 1)) / 2
    values = (
        np.sqrt(shared) * common[group] + np.sqrt(1 - shared) * draw((group.size, n_columns)) + stratum[group, None]
    )
    values = values.round() if noise == "ties" else values
    return NullTable(
        values,
        label.astype(np.int64),
        None if largest == 1 else group,
        None if n_strata == 1 else stratum[group],
    )


NULL_TABLES: dict[str, Callable[[int], NullTable]] = {
    "samples": partial(null_table, n_groups=60, largest=1),
    "one label per group": partial(null_table, labels="one"),
    "one label, one in twenty": partial(null_table, labels="one", rate=0.05, n_groups=100),
    "one label, more in large groups": partial(null_table, labels="one", rate=0.3, by_size=1.5),
    "both labels": null_table,
    "both labels, columns shared": partial(null_table, shared=1.0),
    "both labels, one in twenty": partial(null_table, rate=0.05, n_groups=60),
    "both labels, more in large groups": partial(null_table, rate=0.3, by_size=1.0, shared=0.9),
    "few groups": partial(null_table, n_groups=8, shared=0.9),
    "strata": partial(null_table, n_groups=60, n_strata=3),
    "ties": partial(null_table, noise="ties"),
    "heavy tails": partial(null_table, noise="heavy"),
}
