"""The tokens of answers at a moment: their text, log-probabilities, and how sure the model was of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.stats.signals.family import Family, undefined
from foretell.stats.signals.moment import Moment

__all__ = ["CONFIDENCE", "PERPLEXITY", "AnswerTokens", "answer_tokens"]

CONFIDENCE = "confidence"
PERPLEXITY = "perplexity"


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of every answer, padded to the longest one."""

    text: tuple[tuple[str, ...], ...]
    """What each token adds to each sample's answer."""
    numbers: dict[str, Float[np.ndarray, "sample token"]]
    """logprob, entropy and margin, as far as they were read; nan where unknown and after the end."""

    def text_so_far(self, moment: Moment) -> tuple[str, ...]:
        """Return the text of the first tokens of each answer."""
        return tuple("".join(one[:size]) for one, size in zip(self.text, moment.so_far, strict=True))

    def mean_logprob(self, moment: Moment) -> Float[np.ndarray, " sample"]:
        """Return the mean log-probability of the first tokens of each answer; nan where there are none."""
        return self._over(moment, "logprob", np.nanmean)

    def confidence(self, moment: Moment) -> Family:
        """Return mean and least log-probability, mean and greatest entropy, and least margin so far.

        Before the first token only entropy and margin of its distribution are known.
        """
        first = {"entropy": np.nanmean, "margin": np.nanmin}
        later = {"logprob": (np.nanmean, np.nanmin), "entropy": (np.nanmean, np.nanmax), "margin": (np.nanmin,)}
        if moment.after == 0:
            columns = [self.numbers[name][:, 0] for name in first if name in self.numbers]
        else:
            columns = [self._over(moment, name, over) for name, over_all in later.items() for over in over_all]
        known = [column for column in columns if np.isfinite(column).any()]
        if not known:
            return undefined(CONFIDENCE, "neither log-probabilities nor entropies of these tokens were read")
        return Family(CONFIDENCE, np.column_stack(known))

    def perplexity(self, moment: Moment) -> Family:
        """Return the mean log-probability of the answer so far, minus the logarithm of its perplexity."""
        column = self.mean_logprob(moment)
        if not np.isfinite(column).any():
            return undefined(PERPLEXITY, "no token of the answer has a log-probability yet")
        return Family(PERPLEXITY, column[:, None])

    def _over(self, moment: Moment, name: str, function: Callable[..., np.ndarray]) -> Float[np.ndarray, " sample"]:
        result = np.full(len(moment.ids), np.nan)
        if name in self.numbers:
            values = self.numbers[name]
            so_far = np.where(np.arange(values.shape[1]) < moment.so_far[:, None], values, np.nan)
            some = np.isfinite(so_far).any(axis=1)
            result[some] = function(so_far[some], axis=1)
        return result


def answer_tokens(moment: Moment, tokens: pl.DataFrame) -> AnswerTokens:
    """Return the tokens of the samples' answers.

    Args:
        moment: Any moment of the samples.
        tokens: The run's table tokens.
    """
    found = (
        tokens.filter(pl.col("answer_position").is_not_null())
        .join(moment.frame.select("id", "sample"), on="id", how="inner")
        .sort("sample", "answer_position")
    )
    sample, place = found.get_column("sample").to_numpy(), found.get_column("answer_position").to_numpy()
    n = len(moment.ids)
    longest = max(int(place.max(initial=-1)) + 1, 1)
    numbers: dict[str, Float[np.ndarray, "sample token"]] = {}
    for name in ("logprob", "entropy", "margin"):
        if name in found.columns and found.get_column(name).is_not_null().any():
            numbers[name] = np.full((n, longest), np.nan)
            numbers[name][sample, place] = found.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy()
    texts: list[list[str]] = [[] for _ in range(n)]
    for index, text in zip(sample.tolist(), found.get_column("text").to_list(), strict=True):
        texts[index].append(text or "")
    return AnswerTokens(tuple(tuple(one) for one in texts), numbers)
