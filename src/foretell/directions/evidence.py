"""Evidence for directions of one method: held-out AUC per layer, compared with random and label-shuffled directions.

Layers are processed one by one: `foretell.reading` fits and scores, `foretell.stats` evaluates.

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

from foretell.conversations.pairs import ContrastPair
from foretell.directions.activations.paired import Activations
from foretell.directions.checked_numbers import whole_number
from foretell.directions.controls import nested_scores, random_scores, shuffled_scores, transfer_scores
from foretell.directions.cross_validation import held_out_scores, require_topics, score_table, topic_folds
from foretell.jobs.progress_bar import progress_bar
from foretell.stats.directions.estimators import Method
from foretell.stats.directions.null_band import chosen_layers, layer_aucs, null_band, transfer_matrix
from foretell.stats.directions.separation import separation

__all__ = ["Controls", "DirectionEvidence", "judge", "separation_table"]

_BASELINES = ("mean_logprob", "n_tokens")
_NULLS: tuple[Literal["random", "shuffled"], ...] = ("random", "shuffled")


@dataclass(frozen=True)
class Controls:
    """Which control experiments are run for a direction."""

    n_random: int = 200
    """Random directions per layer; 0 for none."""
    n_shuffled: int = 20
    """Fits on shuffled answers; 0 for none."""
    n_folds: int | None = None
    """Folds of topics; None makes every topic a fold."""
    transfer: bool = True
    """Also fit on each topic alone and evaluate on each other topic."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_random", "n_shuffled", "seed"):
            whole_number(getattr(self, name), name, least=0)
        if self.n_folds is not None:
            whole_number(self.n_folds, "n_folds", least=2)


@dataclass(frozen=True)
class DirectionEvidence:
    """Performance of one method's directions on topics they were not fitted on."""

    tables: Mapping[str, pl.DataFrame]
    """`directions`, `direction_null`, `direction_choice` and `direction_transfer` of `foretell.schema.tables`."""
    scores: pl.DataFrame
    """Held-out score of every answer and layer, see `foretell.directions.fit.heldout_scores`."""

    @property
    def chosen_layers(self) -> tuple[int, ...]:
        """The best layers, each chosen without the topics on which it is evaluated."""
        return tuple(sorted(set(self.tables["direction_choice"].get_column("layer").drop_nulls().to_list())))


def judge(
    pairs: Sequence[ContrastPair],
    activations: Activations,
    named: tuple[str, Method],
    *,
    concept: str,
    controls: Controls,
    layers: Sequence[int] | None = None,
    texts: Int[np.ndarray, " pair"] | None = None,
    progress: bool | None = None,
) -> DirectionEvidence:
    """Evaluate one method on activations, layer by layer.

    Args:
        pairs: Pairs whose topics share no text, see `foretell.directions.topics.distinct_topics`.
        activations: What was read of them.
        named: The method's name and function.
        concept: Concept of the direction.
        controls: Control experiments.
        layers: Names of the blocks, if not all were kept.
        texts: Codes that pairs with a text in common share; None: no text occurs twice.
        progress: Show a bar; None shows it on a terminal only.

    Raises:
        InputError: Fewer than two topics.
        TableError: Two pairs of one id.
    """
    require_topics(pairs)
    folds = topic_folds(pairs, controls.n_folds)
    topics = np.array([pair.topic for pair in pairs])
    layers_of_states = range(activations.hidden.shape[2])
    each = progress_bar(layers_of_states, desc=f"judging {named[0]}", unit="layer", progress=progress)
    sets: dict[str, Any] = {"folds": folds, "topics": topic_folds(pairs), "texts": texts}
    judged = [_judged_layer(activations.layer(layer), named, **sets, controls=controls, layer=layer) for layer in each]
    found = {key: np.concatenate([one[key] for one in judged], axis=-1) for key in judged[0]}
    held_out = held_out_scores(*named, activations, folds)
    scores = score_table(pairs, activations.facts, held_out, layers=layers)
    fold_names = [", ".join(np.unique(topics[folds == fold])) for fold in range(int(folds.max()) + 1)]
    baselines = {"mean_logprob": activations.facts.mean_logprob, "n_tokens": activations.facts.n_tokens.astype(float)}
    about: dict[str, Any] = {"concept": concept, "method": named[0], "layers": layers}
    inner, outer = found["inner"], found["outer"]
    tables = {
        "directions": separation_table(scores, concept, n_fits=len(fold_names)),
        "direction_choice": chosen_layers(inner, outer, folds, fold_names, baselines=baselines, **about),
    }
    nulls = [null_band(found[kind], outer, kind=kind, **about) for kind in _NULLS if kind in found]
    if nulls:
        tables["direction_null"] = pl.concat(nulls)
    if controls.transfer:
        names = np.unique(topics).tolist()
        tables["direction_transfer"] = transfer_matrix(found["transfer"], topic_folds(pairs), names, **about)
    return DirectionEvidence(tables, scores)


def _judged_layer(
    activations: Activations,
    named: tuple[str, Method],
    *,
    folds: Int[np.ndarray, " pair"],
    topics: Int[np.ndarray, " pair"],
    texts: Int[np.ndarray, " pair"] | None,
    controls: Controls,
    layer: int,
) -> dict[str, np.ndarray]:
    """Return scores of one layer, layers last; of random and shuffled directions only the AUC."""
    inner, outer = nested_scores(activations, folds, named)
    scores = {"inner": inner, "outer": outer}
    if controls.n_random:
        # Each layer has its own random directions; shuffling exchanges the same answers at every layer.
        drawn = random_scores(activations, folds, n_draws=controls.n_random, seed=(controls.seed, layer))
        scores["random"] = layer_aucs(drawn)
    if controls.n_shuffled:
        shuffled = shuffled_scores(activations, folds, named, n_draws=controls.n_shuffled, seed=controls.seed)
        scores["shuffled"] = layer_aucs(shuffled)
    if controls.transfer:
        scores["transfer"] = transfer_scores(activations, topics, named, texts=texts)
    return scores


def separation_table(scores: pl.DataFrame, concept: str, *, n_fits: int | None = None) -> pl.DataFrame:
    """Return AUCs of held-out scores, log-probability and length: the table `directions`.

    Args:
        scores: Held-out scores, see `foretell.directions.fit.heldout_scores`.
        concept: Concept of the direction.
        n_fits: Number of folds of topics; None: one per topic.
    """
    statements = scores.rename({"id": "pair"}).with_columns(pl.concat_str("pair", "side", separator="/").alias("id"))
    return separation(statements, concept=concept, baselines=_BASELINES, pair="pair", n_fits=n_fits)
