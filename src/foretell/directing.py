"""A direction fitted in the reading wing and judged in the testing wing: the room above both.

    direction, judged = fit_and_judge(model, fact_pairs())
    judged.filter(pl.col("measure") == "score")  # held-out AUC per layer

It computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from foretell.builtin import builtin_facts
from foretell.reading.directions import Direction
from foretell.reading.fitting import fit_direction_with_scores
from foretell.reading.models import Model
from foretell.reading.pairs import ContrastPair, pairs_from_facts
from foretell.stats.separation import separation

__all__ = ["fact_pairs", "fit_and_judge"]


def fact_pairs(*, per_topic: int | None = None) -> list[ContrastPair]:
    """Return the built-in facts as contrast pairs for "lying": the false answer is the positive one.

    Args:
        per_topic: Keep only the first so many facts of each topic; None keeps all.

    Example:
        >>> len(fact_pairs(per_topic=2)) == 2 * len({pair.topic for pair in fact_pairs()})
        True
    """
    seen: dict[str, int] = {}
    kept = []
    for fact in builtin_facts():
        seen[fact.topic] = seen.get(fact.topic, 0) + 1
        if per_topic is None or seen[fact.topic] <= per_topic:
            kept.append(fact)
    return pairs_from_facts(kept)


def fit_and_judge(
    model: Model,
    pairs: Sequence[ContrastPair],
    *,
    concept: str = "lying",
    method: str = "mean-difference",
    seed: int = 0,
    progress: bool | None = None,
) -> tuple[Direction, pl.DataFrame]:
    """Fit a direction on all pairs, and judge it by directions that were fitted without the topic they score.

    The model is read once for both.

    Args:
        model: A loaded model.
        pairs: Contrast pairs of two topics or more.
        concept: What higher activity means.
        method: Name of a method, see `foretell.reading.methods`.
        seed: Choice of calibration tokens where not all fit.
        progress: Show a bar; None shows it on a terminal only.

    Returns:
        The direction, and the columns of `foretell.schema.DIRECTIONS`: held-out AUC per layer, beside the answer's
        log-probability and its length.

    Raises:
        InputError: Fewer than two topics, or an unknown method.
    """
    direction, scores = fit_direction_with_scores(
        model, pairs, concept=concept, method=method, seed=seed, progress=progress
    )
    statements = scores.rename({"id": "pair"}).with_columns(pl.concat_str("pair", "side", separator="/").alias("id"))
    judged = separation(statements, concept=concept, baselines=("mean_logprob", "n_tokens"), pair="pair")
    return direction, judged
