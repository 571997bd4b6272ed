"""RAUQ: confidence passed on from token to token by the heads that look at the token before.

u = layer_uncertainty(probability, previous)     # (sample,) for one layer
"""

from __future__ import annotations

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.stats.signals.answer_tokens_so_far import AnswerTokens
from foretell.stats.signals.family import Family, undefined
from foretell.stats.signals.moment import Moment

__all__ = ["PREVIOUS", "RAUQ", "layer_uncertainty", "rauq_family"]

RAUQ = "RAUQ"
PREVIOUS = "previous_token"
_ALPHA = 0.2
"""Weight of the token's own probability; the paper's value for answers to questions."""


def layer_uncertainty(
    probability: Float[np.ndarray, "sample token"],
    previous: Float[np.ndarray, "sample head token"],
    *,
    alpha: float = _ALPHA,
) -> Float[np.ndarray, " sample"]:
    """Return how unsure an answer is by one layer: 0 and up, higher is less sure.

    Of each sample the head with the largest mean weight on the token before is taken, over the second token to the
    last. With its weights a and the probabilities p of the tokens, confidence is c_1 = p_1 and
    c_i = alpha p_i + (1 - alpha) a_i c_(i-1); the result is minus the mean of log c.

    Args:
        probability: `(sample, token)` of each token given all before; nan after the end of an answer.
        previous: `(sample, head, token)` weight of each token's row on the token before it.
        alpha: 1 is the logarithm of perplexity.

    Undefined:
        nan where an answer has no token, or a probability or a weight in it is missing.

    Source:
        Vazhentsev et al. (2025), arXiv 2505.20045, section 4 (RAUQ).

    Example:
        >>> layer_uncertainty(np.array([[0.5, 0.5]]), np.array([[[0.0, 1.0]]]), alpha=0.5).round(4)
        array([0.6931])
    """
    written = np.isfinite(probability)
    later = written[:, None, 1:]
    total = np.where(later, previous[:, :, 1:], 0.0).sum(axis=2)
    chosen = np.argmax(np.where(np.isnan(total), -np.inf, total), axis=1)
    weights = np.take_along_axis(previous, chosen[:, None, None], axis=1)[:, 0]
    confidence = np.full(probability.shape, np.nan)
    confidence[:, 0] = probability[:, 0]
    for token in range(1, probability.shape[1]):
        passed_on = (1 - alpha) * weights[:, token] * confidence[:, token - 1]
        confidence[:, token] = alpha * probability[:, token] + passed_on
    logs = np.log(np.maximum(confidence, np.finfo(np.float64).tiny))
    n_tokens = written.sum(axis=1)
    summed = np.where(written, logs, 0.0).sum(axis=1)
    return np.asarray(np.divide(-summed, n_tokens, out=np.full(len(summed), np.nan), where=n_tokens > 0))


def rauq_family(moment: Moment, rows: pl.DataFrame, tokens: AnswerTokens) -> Family:
    """Return RAUQ of the answers so far: the largest uncertainty of the middle third of the layers that attend.

    Args:
        moment: Samples and number of tokens.
        rows: The run's table rows, of all these samples.
        tokens: The tokens of the answers.
    """
    if moment.after == 0:
        return undefined(RAUQ, "no token of the answer is written yet")
    if PREVIOUS not in rows.columns or rows.get_column(PREVIOUS).is_null().all() or "logprob" not in tokens.numbers:
        return undefined(RAUQ, "weights on the token before were not read (rows=True reads them)")
    logprob = tokens.numbers["logprob"][:, : moment.after]
    so_far = np.arange(logprob.shape[1]) < moment.so_far[:, None]
    probability = np.where(so_far, np.exp(logprob), np.nan)
    layers = rows.get_column("layer").unique().sort().to_list()
    middle = layers[len(layers) // 3 : -(-2 * len(layers) // 3) + 1]
    known = rows.lazy().filter(pl.col("layer").is_in(middle), pl.col("answer_position") < moment.after)
    found = known.join(moment.frame.lazy().select("id", "sample"), on="id", how="inner").collect()
    shape = (len(moment.ids), int(found.get_column("head").max()) + 1, logprob.shape[1])  # type: ignore[arg-type]
    uncertainty = [
        layer_uncertainty(probability, _weights(one, shape))
        for (_,), one in found.group_by("layer", maintain_order=True)
    ]
    return Family(RAUQ, np.max(uncertainty, axis=0)[:, None])


def _weights(layer: pl.DataFrame, shape: tuple[int, int, int]) -> Float[np.ndarray, "sample head token"]:
    weights = np.full(shape, np.nan)
    place = tuple(layer.get_column(name).to_numpy() for name in ("sample", "head", "answer_position"))
    weights[place] = layer.get_column(PREVIOUS).cast(pl.Float64).fill_null(np.nan).to_numpy()
    return weights
