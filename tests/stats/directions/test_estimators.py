"""Each method against an independent oracle, and against a direction that was planted."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from foretell.errors import InputError
from foretell.stats.directions.estimators import (
    METHODS,
    Method,
    contrast_consistent,
    linear_discriminant,
    logistic,
    mean_difference,
    method_named,
    methods_named,
    paired_component,
    rows_needed,
)

SHAPES = [(30, 12), (25, 60)]
"""More pairs than the width, and fewer."""


def sides(generator: np.random.Generator, n_pairs: int, width: int, signal: float = 1.0) -> tuple[np.ndarray, ...]:
    """Two layers of pairs that share what is common to a pair and differ along a planted unit vector."""
    planted = generator.normal(size=(2, width))
    planted /= np.linalg.norm(planted, axis=1, keepdims=True)
    scale = generator.uniform(0.2, 5.0, size=width)
    common = generator.normal(size=(n_pairs, 2, width)) * scale
    noise = generator.normal(size=(2, n_pairs, 2, width))
    positive = common + noise[0] + signal * planted
    negative = common + noise[1] - signal * planted
    return positive.astype(np.float32), negative.astype(np.float32), planted


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


@pytest.mark.parametrize(("n_pairs", "width"), SHAPES)
def test_mean_difference_equals_numpy(generator: np.random.Generator, n_pairs: int, width: int) -> None:
    positive, negative, _ = sides(generator, n_pairs, width)
    expected = positive.astype(np.float64).mean(0) - negative.astype(np.float64).mean(0)
    np.testing.assert_allclose(mean_difference(positive, negative), expected, atol=1e-12)


@pytest.mark.parametrize(("n_pairs", "width"), SHAPES)
def test_paired_component_equals_pca_of_differences_of_both_signs(
    generator: np.random.Generator, n_pairs: int, width: int
) -> None:
    positive, negative, _ = sides(generator, n_pairs, width)
    found = unit(paired_component(positive, negative))
    for layer in range(2):
        difference = (positive[:, layer] - negative[:, layer]).astype(np.float64)
        oracle = PCA(n_components=1, svd_solver="full").fit(np.concatenate([difference, -difference])).components_[0]
        assert abs(found[layer] @ oracle) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize(("n_pairs", "width"), SHAPES)
def test_logistic_equals_scikit_learn(generator: np.random.Generator, n_pairs: int, width: int) -> None:
    positive, negative, _ = sides(generator, n_pairs, width)
    found = logistic(positive, negative)
    target = np.repeat([1, 0], n_pairs)
    for layer in range(2):
        rows = np.concatenate([positive[:, layer], negative[:, layer]]).astype(np.float64)
        scaler = StandardScaler().fit(rows)
        oracle = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        oracle.fit(scaler.transform(rows), target)
        np.testing.assert_allclose(found[layer], oracle.coef_[0] / scaler.scale_, atol=1e-6)


@pytest.mark.parametrize(("n_pairs", "width"), SHAPES)
def test_linear_discriminant_equals_scikit_learn(generator: np.random.Generator, n_pairs: int, width: int) -> None:
    positive, negative, _ = sides(generator, n_pairs, width)
    found = linear_discriminant(positive, negative)
    target = np.repeat([1, 0], n_pairs)
    for layer in range(2):
        rows = np.concatenate([positive[:, layer], negative[:, layer]]).astype(np.float64)
        oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(rows, target)
        np.testing.assert_allclose(found[layer], oracle.coef_[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_planted_direction_is_found_at_high_signal(generator: np.random.Generator, name: str) -> None:
    positive, negative, planted = sides(generator, 600, 16, signal=30.0)
    found = METHODS[name](positive, negative)
    if name in {"mean-difference", "paired-component"}:
        assert (np.abs((unit(found) * planted).sum(axis=1)) > 0.99).all()
    # The others weigh by the spread within a side: they find the line that separates, of either sign.
    for layer in range(2):
        above, below = positive[:, layer] @ found[layer], negative[:, layer] @ found[layer]
        assert above.min() > below.max() or above.max() < below.min()


@pytest.mark.parametrize("name", ["logistic", "linear-discriminant"])
def test_discriminating_methods_find_the_shift_where_noise_is_alike_in_all_directions(
    generator: np.random.Generator, name: str
) -> None:
    planted = unit(generator.normal(size=(1, 8)))
    positive, negative = generator.normal(size=(2, 4000, 1, 8)) + np.array([1.0, -1.0])[:, None, None, None] * planted
    found = unit(METHODS[name](positive, negative))
    assert abs(float(found[0] @ planted[0])) > 0.99


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_pairs_does_not_matter(generator: np.random.Generator, name: str) -> None:
    positive, negative, _ = sides(generator, 40, 10)
    order = generator.permutation(40)
    first, second = unit(METHODS[name](positive, negative)), unit(METHODS[name](positive[order], negative[order]))
    np.testing.assert_allclose(np.abs((first * second).sum(axis=1)), 1.0, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_column_takes_no_part(generator: np.random.Generator, name: str) -> None:
    positive, negative, _ = sides(generator, 40, 10)
    positive[..., 3] = negative[..., 3] = 7.0
    found = METHODS[name](positive, negative)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 3], 0.0, atol=1e-9)


def test_a_method_is_a_name_or_a_function() -> None:
    assert method_named("mean-difference") == ("mean-difference", mean_difference)
    assert method_named(logistic)[0] == "logistic"
    with pytest.raises(InputError, match=r'no method "magic"; choose one of mean-difference, paired-component'):
        method_named("magic")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_pairs", [1, 2, 3, 4])
def test_few_pairs_give_a_direction_or_none_and_no_error(
    generator: np.random.Generator, name: str, n_pairs: int
) -> None:
    positive, negative, _ = sides(generator, n_pairs, 20, signal=5.0)
    found = METHODS[name](positive, negative)
    if n_pairs < rows_needed(METHODS[name]):
        assert np.isnan(found).all() or name != "linear-discriminant"
        return
    difference = positive.mean(axis=0) - negative.mean(axis=0)
    assert (np.abs((unit(found) * unit(difference)).sum(axis=1)) > 0.2).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["all alike", "each side alike", "copies of two"])
def test_rows_without_spread_give_no_error(generator: np.random.Generator, name: str, kind: str) -> None:
    positive, negative, _ = sides(generator, 2, 20)
    index = np.zeros(6, dtype=int) if kind != "copies of two" else np.arange(6) % 2
    positive, negative = positive[index], (positive if kind == "all alike" else negative)[index]
    assert METHODS[name](positive, negative).shape == (2, 20)


def test_two_rows_of_a_side_have_no_covariance_that_could_be_inverted(generator: np.random.Generator) -> None:
    """Why three rows are needed: scikit-learn shrinks nothing with two, and what it finds is no discriminant."""
    positive, negative, _ = sides(generator, 2, 20, signal=5.0)
    rows = np.concatenate([positive[:, 0], negative[:, 0]]).astype(np.float64)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(rows, [1, 1, 0, 0]).coef_[0]
    difference = positive[:, 0].mean(axis=0) - negative[:, 0].mean(axis=0)
    assert np.linalg.matrix_rank(np.cov(positive[:, 0], rowvar=False)) == 1
    assert abs(float(unit(oracle) @ unit(difference))) < 0.6


def shares(positive: np.ndarray, negative: np.ndarray, share: float = 0.5, how: object = None) -> np.ndarray:
    return np.asarray(share * (positive - negative).mean(axis=0))


def test_methods_of_one_name_are_distinguished() -> None:
    def logistic_of_ones_own(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        return np.asarray(positive.mean(axis=0))

    logistic_of_ones_own.__name__ = "logistic"
    one, other, same = (functools.partial(shares, share=share) for share in (0.1, 0.2, 0.1))
    anonymous = [lambda positive, _, n=n: positive[0] * n for n in (1, 2)]
    given: list[str | Method] = [
        "logistic",
        one,
        other,
        same,
        logistic_of_ones_own,
        "logistic",
        logistic,
        one,
        *anonymous,
    ]
    named = methods_named(given)
    assert [name for name, _ in named] == [
        "logistic",
        "shares(share=0.1)",
        "shares(share=0.2)",
        "shares(share=0.1) (2)",
        "own logistic",
        "<lambda>",
        "<lambda> (2)",
    ]
    assert [find for _, find in named] == [logistic, one, other, same, logistic_of_ones_own, *anonymous]
    assert method_named(functools.partial(shares, how=np.zeros(3)))[0] == "shares(how=ndarray)"


def test_a_single_method_is_a_list_of_one_and_none_is_refused() -> None:
    assert methods_named("logistic") == methods_named(["logistic"]) == methods_named(logistic)
    with pytest.raises(InputError, match="there are no methods; give one of mean-difference"):
        methods_named([])
    with pytest.raises(InputError, match='no method "7"'):
        inspect.unwrap(method_named)(7)


@pytest.mark.parametrize(("n_pairs", "width"), SHAPES)
def test_contrast_consistent_search_ends_where_the_loss_is_flat(
    generator: np.random.Generator, n_pairs: int, width: int
) -> None:
    positive, negative, _ = sides(generator, n_pairs, width)
    rows = np.concatenate([positive[:, 0], negative[:, 0]]).astype(np.float64)
    scale = ((rows[:n_pairs] + rows[n_pairs:]) / 2).std(axis=0)
    standardised = (rows - rows.mean(axis=0)) / scale
    first, second = standardised[:n_pairs], standardised[n_pairs:]

    def loss(weights: np.ndarray, intercept: float) -> float:
        one, other = (1 / (1 + np.exp(-(side @ weights + intercept))) for side in (first, second))
        return float(np.mean((one + other - 1) ** 2 + np.minimum(one, other) ** 2) + 0.005 * weights @ weights)

    found = contrast_consistent(positive, negative)[0] * scale
    intercepts = np.linspace(-2, 2, 401)
    intercept = intercepts[np.argmin([loss(found, value) for value in intercepts])]
    least = loss(found, intercept)
    assert least < loss(np.zeros(width), 0.0)
    for _ in range(20):
        step = generator.normal(size=width) * 0.02
        assert loss(found + step, intercept) > least - 1e-4


def test_contrast_consistent_search_knows_no_sides(generator: np.random.Generator) -> None:
    positive, negative, _ = sides(generator, 60, 8, signal=3.0)
    swap = generator.random(60) < 0.5
    mixed = np.where(swap[:, None, None], negative, positive), np.where(swap[:, None, None], positive, negative)
    found, blind = unit(contrast_consistent(positive, negative)), unit(contrast_consistent(*mixed))
    np.testing.assert_allclose(np.abs((found * blind).sum(axis=1)), 1.0, atol=1e-3)
