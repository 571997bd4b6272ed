"""AUC of many columns over pairs of samples of one stratum."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from foretell.stats.auc.rank_sums import Engine, column_sums

__all__ = ["NO_STRATUM", "NO_STRATUM_WITH_BOTH", "auc_within_strata"]

NO_STRATUM = "no stratum is given"
NO_STRATUM_WITH_BOTH = "no stratum has both labels"


def auc_within_strata(
    values: Float[np.ndarray, "column sample"],
    label: Shaped[np.ndarray, " sample"],
    stratum: Shaped[np.ndarray, " sample"],
    *,
    engine: Engine = "auto",
) -> Float[np.ndarray, " column"]:
    """Probability that a positive scores above a negative of the same stratum, ties one half.

    Every pair has the same weight. An effect of the stratum on values and label has no influence.

    Args:
        values: nan where missing.
        label: 1 positive, 0 negative.
        stratum: Names of strata.
        engine: Compiled loops or numpy.

    Undefined:
        nan where no stratum has values of both labels.

    Source:
        The mean of the strata's `sklearn.metrics.roc_auc_score`, weighted by their numbers of pairs.

    Example:
        >>> values, label = np.array([[1.0, 2.0, 9.0, 8.0]]), np.array([0, 1, 0, 1])
        >>> float(auc_within_strata(values, label, np.array(["a", "a", "b", "b"]))[0])
        0.5
    """
    wins, pairs = np.zeros(values.shape[0]), np.zeros(values.shape[0])
    for name in np.unique(stratum):
        chosen = stratum == name
        sums = column_sums(values[:, chosen], label[chosen] == 1, engine=engine)
        wins += sums.wins / 2
        pairs += sums.n_positive * (sums.n - sums.n_positive)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(pairs > 0, wins / pairs, np.nan))
