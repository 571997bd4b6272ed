"""The minimum detectable AUC: what a null result rules out."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from foretell.stats.auc.fold_auc import nadeau_bengio_factor

__all__ = ["POWER", "minimal_auc"]

POWER = 0.8


def minimal_auc(
    n_positive: int,
    n_negative: int,
    *,
    level: float = 0.95,
    power: float = POWER,
    n_tests: int = 1,
    n_folds: int = 1,
    n_repeats: int = 1,
) -> float | None:
    """Minimum detectable AUC: the smallest true AUC whose interval excludes one half with the given power.

    It is 0.5 + (z(1 - (1 - level) / (2 n_tests)) + z(power)) s, where s is the standard error of the AUC if score and
    label are independent: s squared = (n_positive + n_negative + n_folds) / (12 n_positive n_negative), because pairs
    are compared within a fold. With two or more folds it is multiplied by `nadeau_bengio_factor`, like the interval.

    Args:
        n_positive: Independent groups with label 1.
        n_negative: Independent groups with label 0.
        level: Coverage of the interval.
        power: Probability of detection.
        n_tests: Number of simultaneous tests (Bonferroni).
        n_folds: Folds of the cross-validation; 1 where nothing was fitted.
        n_repeats: Repeats of the folds.

    Undefined:
        None where a class is missing, or where the formula gives more than 1.

    Source:
        Null variance of the Mann-Whitney statistic (Mann and Whitney 1947), of folds of one size.

    Example:
        >>> round(minimal_auc(50, 50), 3), round(minimal_auc(50, 50, n_folds=5, n_repeats=5), 3)
        (0.663, 0.7)
    """
    if not n_positive or not n_negative:
        return None
    variance = (n_positive + n_negative + n_folds) / (12.0 * n_positive * n_negative)
    variance *= nadeau_bengio_factor(n_folds, n_repeats)
    z = float(ndtri(1 - (1 - level) / (2 * n_tests)) + ndtri(power))
    smallest = 0.5 + z * float(np.sqrt(variance))
    return smallest if smallest <= 1 else None
