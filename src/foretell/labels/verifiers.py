"""Verifiers: deterministic checks whether an answer followed its instruction.

A verifier is a pure function `answer, **arguments -> Verdict`. A prompt names its verifier as plain data, which fits
into a table cell, and `verify` runs it.

    from foretell.labels.verifiers import verify
    verify("Rain fell all day.", {"name": "max_words", "count": 12}).followed
"""

from __future__ import annotations

from foretell.labels.forms import (
    bullet_points,
    json_object,
    json_value,
    no_commas,
    paragraphs,
    quoted,
    title_in_brackets,
)
from foretell.labels.lengths import (
    exact_sentences,
    exact_words,
    max_sentences,
    max_words,
    min_sentences,
    min_words,
)
from foretell.labels.registry import VERIFIERS, Verdict, all_of, check_specification, register, verify
from foretell.labels.text import sentences, words
from foretell.labels.wording import (
    all_lower,
    all_upper,
    avoids_letter,
    contains_numbers,
    ends_with,
    excludes,
    includes,
    no_digits,
    starts_with,
    word_frequency,
    written_in,
)

__all__ = [
    "VERIFIERS",
    "Verdict",
    "all_lower",
    "all_of",
    "all_upper",
    "avoids_letter",
    "bullet_points",
    "check_specification",
    "contains_numbers",
    "ends_with",
    "exact_sentences",
    "exact_words",
    "excludes",
    "includes",
    "json_object",
    "json_value",
    "max_sentences",
    "max_words",
    "min_sentences",
    "min_words",
    "no_commas",
    "no_digits",
    "paragraphs",
    "quoted",
    "register",
    "sentences",
    "starts_with",
    "title_in_brackets",
    "verify",
    "word_frequency",
    "words",
    "written_in",
]
