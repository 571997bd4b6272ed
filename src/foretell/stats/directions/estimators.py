"""Ways to find a direction: functions from two activation arrays to one vector per layer.

Each takes the positive and the negative rows, `(row, layer, width)`, and returns `(layer, width)`. Length and sign do
not matter: `foretell.directions.fit` makes unit vectors that point to the positive side. A user's own function
of this form serves as well. Sums are taken in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf

from foretell.errors import InputError
from foretell.stats.detectors.logistic import newton
from foretell.stats.directions.consistency import consistent_weights

__all__ = [
    "METHODS",
    "Method",
    "contrast_consistent",
    "is_built_in",
    "linear_discriminant",
    "logistic",
    "mean_difference",
    "method_named",
    "methods_named",
    "paired_component",
    "rows_needed",
]

Method = Callable[
    [Float[np.ndarray, "row layer width"], Float[np.ndarray, "row layer width"]], Float[np.ndarray, "layer width"]
]
"""A way to find a direction."""

_ROWS_OF_COVARIANCE = 3
"""Rows that a side needs for its covariance to be shrunk: two are equally far from their mean."""
_ROWS_NEEDED = {"logistic": 2, "linear-discriminant": _ROWS_OF_COVARIANCE, "contrast-consistent": 3}
"""Rows of each side. Of fewer the difference is the spread itself, and dimensions that hardly differ count most."""


def mean_difference(
    positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
) -> Float[np.ndarray, "layer width"]:
    """Return the mean of the positive rows minus the mean of the negative ones.

    Example:
        >>> mean_difference(np.ones((3, 1, 2)), np.zeros((3, 1, 2)))
        array([[1., 1.]])
    """
    return np.asarray(positive.mean(axis=0, dtype=np.float64) - negative.mean(axis=0, dtype=np.float64))


def paired_component(
    positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
) -> Float[np.ndarray, "layer width"]:
    """Return the line along which paired differences are longest: their first principal component.

    Differences are taken with both signs, as in representation engineering, so their mean is zero and nothing is
    centred away. Rows must be paired.

    Source:
        `sklearn.decomposition.PCA` fitted on the differences and their negatives; arXiv 2310.01405, section 3.1.
    """
    return _by_layer(_first_component, positive, negative)


def logistic(
    positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
) -> Float[np.ndarray, "layer width"]:
    """Return the weights of a logistic regression of the side on standardised hidden states, in original units.

    The penalty is half the squared norm of the standardised weights (C = 1), the intercept is free.

    Source:
        `sklearn.linear_model.LogisticRegression(C=1)` after `StandardScaler`, weights divided by the scale.
    """
    return _by_layer(_logistic_weights, positive, negative)


def linear_discriminant(
    positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
) -> Float[np.ndarray, "layer width"]:
    """Return the linear discriminant with Ledoit-Wolf shrunk covariance, averaged over both sides.

    Undefined:
        nan where the covariance has no inverse. Two rows of a side are equally far from their mean, so nothing is
        shrunk, and the covariance knows a single line.

    Source:
        `sklearn.discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")`.
    """
    return _by_layer(_discriminant, positive, negative)


def contrast_consistent(
    positive: Float[np.ndarray, "row layer width"], negative: Float[np.ndarray, "row layer width"]
) -> Float[np.ndarray, "layer width"]:
    """Return the weights of a probe whose probabilities of both answers of a pair sum to one and are not one half.

    Which answer shows the concept is not used: only the sign that is fixed afterwards knows it. Rows must be paired.

    Source:
        Burns et al. (2023), arXiv 2212.03827, equation 1; see `foretell.stats.directions.consistency` for what
        differs.
    """
    return _by_layer(consistent_weights, positive, negative)


METHODS: dict[str, Method] = {
    "mean-difference": mean_difference,
    "paired-component": paired_component,
    "logistic": logistic,
    "linear-discriminant": linear_discriminant,
    "contrast-consistent": contrast_consistent,
}
"""The built-in methods by name."""


def is_built_in(method: Method) -> bool:
    """Tell whether a method is one of `METHODS`, which leave their input as it is."""
    return any(method is known for known in METHODS.values())


def rows_needed(method: Method) -> int:
    """Return how many rows a method needs of each side."""
    return max((n for name, n in _ROWS_NEEDED.items() if METHODS[name] is method), default=1)


def method_named(method: str | Method) -> tuple[str, Method]:
    """Return a method's name and function.

    A user's own function keeps its own name, a partial one with what it was given; one that is called like a built-in
    method is told apart from it as "own ...".

    Raises:
        InputError: No method has that name, or it is neither a name nor a function.

    Example:
        >>> method_named("logistic")[0]
        'logistic'
        >>> method_named(functools.partial(mean_difference, negative=np.zeros((3, 1, 2))))[0].split("(")[0]
        'mean_difference'
    """
    if callable(method):
        for name, known in METHODS.items():
            if method is known:
                return name, known
        name = _own_name(method)
        return (f"own {name}" if name in METHODS else name), method
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f'there is no method "{method}"; choose one of {", ".join(METHODS)}, or give a function')
    return method, METHODS[method]


def methods_named(methods: str | Method | Sequence[str | Method]) -> list[tuple[str, Method]]:
    """Return methods with their names, each once; functions of one name are numbered.

    Args:
        methods: Names or functions, or a single one.

    Raises:
        InputError: There are none, or as `method_named`.

    Example:
        >>> [name for name, _ in methods_named(["logistic", "mean-difference", "logistic"])]
        ['logistic', 'mean-difference']
    """
    given = [methods] if isinstance(methods, str) or callable(methods) else list(methods)
    if not given:
        raise InputError(f"there are no methods; give one of {', '.join(METHODS)}, or a function")
    named: dict[str, Method] = {}
    for method in given:
        name, find = method_named(method)
        if any(find is known for known in named.values()):
            continue
        n_alike = sum(known == name or known.startswith(f"{name} (") for known in named)
        named[f"{name} ({n_alike + 1})" if n_alike else name] = find
    return list(named.items())


def _own_name(method: Method) -> str:
    if not isinstance(method, functools.partial):
        return str(getattr(method, "__name__", type(method).__name__))
    given = [*map(_short, method.args), *(f"{name}={_short(value)}" for name, value in method.keywords.items())]
    return f"{_own_name(method.func)}({', '.join(given)})"


def _short(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__


def _by_layer(
    find: Callable[[np.ndarray, np.ndarray], np.ndarray], positive: np.ndarray, negative: np.ndarray
) -> np.ndarray:
    vectors = np.empty(positive.shape[1:])
    for layer in range(len(vectors)):
        vectors[layer] = find(positive[:, layer].astype(np.float64), negative[:, layer].astype(np.float64))
    return vectors


def _first_component(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    difference = positive - negative
    if len(difference) < difference.shape[1]:
        _, vectors = np.linalg.eigh(difference @ difference.T)
        return np.asarray(difference.T @ vectors[:, -1])
    _, vectors = np.linalg.eigh(difference.T @ difference)
    return np.asarray(vectors[:, -1])


def _logistic_weights(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    rows = np.concatenate([positive, negative])
    scale = rows.std(axis=0)
    scale[scale == 0.0] = 1.0
    standardised = (rows - rows.mean(axis=0)) / scale
    # The weights lie in the span of the rows, so the problem has no more unknowns than rows.
    left, length, right = np.linalg.svd(standardised, full_matrices=False)
    kept = length > length[0] * 1e-12
    projected = left[:, kept] * length[kept]
    target = np.repeat([1, 0], [len(positive), len(negative)])
    return np.asarray((right[kept].T @ newton(projected, target, [1.0])[0, :-1]) / scale)


def _discriminant(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    undefined = np.full(positive.shape[1], np.nan)
    if min(len(positive), len(negative)) < _ROWS_OF_COVARIANCE:
        return undefined
    n_rows = len(positive) + len(negative)
    covariance = np.asarray(sum(len(side) / n_rows * _shrunk_covariance(side) for side in (positive, negative)))
    # Columns of one size, so that what remains of the pivots tells of the columns' dependence alone.
    scale = np.sqrt(np.diag(covariance))
    if not (scale > 0.0).all():
        return undefined
    try:
        factor = cho_factor(covariance / scale / scale[:, None])
    except np.linalg.LinAlgError:
        return undefined
    if np.diag(factor[0]).min() ** 2 <= len(scale) * np.finfo(np.float64).eps:
        return undefined
    return np.asarray(cho_solve(factor, (positive.mean(axis=0) - negative.mean(axis=0)) / scale) / scale)


def _shrunk_covariance(rows: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf's covariance of the standardised columns, brought back to their units."""
    scale = rows.std(axis=0)
    scale[scale == 0.0] = 1.0
    shrunk, _ = ledoit_wolf((rows - rows.mean(axis=0)) / scale, assume_centered=True)
    return np.asarray(shrunk * scale * scale[:, None])
