"""Is a direction more than chance, is its best layer more than luck, and does it hold elsewhere?

All functions take scores `(pair, side, layer)`, side 0 the answer that shows more of the concept, every score from a
direction that was not fitted on its pair's topic.

    null_band(layer_aucs(random), observed, concept="lying", method="mean-difference", kind="random")
    chosen_layers(inner, outer, folds, names, baselines={"mean_logprob": logprob})
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
from foretell.stats.auc.fold_auc import compared, shared_fits
from foretell.stats.auc.intervals import auc_interval
from foretell.stats.directions.separation import pair_accuracy

__all__ = ["agreement", "chosen_layers", "layer_aucs", "null_band", "transfer_matrix"]

_UNDEFINED = "no direction is defined here"


def layer_aucs(scores: Float[np.ndarray, "*draw pair side layer"]) -> Float[np.ndarray, "*draw layer"]:
    """Chance that a positive answer scores above a negative one, ties one half.

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
    """How well directions that know nothing separate the same answers, layer by layer and at their best layer.

    The best layer of many separates better than each; the row without a layer compares the direction's best layer with
    the best layer of every draw, which is the test that pays for the search.

    Args:
        null: AUC (`layer_aucs`) of directions drawn at random or fitted on shuffled answers.
        scores: Scores of the direction itself.
        concept: What it stands for.
        method: How it was found.
        kind: What the draws are.
        layers: Name of each layer; None counts from 0.

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
    """Choose the best layer without the topics it is then judged on.

    Args:
        inner: Per left-out fold, scores of the other folds by directions fitted without both.
        outer: Scores of each fold by directions fitted without it.
        folds: Fold of each pair, codes from 0.
        fold_names: Topics of each fold.
        concept: What the direction stands for.
        method: How it was found.
        baselines: What needs no direction, per answer.
        layers: Name of each layer; None counts from 0.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_CHOICE`: one row per fold, and the row "all" of all held-out
        scores together, beside the baseline that separates best.

    The interval of all folds together is widened because their directions share pairs (`paired.shared_fits`).

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
            rows.append({"heldout": topics, "n": 2 * int(here.sum()), "reason": "no layer can be chosen without it"})
            continue
        best = int(np.nanargmax(area))
        picked[here] = outer[here, :, best]
        judged = _area(picked[here])
        rows.append({"heldout": topics, "layer": names[best], "train_auc": float(area[best]), **judged})
    known = np.isfinite(picked).all(axis=1)
    inflation = shared_fits(len(fold_names))
    together = {"heldout": "all", **_area(picked[known], inflation=inflation)}
    if known.any():
        told = {name: value[known] for name, value in baselines.items()}
        together |= _increment(picked[known], told, inflation=inflation)
    frame = pl.DataFrame([*rows, together], infer_schema_length=None)
    return conform(frame.with_columns(concept=pl.lit(concept), method=pl.lit(method)), DIRECTION_CHOICE)


def _area(scores: Float[np.ndarray, "pair side"], *, inflation: float = 1.0) -> dict[str, Any]:
    """Return the AUC of answers with an interval that keeps both answers of a pair together."""
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
    """Return how far the scores lie above the best baseline, which may choose its own direction."""
    if not baselines:
        return {}
    label, pair = np.tile([1, 0], len(scores)), np.repeat(np.arange(len(scores)), 2)
    turned = {}
    for name, value in baselines.items():
        if np.isfinite(value).all():
            found = compared(value.ravel().astype(np.float64), label, group=pair)
            sign = 1.0 if found.auc >= 0.5 else -1.0
            turned[name] = compared(sign * value.ravel().astype(np.float64), label, group=pair)
    if not turned:
        return {}
    best = max(turned, key=lambda name: turned[name].auc)
    own = compared(scores.ravel().astype(np.float64), label, group=pair)
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
    parts: Int[np.ndarray, " pair"],
    part_names: Sequence[str],
    *,
    concept: str,
    method: str,
    layers: Sequence[int] | None = None,
) -> pl.DataFrame:
    """Does a direction fitted on one topic or data set hold on another?

    The layer is chosen on the training part alone, by pairs held out from fitting. A part judged on its own pairs uses
    the same choice and is a little too good for it; the others are not.

    Args:
        scores: By training part, scores of all pairs.
        parts: Part of each pair, codes from 0.
        part_names: Names of the parts.
        concept: What the direction stands for.
        method: How it was found.
        layers: Name of each layer; None counts from 0.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_TRANSFER`, one row per training and judged part.

    Undefined:
        Null with `reason` where the training part gives no direction, or a part's own pairs are too few.
    """
    names = list(range(scores.shape[-1])) if layers is None else list(layers)
    rows: list[dict[str, Any]] = []
    for train, train_name in enumerate(part_names):
        own = layer_aucs(scores[train, parts == train])
        for judged, judged_name in enumerate(part_names):
            at = parts == judged
            row: dict[str, Any] = {"train": train_name, "judged": judged_name, "n_train": int((parts == train).sum())}
            if not np.isfinite(own).any():
                rows.append({**row, "n": 2 * int(at.sum()), "reason": f"{train_name} gives no direction to judge"})
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
    """How far directions found in different ways point the same way.

    Two directions drawn at random in a space of width w have a cosine of about 0 with a deviation of 1 / sqrt(w).

    Args:
        vectors: Unit vectors by method, or by set of pairs.
        concept: What they stand for.
        layers: Name of each layer; None counts from 0.

    Returns:
        The columns of `foretell.schema.tables.DIRECTION_AGREEMENT`, each couple once.

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
