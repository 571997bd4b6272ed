"""Holding directions against chance: one method's directions on topics that they were not fitted on.

It takes what was read of contrast pairs a layer at a time, has the reading wing fit and score, and the testing wing
judge.

    evidence = judge(pairs, activations, ("logistic", logistic), concept="lying", controls=Controls())
    evidence.tables["direction_null"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Int
from tqdm import tqdm

from foretell.reading.activations.paired import Activations
from foretell.reading.directions.controls import nested_scores, random_scores, shuffled_scores, transfer_scores
from foretell.reading.directions.cross_validation import (
    HeldOut,
    held_out_scores,
    joined_layers,
    require_topics,
    score_table,
    topic_folds,
)
from foretell.reading.directions.estimators import Method
from foretell.reading.directions.pairs import ContrastPair
from foretell.stats.directions.null_band import chosen_layers, layer_aucs, null_band, transfer_matrix
from foretell.stats.directions.separation import separation

__all__ = ["Controls", "DirectionEvidence", "judge", "separated"]

_BASELINES = ("mean_logprob", "n_tokens")
_NULLS: tuple[Literal["random", "shuffled"], ...] = ("random", "shuffled")


@dataclass(frozen=True)
class Controls:
    """How much is spent on holding a direction against chance."""

    n_random: int = 200
    """Directions drawn at random per layer; 0 leaves them out."""
    n_shuffled: int = 20
    """Fits on shuffled answers; 0 leaves them out."""
    n_folds: int | None = None
    """Folds that topics are dealt into; None makes every topic a fold."""
    transfer: bool = True
    """Also fit on each topic alone and judge on each other."""
    seed: int = 0


@dataclass(frozen=True)
class DirectionEvidence:
    """What is known of one method's directions on topics they were not fitted on."""

    tables: Mapping[str, pl.DataFrame]
    """`directions`, `direction_null`, `direction_choice` and `direction_transfer` of `foretell.schema.tables`."""
    scores: pl.DataFrame
    """Held-out score of every answer and layer, see `foretell.reading.directions.fit.heldout_scores`."""

    @property
    def chosen_layers(self) -> tuple[int, ...]:
        """Layers that were best without some topic, each chosen without the topics it was judged on."""
        return tuple(sorted(set(self.tables["direction_choice"].get_column("layer").drop_nulls().to_list())))


def judge(
    pairs: Sequence[ContrastPair],
    activations: Activations,
    named: tuple[str, Method],
    *,
    concept: str,
    controls: Controls,
    layers: Sequence[int] | None = None,
    progress: bool | None = None,
) -> DirectionEvidence:
    """Judge one method on activations that were read already, a layer at a time.

    Args:
        pairs: Contrast pairs of two topics or more.
        activations: What was read of them.
        named: The method's name and function.
        concept: What higher activity means.
        controls: How much is spent on chance.
        layers: Block of each layer of `activations`, if not all were kept.
        progress: Show a bar; None shows it on a terminal only.

    Raises:
        InputError: Fewer than two topics.
    """
    require_topics(pairs)
    folds = topic_folds(pairs, controls.n_folds)
    topics = np.array([pair.topic for pair in pairs])
    each = tqdm(
        range(activations.hidden.shape[2]),
        desc=f"judging {named[0]}",
        disable=None if progress is None else not progress,
    )
    parts = [
        _judged_layer(
            activations.layer(layer), named, folds=folds, parts=topic_folds(pairs), controls=controls, layer=layer
        )
        for layer in each
    ]
    found = {key: np.concatenate([part.arrays[key] for part in parts], axis=-1) for key in parts[0].arrays}
    scores = score_table(pairs, activations.facts, joined_layers([part.held_out for part in parts]), layers=layers)
    fold_names = [", ".join(np.unique(topics[folds == fold])) for fold in range(int(folds.max()) + 1)]
    baselines = {"mean_logprob": activations.facts.mean_logprob, "n_tokens": activations.facts.n_tokens.astype(float)}
    about: dict[str, Any] = {"concept": concept, "method": named[0], "layers": layers}
    inner, outer = found["inner"], found["outer"]
    tables = {
        "directions": separated(scores, concept, n_fits=len(fold_names)),
        "direction_choice": chosen_layers(inner, outer, folds, fold_names, baselines=baselines, **about),
    }
    nulls = [null_band(found[kind], outer, kind=kind, **about) for kind in _NULLS if kind in found]
    if nulls:
        tables["direction_null"] = pl.concat(nulls)
    if controls.transfer:
        names = np.unique(topics).tolist()
        tables["direction_transfer"] = transfer_matrix(found["transfer"], topic_folds(pairs), names, **about)
    return DirectionEvidence(tables, scores)


@dataclass(frozen=True)
class _JudgedLayer:
    """Scores of one layer, layers last; of directions that know nothing only how well they separate."""

    held_out: HeldOut
    arrays: Mapping[str, np.ndarray]


def _judged_layer(
    activations: Activations,
    named: tuple[str, Method],
    *,
    folds: Int[np.ndarray, " pair"],
    parts: Int[np.ndarray, " pair"],
    controls: Controls,
    layer: int,
) -> _JudgedLayer:
    inner, outer = nested_scores(activations, folds, named, progress=False)
    arrays = {"inner": inner, "outer": outer}
    if controls.n_random:
        # Every layer draws its own directions, while shuffling exchanges the same answers at every layer.
        drawn = random_scores(activations, folds, n_draws=controls.n_random, seed=(controls.seed, layer))
        arrays["random"] = layer_aucs(drawn)
    if controls.n_shuffled:
        shuffled = shuffled_scores(
            activations, folds, named, n_draws=controls.n_shuffled, seed=controls.seed, progress=False
        )
        arrays["shuffled"] = layer_aucs(shuffled)
    if controls.transfer:
        arrays["transfer"] = transfer_scores(activations, parts, named, progress=False)
    return _JudgedLayer(held_out_scores(*named, activations, folds), arrays)


def separated(scores: pl.DataFrame, concept: str, *, n_fits: int | None = None) -> pl.DataFrame:
    """Return how well held-out scores separate, beside log-probability and length: the table `directions`.

    Args:
        scores: Held-out scores, see `foretell.reading.directions.fit.heldout_scores`.
        concept: What the direction stands for.
        n_fits: Directions that the topics were dealt to; None: one per topic.
    """
    statements = scores.rename({"id": "pair"}).with_columns(pl.concat_str("pair", "side", separator="/").alias("id"))
    return separation(statements, concept=concept, baselines=_BASELINES, pair="pair", n_fits=n_fits)
