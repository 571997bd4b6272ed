"""The mean surface of many answers with its interval, and the rank of answers among held-out ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.special import stdtrit

from foretell.errors import InputError
from foretell.stats.auc.intervals import auc
from foretell.storage.surfaces import AnswerActivity, AnswerRank, HeldOutComparison, Surface

__all__ = ["compared_with_held_out", "mean_surface"]

_BASELINES = ("mean_logprob", "n_tokens")


def mean_surface(surface: Surface, *, title: str = "mean of all answers", level: float = 0.95) -> Surface:
    """Return the mean activity of all answers by token position, with Student's interval.

    Args:
        surface: A surface of two answers or more.
        title: Title of the mean.
        level: Coverage of the interval at each layer and token.

    Returns:
        A surface of one answer, up to the last position at which half of the answers, and at least two, have a token.

    Raises:
        InputError: There are fewer than two answers.

    Undefined:
        nan at layers without activity.
    """
    if len(surface.answers) < 2:
        raise InputError("a mean surface needs two answers or more")
    longest = max(len(answer.tokens) for answer in surface.answers)
    stacked = np.full((len(surface.answers), len(surface.layers), longest), np.nan)
    for index, answer in enumerate(surface.answers):
        stacked[index, :, : len(answer.tokens)] = answer.activity
    lengths = np.array([len(answer.tokens) for answer in surface.answers])
    n = (lengths[:, None] > np.arange(longest)).sum(axis=0)
    kept = int((n >= max(2, len(lengths) / 2)).sum())
    n, stacked = n[:kept], stacked[:, :, :kept]
    present = lengths[:, None, None] > np.arange(kept)
    mean = np.where(present, stacked, 0.0).sum(axis=0) / n
    spread = np.sqrt(np.where(present, (stacked - mean) ** 2, 0.0).sum(axis=0) / (n - 1))
    margin = stdtrit(n - 1, 0.5 + level / 2) * spread / np.sqrt(n)
    made = AnswerActivity(
        title=f"{title} ({len(lengths)})",
        answer=f"Mean over {len(lengths)} answers, {level:.0%} interval at each layer and token.",
        tokens=tuple(str(position) for position in range(kept)),
        activity=mean,
        mean_logprob=None,
        lower=mean - margin,
        upper=mean + margin,
    )
    return Surface(surface.question, surface.concept, surface.scale, surface.model, surface.layers, (made,))


def compared_with_held_out(
    surface: Surface, scores: pl.DataFrame, *, layers: Sequence[int]
) -> HeldOutComparison | None:
    """Rank each answer's mean activity among held-out answers, on the same layers.

    Args:
        surface: Any number of answers, in standard deviations (scale z).
        scores: Held-out scores: `id`, `topic`, `side`, `is_positive`, `layer`, `score`, `mean_logprob`, `n_tokens`.
        layers: Layers whose scores are averaged, each once, ideally chosen on other answers.

    Returns:
        Size and AUC of the held-out answers, and the rank of each answer; None where no held-out answer has a score.

    Raises:
        InputError: There are no layers, one is not in the surface, or the surface has another scale.
    """
    if surface.scale != "z":
        raise InputError(f'answers can be compared with held-out ones on scale "z" only, not "{surface.scale}"')
    layers = tuple(dict.fromkeys(layers))
    absent = [layer for layer in layers if layer not in surface.layers]
    if absent or not layers:
        raise InputError(f"the surface has layers {surface.layers[0]} to {surface.layers[-1]}; give some of them")
    known = (
        scores.filter(pl.col("layer").is_in(list(layers)) & pl.col("score").is_not_null())
        .group_by("id", "topic", "side", "is_positive", maintain_order=True)
        .agg(pl.col("score").mean(), *(pl.col(name).first() for name in _BASELINES))
    )
    label = known["is_positive"].cast(pl.Int64).to_numpy()
    value = known["score"].to_numpy()
    if len(np.unique(label)) < 2:
        return None
    reach = {name: auc(known[name].cast(pl.Float64).to_numpy(), label) for name in _BASELINES}
    baseline = max(reach, key=lambda name: abs(reach[name] - 0.5))
    rows = [surface.layers.index(layer) for layer in layers]
    return HeldOutComparison(
        layers=layers,
        n_positive=int((label == 1).sum()),
        n_negative=int((label == 0).sum()),
        auc=auc(value, label),
        baseline=baseline,
        baseline_auc=max(reach[baseline], 1 - reach[baseline]),
        answers=tuple(_rank(answer, rows, value[label == 1], value[label == 0]) for answer in surface.answers),
    )


def _rank(answer: AnswerActivity, rows: list[int], positive: np.ndarray, negative: np.ndarray) -> AnswerRank:
    value = float(np.mean(answer.activity[rows], dtype=np.float64))
    return AnswerRank(answer.title, value, _below(positive, value), _below(negative, value))


def _below(others: Float[np.ndarray, " answer"], value: float) -> float:
    return float((others < value).mean() + 0.5 * (others == value).mean())
