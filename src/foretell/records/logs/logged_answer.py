"""What every log says about one answer, whichever harness wrote it; and what is raised where it does not say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foretell.errors import InputError
from foretell.records.logs.scores import Score

__all__ = ["LogFieldError", "LogHeader", "LoggedAnswer", "kind_of_task"]

_KINDS = ("category", "subject")
"""Fields of a sample that say which kind of task it is, the first that there is."""


class LogFieldError(InputError):
    """A record of a log does not have what such records have, because of one field."""

    def __init__(self, column: str, problem: str) -> None:
        self.column = column
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class LogHeader:
    """What a log says about all its samples; None where it says nothing."""

    harness: str
    """ "inspect" or "lm-eval"."""
    task: str | None = None
    writer: str | None = None
    """Name of the model that was evaluated."""
    headline: str | None = None
    """Name of the score that the log itself puts first."""


@dataclass(slots=True)
class LoggedAnswer:
    """One answer: a sample of inspect_ai in one epoch, or one response of a document of lm-evaluation-harness."""

    id: str
    group: str
    """The sample, across its epochs and repeats."""
    stratum: str | None
    """Its category or subject; None where the log names none."""
    messages: Sequence[Mapping[str, Any]]
    """What was asked."""
    answer: str | None
    scores: dict[str, Score]
    unlabelled: str | None = None
    """Why no score labels this answer, whatever the scores are."""


def kind_of_task(fields: object) -> str | None:
    """Return the category or the subject in the fields of a sample, None where it has none.

    Example:
        >>> kind_of_task({"Subject": "anatomy", "label": 3})
        'anatomy'
    """
    if not isinstance(fields, Mapping):
        return None
    by_name = {str(name).casefold(): value for name, value in fields.items()}
    for kind in _KINDS:
        value = by_name.get(kind)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return None
