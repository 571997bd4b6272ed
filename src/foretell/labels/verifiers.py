"""Verifiers: deterministic checks whether an answer followed its instruction.

A verifier is a pure function `answer, **arguments -> Verdict`. A prompt names its verifier as plain data, which fits
into a table cell, and `verify` runs it.

    from foretell.labels.verifiers import verify
    verify("Rain fell all day.", {"name": "max_words", "count": 12}).followed
"""

from __future__ import annotations

from foretell.labels import forms, known_answers, lengths, wording  # noqa: F401 - importing them registers verifiers
from foretell.labels.registry import VERIFIERS, Verdict, check_specification, register, verify
from foretell.labels.text import sentences, words

__all__ = ["VERIFIERS", "Verdict", "check_specification", "register", "sentences", "verify", "words"]
