"""Baselines: what can be known without the model's internals, in forms as flexible as what is held against them.

A signal may not look better than a baseline because the baseline has the wrong shape. So lengths enter as logarithms
and as smooth curves, beside the shares of attention that uniform attention would give (the same smooth curves), and
prompts and answers enter as their words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.preprocessing import SplineTransformer

from foretell.stats.detectors.features import Features
from foretell.stats.detectors.words import hashed_words, prompt_text, repeated_shares

__all__ = ["ALL_BASELINES", "OF_WORDS", "REPEATS", "WORDS", "WORDS_SO_FAR", "baselines", "one_hot", "smooth", "varies"]

ALL_BASELINES = "all baselines"
WORDS = "words of the answer"
WORDS_SO_FAR = "words of the answer so far"
PROMPT_WORDS = "words of the prompt"
OF_WORDS = (PROMPT_WORDS, WORDS, WORDS_SO_FAR)
"""Baselines with a column per word."""
REPEATS = "repeats of the prompt"

_ASKED = ("n_tokens_system", "n_tokens_prompt", "n_tokens_query")
_LENGTHS = (*_ASKED, "n_tokens_template")
_ANSWER = "n_tokens_generated"
_ENDED = "has_ended"
_LENGTH = {False: "answer length", True: "length so far"}
_LOG_PROBABILITY = {False: "log-probability", True: "log-probability so far"}
_KNOTS = 5


def one_hot(names: Shaped[np.ndarray, " sample"]) -> Float[np.ndarray, "sample name"]:
    """Return one 0 / 1 column per distinct name, in sorted order.

    Example:
        >>> one_hot(np.array(["a", "b", "a"])).tolist()
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    return np.asarray(names[:, None] == np.unique(names)[None, :], dtype=np.float64)


def smooth(column: Float[np.ndarray, " sample"]) -> Float[np.ndarray, "sample basis"]:
    """Return a column and a cubic spline basis of it, with knots at quantiles of its values; nan stays nan.

    Source:
        scikit-learn's `SplineTransformer`; knots depend on no label.

    Example:
        >>> smooth(np.arange(9.0)).shape
        (9, 7)
    """
    present = np.isfinite(column)
    values = column[present]
    knots = np.unique(np.quantile(values, np.linspace(0, 1, _KNOTS)))
    if len(knots) < 3:
        return column[:, None]
    spline = SplineTransformer(n_knots=len(knots), knots=knots[:, None], extrapolation="linear", include_bias=False)
    basis = np.full((len(column), 1 + len(knots) + 1), np.nan)
    basis[present] = np.column_stack([values, spline.fit_transform(values[:, None])])
    return basis


def baselines(
    stratum: Shaped[np.ndarray, " sample"] | None,
    columns: Mapping[str, Float[np.ndarray, " sample"]],
    answer: Sequence[str | None] | None = None,
    prompt: Sequence[str | None] | None = None,
    *,
    so_far: bool = False,
) -> tuple[list[Features], list[str]]:
    """Return the baselines that the table has columns for, and a note for each missing one.

    They are the kind of task (one column per stratum), the segments' lengths in tokens (smooth in their logarithms),
    the shares of attention that uniform attention would give to prompt, query and system (smooth), the answer's length,
    the answer's mean log-probability (smooth), how much of the answer repeats the prompt (shares of its words and of
    its pairs of words, smooth), and the words of prompt and answer (hashed). Constant and entirely missing columns are
    ignored.

    Args:
        stratum: `(sample,)` names of task types; None if there are none.
        columns: `(sample,)` numbers by column name; nan is missing.
        answer: `(sample,)` texts; None if there are none.
        prompt: `(sample,)` texts; None if there are none.
        so_far: Whether answer, length and log-probability are those of the first tokens only. They are named
            accordingly, and 0 / 1 in the column has_ended, beside the length, says that there are no more.

    Example:
        >>> found, notes = baselines(None, {"n_tokens_generated": np.array([3.0, 9.0, 5.0])})
        >>> [features.name for features in found], len(notes)
        (['answer length'], 7)
    """
    found: list[Features] = []
    notes: list[str] = []
    if stratum is not None and len(np.unique(stratum)) > 1:
        found.append(Features("kind of task", "baseline", (one_hot(stratum),)))
    else:
        notes.append("baseline kind of task: there is no column stratum with two or more values")
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = {name: np.log1p(columns[name]) for name in (*_LENGTHS, _ANSWER) if name in columns}
    repeated = (
        None if answer is None or prompt is None else repeated_shares(answer, [prompt_text(one) for one in prompt])
    )
    kinds = (
        ("segment lengths", _LENGTHS, [logs[name] for name in _LENGTHS if name in logs]),
        ("uniform attention", _ASKED, _uniform_shares(columns)),
        (_LENGTH[so_far], (_ANSWER,), [logs[_ANSWER]] if _ANSWER in logs else []),
        (_LOG_PROBABILITY[so_far], ("mean_logprob",), [columns[name] for name in ("mean_logprob",) if name in columns]),
        (REPEATS, ("messages",), [] if repeated is None else list(repeated.T)),
    )
    for name, wanted, known in kinds:
        usable = [smooth(column) for column in known if varies(column)]
        if name == _LENGTH[True] and _ENDED in columns and varies(columns[_ENDED]):
            usable.append(columns[_ENDED][:, None])
        if usable:
            found.append(Features(name, "baseline", (np.column_stack(usable),)))
        else:
            notes.append(f"baseline {name}: no column {' or '.join(wanted)} with two or more values")
    for name, column, texts in (
        (PROMPT_WORDS, "messages", None if prompt is None else [prompt_text(one) for one in prompt]),
        (WORDS_SO_FAR if so_far else WORDS, "answer", answer),
    ):
        words = None if texts is None else hashed_words(texts)
        if words is None:
            notes.append(f"baseline {name}: there is no column {column} with two or more texts")
        else:
            found.append(Features(name, "baseline", (words,)))
    return found, notes


def _uniform_shares(columns: Mapping[str, Float[np.ndarray, " sample"]]) -> list[Float[np.ndarray, " sample"]]:
    """Return the share of each length of what is asked among all of these."""
    lengths = [columns[name] for name in _ASKED if name in columns]
    if len(lengths) < 2:
        return []
    total = np.sum([np.nan_to_num(length) for length in lengths], axis=0)
    return [np.divide(length, total, out=np.full(len(total), np.nan), where=total > 0) for length in lengths]


def varies(column: Float[np.ndarray, " sample"]) -> bool:
    """Tell whether a column has two or more values, missing ones aside."""
    present = column[np.isfinite(column)]
    return len(present) > 1 and bool(present.min() < present.max())
