"""Simulated tables whose truth is known: worlds in which nothing is to be found, and worlds with a planted effect.

Every head's shares follow those of uniform attention, which the segments' lengths give, times noise; so lengths show in
every head, as they do in models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from foretell.schema.tables import SHARES

__all__ = ["NULL", "PLANTED", "World"]


@dataclass
class Sheet:
    """Samples of one dataset before they become a table."""

    generator: np.random.Generator
    n: int
    heads: int = 12
    noise: float = 0.5
    columns: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw = self.generator
        self.lengths = np.exp(draw.normal(4.0, 0.8, size=(self.n, 3))).round() + 1
        self.answer = np.exp(draw.normal(3.5, 0.6, size=self.n)).round() + 1
        self.lean = np.zeros((self.n, self.heads, 3))
        self.label = draw.integers(0, 2, self.n)
        self.ids = [f"s{index}" for index in range(self.n)]
        self.missing = np.zeros((self.n, self.heads), dtype=bool)

    @property
    def log_ratio(self) -> np.ndarray:
        """Log of prompt over query length."""
        return np.asarray(np.log(self.lengths[:, 0] / self.lengths[:, 1]))

    def chance(self, log_odds: np.ndarray) -> None:
        """Draw labels with these log-odds."""
        self.label = (self.generator.random(self.n) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)

    def shares(self) -> np.ndarray:
        """Return the shares of every sample and head."""
        uniform = np.log(self.lengths / self.lengths.sum(axis=1, keepdims=True))
        draw = self.generator.normal(size=self.lean.shape)
        raw = np.exp(uniform[:, None] + self.lean + self.noise * draw)
        return np.asarray(raw / raw.sum(axis=2, keepdims=True))

    def table(self, dataset: str = "a", values: np.ndarray | None = None) -> pl.DataFrame:
        """Return one row per sample and head."""
        shares = self.shares() if values is None else values
        sample, head = (axis.ravel() for axis in np.indices((self.n, self.heads)))
        facts = {
            "behavior_label": self.label,
            **{f"n_tokens_{name}": self.lengths[:, k] for k, name in enumerate(("prompt", "query", "system"))},
            "n_tokens_generated": self.answer,
            **{name: np.asarray(values) for name, values in self.columns.items()},
        }
        frame = pl.DataFrame(
            {
                "id": np.asarray(self.ids)[sample],
                "dataset": dataset,
                "layer": head // 6,
                "head": head % 6,
                **{name: shares[..., k].ravel() for k, name in enumerate(SHARES)},
                **{name: values[sample] for name, values in facts.items()},
            }
        )
        return frame.filter(~pl.Series(self.missing.ravel()))


@dataclass(frozen=True)
class World:
    """How a table is made, and how it is studied."""

    name: str
    make: Callable[[np.random.Generator], pl.DataFrame]
    study: dict[str, Any] = field(default_factory=dict)


def _independent(draw: np.random.Generator) -> pl.DataFrame:
    return Sheet(draw, 80).table()


def _three_datasets(draw: np.random.Generator) -> pl.DataFrame:
    return pl.concat([Sheet(draw, 60).table(name) for name in "abc"])


def _fingerprints(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 80)
    sheet.lean += draw.normal(size=(sheet.n, 1, 3))
    return sheet.table()


def _strata(draw: np.random.Generator, rates: tuple[float, ...] = (0.8, 0.5, 0.2)) -> pl.DataFrame:
    sheet = Sheet(draw, 120)
    kind = np.arange(sheet.n) % len(rates)
    sheet.label = (draw.random(sheet.n) < np.asarray(rates)[kind]).astype(np.int64)
    sheet.lean[:, :4, 0] += kind[:, None]
    sheet.columns["stratum"] = np.char.add("k", kind.astype(str))
    return sheet.table()


def _pure_strata(draw: np.random.Generator) -> pl.DataFrame:
    return _strata(draw, (1.0, 0.0, 1.0, 0.0))


def _lengths(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 120)
    sheet.chance(1.5 * sheet.log_ratio)
    return sheet.table()


def _u_shaped(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 120)
    sheet.chance(1.5 * (sheet.log_ratio**2 - 1.0))
    return sheet.table()


def _uniform_u_shaped(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 120)
    share = sheet.lengths[:, 0] / sheet.lengths.sum(axis=1)
    sheet.chance(60 * ((share - share.mean()) ** 2 - share.var()))
    return sheet.table()


def _answer_length(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 120)
    sheet.chance(3.0 * (np.log(sheet.answer) - 3.5))
    sheet.lean[..., 0] += 0.5 * (np.log(sheet.answer) - 3.5)[:, None]
    return sheet.table()


def _words(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 120)
    topic = draw.integers(0, 2, sheet.n)
    words = np.array(["rain wind cloud storm snow", "bread flour oven salt yeast"])
    texts = [" ".join(draw.choice(words[one].split(), 4)) for one in topic]
    sheet.chance(2.0 * (2 * topic - 1.0))
    sheet.lean[..., 1] += 0.7 * topic[:, None]
    sheet.columns["answer"] = texts
    return sheet.table()


def _groups(draw: np.random.Generator, *, one_label: bool) -> pl.DataFrame:
    sizes = draw.integers(1, 31, 24 if one_label else 16)
    group = np.repeat(np.arange(len(sizes)), sizes)
    sheet = Sheet(draw, len(group), heads=6)
    rate = draw.integers(0, 2, len(sizes)) if one_label else draw.beta(1.0, 1.0, len(sizes))
    sheet.label = (draw.random(sheet.n) < rate[group]).astype(np.int64)
    sheet.lean += draw.normal(size=(len(sizes), 6, 3))[group]
    sheet.columns["group"] = np.char.add("g", group.astype(str))
    return sheet.table()


def _shared_ids(draw: np.random.Generator) -> pl.DataFrame:
    lean, label = draw.normal(size=(60, 12, 3)), draw.integers(0, 2, 60)
    frames = []
    for name in "abc":
        sheet = Sheet(draw, 60)
        sheet.lean += lean
        sheet.label = np.where(draw.random(60) < 0.8, label, 1 - label)
        frames.append(sheet.table(name))
    return pl.concat(frames)


def _copies(draw: np.random.Generator) -> pl.DataFrame:
    frame = Sheet(draw, 40).table()
    return pl.concat([frame, frame.with_columns(pl.col("id") + "-again")])


def _base_rates(draw: np.random.Generator) -> pl.DataFrame:
    frames = []
    for shift, (name, rate) in enumerate({"a": 0.2, "b": 0.5, "c": 0.8}.items()):
        sheet = Sheet(draw, 80)
        sheet.label = (draw.random(80) < rate).astype(np.int64)
        sheet.lean[..., 0] += shift
        frames.append(sheet.table(name))
    return pl.concat(frames)


def _missing_by_label(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 100)
    sheet.lean += 2.0 * draw.normal(size=(1, 12, 3))
    sheet.missing = draw.random((100, 12)) < np.where(sheet.label == 1, 0.5, 0.1)[:, None]
    sheet.missing[:, 0] = False
    return sheet.table()


def _heavy_tails(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 100)
    return sheet.table(values=draw.standard_cauchy(size=(100, 12, 3)))


def _ties(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 100)
    return sheet.table(values=draw.integers(0, 3, size=(100, 12, 3)).astype(float))


def _rare(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 320, heads=6)
    sheet.label = draw.permutation(np.arange(sheet.n) < 16).astype(np.int64)
    return sheet.table()


_PLAIN = {"compositional": False}
NULL = (
    World("independent", _independent),
    World("three datasets", _three_datasets),
    World("fingerprints", _fingerprints),
    World("strata only", _strata),
    World("pure strata", _pure_strata),
    World("lengths", _lengths),
    World("lengths, U-shaped", _u_shaped),
    World("uniform attention, U-shaped", _uniform_u_shaped),
    World("answer length", _answer_length),
    World("words of the answer", _words),
    World("groups of 1 to 30, one label", lambda draw: _groups(draw, one_label=True)),
    World("groups of 1 to 30, both labels", lambda draw: _groups(draw, one_label=False)),
    World("datasets that share ids", _shared_ids),
    World("copies", _copies),
    World("base rates differ", _base_rates),
    World("rows missing by label", _missing_by_label),
    World("heavy tails", _heavy_tails, _PLAIN),
    World("ties", _ties, _PLAIN),
    World("5 % positives", _rare),
)
"""Worlds in which no head knows more of the label than lengths, words and kinds of task do."""


def _one_head(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 150, heads=500)
    sheet.lean[:, 250, 0] += 1.2 * sheet.label
    return sheet.table()


def _many_weak(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 150, heads=100)
    sheet.lean[..., 0] += 0.12 * sheet.label[:, None]
    return sheet.table()


def _one_dataset(draw: np.random.Generator) -> pl.DataFrame:
    sheets = [Sheet(draw, 120) for _ in range(3)]
    sheets[0].lean[:, 3, 0] += 0.8 * sheets[0].label
    return pl.concat([sheet.table(name) for sheet, name in zip(sheets, "abc", strict=True)])


def _opposite(draw: np.random.Generator) -> pl.DataFrame:
    sheets = [Sheet(draw, 120) for _ in range(2)]
    for sheet, sign in zip(sheets, (1, -1), strict=True):
        sheet.lean[:, 3, 0] += 0.8 * sign * sheet.label
    return pl.concat([sheet.table(name) for sheet, name in zip(sheets, "ab", strict=True)])


def _within_strata(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 160)
    kind = np.arange(sheet.n) % 4
    sheet.lean[:, 3, 0] += 0.9 * sheet.label - 1.2 * kind
    sheet.columns["stratum"] = np.char.add("k", kind.astype(str))
    return sheet.table()


def _beside_lengths(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 200)
    own = draw.normal(size=sheet.n)
    sheet.chance(1.5 * sheet.log_ratio + 1.2 * own)
    sheet.lean[:, 3, 0] += own
    return sheet.table()


def _xor(draw: np.random.Generator) -> pl.DataFrame:
    sheet = Sheet(draw, 300, heads=6)
    first, second = draw.normal(size=(2, sheet.n))
    sheet.chance(3.0 * np.sign(first * second))
    sheet.lean[:, 1, 0] += 2.0 * first
    sheet.lean[:, 4, 0] += 2.0 * second
    return sheet.table()


PLANTED = (
    World("one head in 500", _one_head),
    World("100 weak heads", _many_weak),
    World("one dataset of three", _one_dataset),
    World("opposite signs", _opposite),
    World("within strata only", _within_strata),
    World("beside a strong length effect", _beside_lengths),
    World("XOR of two heads, boosted trees", _xor, {"estimators": {"boosted trees": "gradient-boosting"}}),
)
"""Worlds in which something is to be found."""
