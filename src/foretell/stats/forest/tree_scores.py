"""Probabilities of a random forest that do not depend on the number of threads."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier

__all__ = ["probability_of"]

_CHUNK = 4096
"""Rows that one thread scores at a time; every chunk sums its trees in the same order."""


def probability_of(
    forest: RandomForestClassifier, rows: Float[np.ndarray, "row metric"], n_jobs: int | None
) -> Float[np.ndarray, "row class_"]:
    """Return the probability of label 0 and 1 of each row, bit-identical for every `n_jobs`.

    scikit-learn sums trees in the order in which threads finish; here threads are given rows instead of trees.
    """
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    if len(chunks) == 1:
        return _mean_of_trees(forest, rows)
    scored = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(_mean_of_trees)(forest, chunk) for chunk in chunks)
    return np.concatenate(scored)


def _mean_of_trees(
    forest: RandomForestClassifier, rows: Float[np.ndarray, "row metric"]
) -> Float[np.ndarray, "row class_"]:
    total = np.zeros((len(rows), 2))
    for tree in forest.estimators_:
        total += tree.predict_proba(rows, check_input=False)
    return np.asarray(total / len(forest.estimators_))
