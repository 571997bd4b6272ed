"""Scores of a log as labels, and which of several scores labels its answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from foretell.records.cells import label_of

__all__ = ["LabelRule", "Score", "label_rule", "scores_of"]

_LETTERS = {"C": 1, "I": 0, "N": 0}
"""Scores of inspect_ai that are letters: correct, incorrect, no answer; P (partly correct) is neither 0 nor 1."""
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Score:
    """One score of one answer."""

    label: int | None
    """1 or 0; None where the value is neither, or there is none."""
    shown: str
    """The value as a short text."""
    is_missing: bool = False
    """Whether the scorer gave no value."""


def scores_of(values: Mapping[str, Any]) -> dict[str, Score]:
    """Return scores by name; one that holds several values has a name for each, such as `judge.tone`.

    Example:
        >>> {name: score.label for name, score in scores_of({"match": "C", "judge": {"tone": 0, "wit": 0.5}}).items()}
        {'match': 1, 'judge.tone': 0, 'judge.wit': None}
    """
    found: dict[str, Score] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{key}": _score(part) for key, part in value.items()}
        else:
            found[str(name)] = _score(value)
    return found


def _score(value: Any) -> Score:
    return _score_of_cell(value) if isinstance(value, str | int | float) else _score_of(value)


def _score_of(value: Any) -> Score:
    if isinstance(value, str) and value in _LETTERS:
        return Score(_LETTERS[value], value)
    try:
        label = label_of(value)
    except ValueError:
        return Score(None, str(value)[:_SHOWN])
    return Score(label, str(value)[:_SHOWN], label is None)


_score_of_cell = lru_cache(maxsize=1024, typed=True)(_score_of)
"""Equal scores of a log are one object."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Which score labels the answers of a log."""

    scorer: str | None
    """Its name; None where no answer has a score."""
    harness: str

    def label(self, scores: Mapping[str, Score], why_none: str | None = None) -> tuple[int | None, str | None, str]:
        """Return the label of an answer, what it is from, and why there is none.

        Args:
            scores: The answer's scores.
            why_none: Why it has no label, whatever the scores are.
        """
        if why_none is not None:
            return None, None, why_none
        score = None if self.scorer is None else scores.get(self.scorer)
        if score is None:
            reason = f"no score {self.scorer}" if self.scorer else "there are no scores"
            return None, None, f"{reason}: no score is 0 or 1"
        if score.label is None:
            what = "gave no value" if score.is_missing else f"is {score.shown}"
            return None, None, f"no score is 0 or 1 ({self.scorer} {what})"
        return score.label, f"{self.harness} {self.scorer}", ""


def label_rule(
    scored: Iterable[Mapping[str, Score]], *, wanted: str | None, headline: str | None, harness: str
) -> LabelRule:
    """Return which score labels the answers of a log.

    The wanted one; else the one that the log itself puts first, where it is 0 or 1 anywhere; else the first, in the
    log's order, that is 0 or 1 for at least half of the answers which it scored; else the one that is so most often.

    Args:
        scored: The scores of each answer.
        wanted: Name of a score. One filter of lm-evaluation-harness is named as its results name it
            (`exact_match,strict-match`), one of several values of a scorer with a dot (`judge.tone`); a part of such
            a name is the first score that has it.
        headline: The score that the log puts first.
        harness: What to call the source of the labels.

    Raises:
        KeyError: No score has the wanted name; the message lists those there are.
    """
    n_values: dict[str, int] = {}
    n_labels: dict[str, int] = {}
    for scores in scored:
        for name, score in scores.items():
            n_values[name] = n_values.get(name, 0) + (not score.is_missing)
            n_labels[name] = n_labels.get(name, 0) + (score.label is not None)
    if wanted is not None:
        return LabelRule(_named(wanted, list(n_values)), harness)
    if headline is not None and n_labels.get(headline):
        return LabelRule(headline, harness)
    mostly = (name for name, n in n_labels.items() if n and 2 * n >= n_values[name])
    return LabelRule(next(mostly, max(n_labels, key=n_labels.__getitem__, default=None)), harness)


def _named(wanted: str, names: list[str]) -> str:
    if wanted in names:
        return wanted
    for name in names:
        if wanted in {*name.split(",", 1), *name.split(".", 1)}:
            return name
    shown = ", ".join(names[:12]) or "none"
    raise KeyError(f"there is no score {wanted!r}; those of the log are: {shown}")
