"""Differences of many columns between two sides, with intervals over groups that may be on both.

Every estimate comes with what each group contributes to its error, on each side. Where the same groups are on both
sides, their contributions are subtracted before they are squared, so what both sides share does not widen the interval;
where no group is, the same sum is that of two independent sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri, stdtr, stdtrit

from foretell.stats.auc.clustered import group_sums, placement_counts
from foretell.stats.auc.intervals import effective_groups
from foretell.stats.folds import derived_seed

__all__ = ["Contrast", "Part", "auc_part", "contrast", "mean_part", "paired_means", "rate_contrast", "summed"]

_NOTHING = 1e-12
"""Errors that are a smaller share of what they are sums of are rounding."""
_BLOCK = 1 << 22
_TIES = 1e-9
_SMALLEST = 1e-300


@dataclass(frozen=True)
class Part:
    """Estimates of some columns on one side, and the error of each class of samples."""

    estimate: Float[np.ndarray, " column"]
    errors: Sequence[Float[np.ndarray, "column group"]]
    """What each group adds to the estimate's error, by class of samples, times its small-sample factor."""
    sizes: Sequence[float]
    """Effective number of groups of each class."""


@dataclass(frozen=True)
class Contrast:
    """Differences of some columns, first side minus second; nan where undefined."""

    first: Float[np.ndarray, " column"]
    second: Float[np.ndarray, " column"]
    difference: Float[np.ndarray, " column"]
    centre: Float[np.ndarray, " column"]
    """Of the interval: the difference, or one that is drawn towards 0 where a rate may be seen to be 0 by chance."""
    error: Float[np.ndarray, " column"]
    """Standard error."""
    degrees: Float[np.ndarray, " column"]
    contributions: Float[np.ndarray, "column group"]
    """What each group adds: to the difference where both sides are exchangeable, else to its error."""
    exchangeable: bool = False
    """Whether the sides of a group may be exchanged where there is no difference."""

    def interval(self, level: float) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
        """Return both ends of the confidence interval of each difference, by Student's t."""
        half = stdtrit(self.degrees, 0.5 + level / 2) * self.error
        return self.centre - half, self.centre + half

    @property
    def p(self) -> Float[np.ndarray, " column"]:
        """Two-sided p-value of each difference being 0; 1 where both sides are the same."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = 2 * stdtr(self.degrees, -np.abs(self.centre) / self.error)
        return np.asarray(np.where((self.difference == 0) & np.isnan(self.error), 1.0, found))

    def p_max(self, *, n_draws: int, seed: int) -> Float[np.ndarray, " column"]:
        """Return the probability that the largest statistic of all columns reaches each one's, without differences.

        Where both sides are exchangeable, the signs of whole groups are drawn anew, the same for all columns, which is
        exact. Else each group's error is multiplied by a random number of the normal distribution; what is compared
        with the largest sum is the normal quantile of each column's own p-value, because Student's t has longer tails.

        Args:
            n_draws: Random draws; the smallest value is 1 / (1 + n_draws).
            seed: Of a local generator.

        Undefined:
            nan where a column has no error, or no draw is asked for.

        Source:
            Westfall and Young (1993), single-step maxT; signs of whole clusters as in Winkler et al. (2014); multiplier
            bootstrap: Chernozhukov, Chetverikov and Kato (2013).
        """
        size = _norm(self.contributions)
        with np.errstate(invalid="ignore", divide="ignore"):
            exact = np.abs(self.contributions.sum(axis=1)) / np.where(size > 0, size, np.nan)
            statistic = exact if self.exchangeable else -ndtri(np.maximum(self.p, _SMALLEST) / 2)
        defined = np.isfinite(statistic) & np.isfinite(self.error) & (size > 0)
        if not defined.any() or not n_draws:
            return np.full(len(statistic), np.nan)
        generator = np.random.default_rng(derived_seed(seed, "draws of groups"))
        shape = (n_draws, self.contributions.shape[1])
        draws = generator.integers(0, 2, shape) * 2.0 - 1.0 if self.exchangeable else generator.standard_normal(shape)
        largest = np.zeros(n_draws)
        scaled = self.contributions[defined] / size[defined, None]
        width = max(1, _BLOCK // n_draws)
        for start in range(0, len(scaled), width):
            np.maximum(largest, np.abs(draws @ scaled[start : start + width].T).max(axis=1), out=largest)
        reached = n_draws - np.searchsorted(np.sort(largest), statistic - _TIES, side="left")
        return np.asarray(np.where(defined, (1 + reached) / (1 + n_draws), np.nan))


def summed(
    values: Float[np.ndarray, "column sample"], codes: Int[np.ndarray, " sample"], n_groups: int
) -> Float[np.ndarray, "column group"]:
    """Return the sums of values by group, of all groups of both sides in the order of their codes."""
    sums = np.zeros((len(values), n_groups))
    sums[:, np.unique(codes)] = group_sums(values, codes)
    return sums


def _norm(values: Float[np.ndarray, "column group"]) -> Float[np.ndarray, " column"]:
    return np.asarray(np.sqrt(np.einsum("cg,cg->c", values, values)))


def _size(codes: Int[np.ndarray, " sample"]) -> float:
    return float(effective_groups(np.bincount(codes))) if len(codes) else 0.0


def _factor(size: float) -> float:
    return size / (size - 1) if size > 1 else np.nan


def mean_part(values: Float[np.ndarray, "column sample"], codes: Int[np.ndarray, " sample"], n_groups: int) -> Part:
    """Return the mean of each column; nan values are left out.

    Args:
        values: Columns as rows.
        codes: Group of each sample.
        n_groups: Groups of both sides.
    """
    present = ~np.isnan(values)
    n = present.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, values, 0.0).sum(axis=1) / n
        errors = summed(np.where(present, values - mean[:, None], 0.0), codes, n_groups) / n[:, None]
    size = _size(codes)
    return Part(mean, [errors * np.sqrt(_factor(size))], [size])


def auc_part(
    values: Float[np.ndarray, "column sample"],
    positive: Bool[np.ndarray, " sample"],
    codes: Int[np.ndarray, " sample"],
    n_groups: int,
) -> Part:
    """Return the AUC of each column for a label, ties one half; nan values are left out.

    Args:
        values: Columns as rows.
        positive: Label of each sample.
        codes: Group of each sample.
        n_groups: Groups of both sides.

    Undefined:
        nan where a class is missing; the error is nan where a class has one group.

    Source:
        DeLong, DeLong and Clarke-Pearson (1988), placement values; Obuchowski (1997), sums over groups.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    present = ~np.isnan(values)
    counts = placement_counts(values, present, positive.astype(np.uint32), "auto")
    errors, sizes, area = [], [], np.full(len(values), np.nan)
    for here in (positive, ~positive):
        own, other = (np.count_nonzero(present[:, one], axis=1).astype(np.float64)[:, None] for one in (here, ~here))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(present[:, here] & (other > 0), counts[:, here] / (2 * other), np.nan)
            mean = np.nansum(share, axis=1) / own[:, 0]
            deviation = np.where(np.isnan(share), 0.0, share - mean[:, None]) / own
        area = np.where((own[:, 0] > 0) & (other[:, 0] > 0), mean, np.nan)
        size = _size(codes[here])
        sizes.append(size)
        errors.append(summed(deviation, codes[here], n_groups) * np.sqrt(_factor(size)))
    return Part(area, errors, sizes)


