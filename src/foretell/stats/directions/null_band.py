"""Evidence for a direction: comparison with random ones, nested choice of the layer, transfer, agreement of methods.

All functions take held-out scores `(pair, side, layer)`: side 0 is the positive answer, and every score is from a
direction that was not fitted on its pair's topic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.special import ndtri
from scipy.stats import rankdata

from foretell.schema.tables import (
    DIRECTION_AGREEMENT,
    DIRECTION_CHOICE,
    DIRECTION_NULL,
    DIRECTION_TRANSFER,
    conform,
)
from foretell.stats.auc.fold_auc import auc_with_influence, nadeau_bengio_factor
from foretell.stats.auc.intervals import auc_interval
from foretell.stats.directions.separation import pair_accuracy

__all__ = ["agreement", "chosen_layers", "layer_aucs", "null_band", "transfer_matrix"]

_UNDEFINED = "no direction is defined here"


def layer_aucs(scores: Float[np.ndarray, "*draw pair side layer"]) -> Float[np.ndarray, "*draw layer"]:
    """AUC per layer: probability that a positive answer scores above a negative one, ties one half.

    Undefined:
        nan where a score is.

    Example:
        >>> layer_aucs(np.array([[[2.0], [1.0]], [[3.0], [0.0]]])).tolist()
        [1.0]
    """
    n_pairs = scores.shape[-3]
    joined = np.concatenate([scores[..., 0, :], scores[..., 1, :]], axis=-2)
    ranks = np.asarray(rankdata(joined, axis=-2))
    area = (ranks[..., :n_pairs, :].sum(axis=-2) - n_pairs * (n_pairs + 1) / 2) / n_pairs**2
    return np.where(np.isfinite(joined).all(axis=-2), area, np.nan)


def null_band(
    null: Float[np.ndarray, "draw layer"],
    scores: Float[np.ndarray, "pair side layer"],
    *,
    concept: str,
    method: str,
    kind: Literal["random", "shuffled"],
    layers: Sequence[int] | None = None,
) -> pl.DataFrame:
    """AUC of random or label-shuffled directions on the same answers, per layer and at their best layer.

    The row without a layer compares the direction's best layer with the best layer of every draw; it accounts for the
    choice among layers.

    Args:
        null: AUC (`layer_aucs`) of directions drawn at random or fitted on shuffled answers.
        scores: Scores of the direction itself.
        concept: Its concept.
        method: The method that fitted it.
        kind: Kind of the draws.
        layers: Index of each layer; None counts from 0.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_NULL`.

    Undefined:
        Null with `reason` in layers without a direction.
    """
    names = list(range(scores.shape[-1])) if layers is None else list(layers)
    observed = layer_aucs(scores)
    rows = [_band(null[:, index], observed[index], layer) for index, layer in enumerate(names)]
    defined = np.isfinite(observed)
    best = (
        _band(np.nanmax(null[:, defined], axis=1), observed[defined].max(), None)
        if defined.any() and len(null)
        else _band(null[:, 0], np.nan, None)
    )
    frame = pl.DataFrame([*rows, best], infer_schema_length=None)
    named = {"concept": concept, "method": method, "kind": kind}
    return conform(frame.with_columns(**{key: pl.lit(value) for key, value in named.items()}), DIRECTION_NULL)


def _band(null: np.ndarray, observed: float, layer: int | None) -> dict[str, Any]:
    known = null[np.isfinite(null)]
    row: dict[str, Any] = {"layer": layer, "n_draws": len(known)}
    if not len(known) or not np.isfinite(observed):
        return {**row, "reason": _UNDEFINED}
    lower, upper = np.quantile(known, (0.05, 0.95))
    return {
        **row,
        "auc_mean": float(known.mean()),
        "auc_lower": float(lower),
        "auc_upper": float(upper),
        "auc_observed": float(observed),
        "p_value": float((1 + (known >= observed).sum()) / (1 + len(known))),
        "reason": None,
    }


def chosen_layers(
    inner: Float[np.ndarray, "fold pair side layer"],
    outer: Float[np.ndarray, "pair side layer"],
    folds: Int[np.ndarray, " pair"],
    fold_names: Sequence[str],
    *,
    concept: str,
    method: str,
    baselines: Mapping[str, Float[np.ndarray, "pair side"]],
    layers: Sequence[int] | None = None,
) -> pl.DataFrame:
    """Choose the best layer in nested cross-validation: without the topics on which it is evaluated.

    Args:
        inner: Per held-out fold, scores of the other folds by directions fitted without both.
        outer: Scores of each fold by directions fitted without it.
        folds: Fold of each pair, codes from 0.
        fold_names: Topics of each fold.
        concept: Concept of the direction.
        method: The method that fitted it.
        baselines: Baseline scores per answer.
        layers: Index of each layer; None counts from 0.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_CHOICE`: one row per fold, and the row "all" of all held-out
        scores together, with the best baseline.

    The interval of the row "all" is corrected for overlapping training sets (`nadeau_bengio_factor`).

    Undefined:
        Null with `reason` where no layer can be chosen: with fewer than three folds, or without a direction.
    """
    names = list(range(outer.shape[-1])) if layers is None else list(layers)
    picked = np.full(outer.shape[:2], np.nan)
    rows: list[dict[str, Any]] = []
    for fold, topics in enumerate(fold_names):
        rest, here = folds != fold, folds == fold
        area = layer_aucs(inner[fold, rest])
        if not np.isfinite(area).any():
            reason = "no layer can be chosen without these topics"
            rows.append({"heldout": topics, "n": 2 * int(here.sum()), "reason": reason})
            continue
        best = int(np.nanargmax(area))
        picked[here] = outer[here, :, best]
        judged = _area(picked[here])
        rows.append({"heldout": topics, "layer": names[best], "train_auc": float(area[best]), **judged})
    known = np.isfinite(picked).all(axis=1)
    inflation = nadeau_bengio_factor(len(fold_names))
    together = {"heldout": "all", **_area(picked[known], inflation=inflation)}
    if known.any():
        scores = {name: value[known] for name, value in baselines.items()}
        together |= _increment(picked[known], scores, inflation=inflation)
    frame = pl.DataFrame([*rows, together], infer_schema_length=None)
    return conform(frame.with_columns(concept=pl.lit(concept), method=pl.lit(method)), DIRECTION_CHOICE)


def _area(scores: Float[np.ndarray, "pair side"], *, inflation: float = 1.0) -> dict[str, Any]:
    """Return the AUC of answers with an interval clustered by pair."""
    label, pair = np.tile([1, 0], len(scores)), np.repeat(np.arange(len(scores)), 2)
    found = auc_interval(scores.ravel(), label, group=pair, inflation=inflation)
    return {
        "auc": found.estimate,
        "auc_lower": found.lower,
        "auc_upper": found.upper,
        "n": scores.size,
        "reason": found.reason,
    }


def _increment(scores: np.ndarray, baselines: Mapping[str, np.ndarray], *, inflation: float) -> dict[str, Any]:
    """Return the increment over the best baseline, whose sign is chosen to its advantage."""
    if not baselines:
        return {}
    label, pair = np.tile([1, 0], len(scores)), np.repeat(np.arange(len(scores)), 2)
    turned = {}
    for name, value in baselines.items():
        if np.isfinite(value).all():
            found = auc_with_influence(value.ravel().astype(np.float64), label, group=pair)
            sign = 1.0 if found.auc >= 0.5 else -1.0
            turned[name] = auc_with_influence(sign * value.ravel().astype(np.float64), label, group=pair)
    if not turned:
        return {}
    best = max(turned, key=lambda name: turned[name].auc)
    own = auc_with_influence(scores.ravel().astype(np.float64), label, group=pair)
    gain = own.auc - turned[best].auc
    difference = (own.influence - turned[best].influence).reshape(-1, 2).sum(axis=1)
    margin = float(ndtri(0.975) * np.sqrt(inflation * (difference**2).sum()))
    ends = {"increment_lower": max(-1.0, gain - margin), "increment_upper": min(1.0, gain + margin)}
    defined = np.isfinite(margin)
    return {
        "best_baseline": best,
        "baseline_auc": turned[best].auc,
        "increment": gain,
        **(ends if defined else {}),
    }


def transfer_matrix(
    scores: Float[np.ndarray, "train pair side layer"],
    sets: Int[np.ndarray, " pair"],
    set_names: Sequence[str],
    *,
    concept: str,
    method: str,
    layers: Sequence[int] | None = None,
) -> pl.DataFrame:
    """Transfer of directions between sets of pairs (topics or data sets).

    The layer is chosen on the training set alone, by held-out pairs. Evaluation of a set on its own pairs uses the same
    choice and is slightly optimistic; the others are not.

    Args:
        scores: Per training set, scores of all pairs.
        sets: Set of each pair, codes from 0.
        set_names: Names of the sets.
        concept: Concept of the direction.
        method: The method that fitted it.
        layers: Index of each layer; None counts from 0.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_TRANSFER`, one row per training and evaluated set.

    Undefined:
        Null with `reason` where the training set gives no direction, or a set has too few pairs.
    """
    names = list(range(scores.shape[-1])) if layers is None else list(layers)
    rows: list[dict[str, Any]] = []
    for train, train_name in enumerate(set_names):
        own = layer_aucs(scores[train, sets == train])
        for judged, judged_name in enumerate(set_names):
            at = sets == judged
            row: dict[str, Any] = {"train": train_name, "judged": judged_name, "n_train": int((sets == train).sum())}
            if not np.isfinite(own).any():
                rows.append({**row, "n": 2 * int(at.sum()), "reason": f"{train_name} gives no direction"})
                continue
            best = int(np.nanargmax(own))
            chosen = scores[train, at, :, best]
            accuracy, _ = pair_accuracy(
                chosen.ravel(), np.tile([1, 0], len(chosen)), np.repeat(np.arange(len(chosen)), 2)
            )
            rows.append({**row, "layer": names[best], **_area(chosen), "pair_accuracy": accuracy})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return conform(frame.with_columns(concept=pl.lit(concept), method=pl.lit(method)), DIRECTION_TRANSFER)


def agreement(
    vectors: Mapping[str, Float[np.ndarray, "layer width"]], *, concept: str, layers: Sequence[int] | None = None
) -> pl.DataFrame:
    """Cosine similarity of directions fitted by different methods, or on different sets.

    The cosine of two random directions in width w has mean 0 and standard deviation 1 / sqrt(w).

    Args:
        vectors: Unit vectors by method, or by set of pairs.
        concept: Their concept.
        layers: Index of each layer; None counts from 0.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_AGREEMENT`, each combination once.

    Undefined:
        Null with `reason` where one of both has no vector.
    """
    methods = list(vectors)
    rows = []
    for index, method in enumerate(methods):
        for other in methods[index + 1 :]:
            cosine = (vectors[method].astype(np.float64) * vectors[other]).sum(axis=1)
            for layer, value in enumerate(cosine):
                known = bool(np.isfinite(value))
                rows.append(
                    {
                        "method": method,
                        "other": other,
                        "layer": layer if layers is None else layers[layer],
                        "cosine": float(np.clip(value, -1.0, 1.0)) if known else None,
                        "reason": None if known else _UNDEFINED,
                    }
                )
    schema = {name: DIRECTION_AGREEMENT.dtypes[name] for name in ("method", "other", "layer", "cosine", "reason")}
    frame = pl.DataFrame(rows, schema=schema)
    return conform(frame.with_columns(concept=pl.lit(concept)), DIRECTION_AGREEMENT)