def contrast(first: Part, second: Part) -> Contrast:
    """Return the differences of two sides, whose groups may be the same.

    The degrees of freedom of means are Satterthwaite's over both sides; those of AUCs, whose variance within a class of
    few samples is noisy, are one less than the groups of the smallest class.
    """
    errors = np.sum(first.errors, axis=0) - np.sum(second.errors, axis=0)
    parts = np.stack([_norm(one) ** 2 for one in (*first.errors, *second.errors)])
    total = parts.sum(axis=0)
    sizes = np.array([*first.sizes, *second.sizes])
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (parts**2 / (sizes - 1)[:, None]).sum(axis=0)
        least, most = max(sizes.min() - 1, 1), max(sizes.sum() - len(sizes), 1)
        degrees = np.clip(total**2 / spread, least, most if len(sizes) == 2 else least)
        error = np.sqrt(np.where(_norm(errors) ** 2 > _NOTHING * total, _norm(errors) ** 2, np.nan))
        difference = first.estimate - second.estimate
    degrees = np.where(np.isnan(degrees), least, degrees)
    return Contrast(first.estimate, second.estimate, difference, difference, error, degrees, errors)


def paired_means(
    first: Float[np.ndarray, "column sample"],
    second: Float[np.ndarray, "column sample"],
    codes: Int[np.ndarray, " sample"],
    n_groups: int,
) -> Contrast:
    """Return the mean differences of columns of the same samples; a sample that lacks either value is left out.

    Signs are flipped of the differences themselves, which is exact where both sides could be exchanged.
    """
    both = np.where(np.isnan(first) | np.isnan(second), np.nan, 0.0)
    change = mean_part(first - second, codes, n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = np.count_nonzero(~np.isnan(both), axis=1)[:, None]
        flips = summed(np.nan_to_num(first - second), codes, n_groups) / n
        means = [np.nansum(side + both, axis=1) / n[:, 0] for side in (first, second)]
        largest = np.nanmax(np.abs(first - second) + both, axis=1, initial=0.0)
        error = _norm(change.errors[0])
        error = np.where(error > _NOTHING * largest, error, np.nan)
    degrees = np.full(len(n), max(change.sizes[0] - 1, 1.0))
    mean = change.estimate
    return Contrast(means[0], means[1], mean, mean, error, degrees, flips, exchangeable=True)


def rate_contrast(
    first: Float[np.ndarray, " sample"],
    second: Float[np.ndarray, " other"],
    codes: tuple[Int[np.ndarray, " sample"], Int[np.ndarray, " other"]],
    n_groups: int,
    *,
    paired: bool,
) -> Contrast:
    """Return the difference of two label rates, whose interval has a width also where no label differs.

    Args:
        first: Labels, 0 or 1.
        second: Labels of the other side; of the same samples where they are paired.
        codes: Group of each sample, on both sides.
        n_groups: Groups of both sides.
        paired: Whether both sides have the same samples in the same order.

    Source:
        Agresti and Min (2005) for paired samples: half a sample is added to each pair of labels; Agresti and Caffo
        (2000) else: one sample of each label is added to both sides. Both with the variance over groups.
    """
    if paired:
        n, change = len(first), first - second
        centre = change.sum() / (n + 2)
        deviation = summed((change - centre)[None], codes[0], n_groups)[0]
        added = 0.5 * (1 - centre) ** 2 + 0.5 * (1 + centre) ** 2 + centre**2
        sizes = [_size(codes[0])]
        variance = (deviation @ deviation * _factor(sizes[0]) + added) / (n + 2) ** 2
        degrees = sizes[0] + 1
    else:
        rates = [(side.sum() + 1) / (len(side) + 2) for side in (first, second)]
        centre = rates[0] - rates[1]
        parts = [
            summed((side - rate)[None], own, n_groups)[0] * np.sqrt(_factor(_size(own))) / (len(side) + 2)
            for side, rate, own in zip((first, second), rates, codes, strict=True)
        ]
        added = [
            ((1 - rate) ** 2 + rate**2) / (len(side) + 2) ** 2
            for side, rate in zip((first, second), rates, strict=True)
        ]
        error = parts[0] - parts[1]
        variance = error @ error + sum(added)
        own_variance = [float(part @ part + extra) for part, extra in zip(parts, added, strict=True)]
        sizes = [_size(own) + 2 for own in codes]
        spread = sum(one**2 / (size - 1) for one, size in zip(own_variance, sizes, strict=True))
        degrees = sum(own_variance) ** 2 / spread
    error = np.sqrt(variance)
    rates_seen = [np.array([side.mean()]) for side in (first, second)]
    return Contrast(
        rates_seen[0],
        rates_seen[1],
        rates_seen[0] - rates_seen[1],
        np.array([centre]),
        np.array([error]),
        np.array([degrees]),
        np.zeros((1, n_groups)),
    )
