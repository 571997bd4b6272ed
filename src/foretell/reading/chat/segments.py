"""The segment of every character of a rendered conversation, and of every token.

It knows neither templates nor tokenizers: where messages stand and which characters a token has is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.templates import Place, Rendering
from foretell.reading.chat.tokens import Encoded
from foretell.schema.tables import SEGMENTS

__all__ = ["CODES", "character_segments", "token_segments"]

CODES = {name: code for code, name in enumerate(SEGMENTS)}
"""Code of each segment."""


def character_segments(rendering: Rendering, messages: Sequence[Message]) -> Int[np.ndarray, " character"]:
    """Return the segment code of every character of a rendered prompt.

    Raises:
        SpanError: A message's spans do not fit its content, or the template rewrote the content that they are of.
    """
    characters = np.full(len(rendering.text), CODES["template"], dtype=np.int8)
    query = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    for place in rendering.places:
        characters[place.start : place.stop] = _place_codes(place, messages, query)
    return characters


def _place_codes(place: Place, messages: Sequence[Message], query: int) -> Int[np.ndarray, " character"]:
    """Return the segment code of every character of a place."""
    n_characters = place.stop - place.start
    if place.message is None:
        return np.full(n_characters, CODES["system"], dtype=np.int8)
    message = messages[place.message]
    if message.role == "system":
        rest = "system"
    else:
        rest = "query" if place.message == query and not message.spans else "prompt"
    if place.shift is None:
        if message.spans:
            raise SpanError(f"the chat template rewrites message {place.message}, so its spans cannot be followed")
        return np.full(n_characters, CODES[rest], dtype=np.int8)
    codes = np.full(len(message.content), CODES[rest], dtype=np.int8)
    covered = 0
    for span in sorted(message.spans, key=lambda one: one.start):
        where = f"message {place.message}: span {span.start} to {span.stop}"
        if not covered <= span.start <= span.stop <= len(message.content):
            raise SpanError(f"{where} overlaps another or leaves the {len(message.content)} characters of the content")
        if span.segment not in CODES or span.segment == "generated":
            raise SpanError(f'{where}: "{span.segment}" is not one of {", ".join(SEGMENTS[:-1])}')
        codes[span.start : span.stop] = CODES[span.segment]
        covered = span.stop
    return codes[place.shift : place.shift + n_characters]


def token_segments(encoded: Encoded, text: str, characters: Int[np.ndarray, " character"]) -> Int[np.ndarray, " token"]:
    """Return each token's segment: that of most of the characters that it shows.

    Blanks count only for a token that is nothing else, because tokenizers disagree on which token a blank belongs to:
    some join it to the word that follows, some drop it, some leave it out of the offsets. Of equals a segment of a
    message goes before the template, then the first one.

    Args:
        encoded: Tokens with the characters that each one stands for.
        text: The characters.
        characters: Segment code of each of them.
    """
    blank = np.array([character.isspace() for character in text], dtype=bool)
    segments = np.full(len(encoded.token_ids), CODES["template"], dtype=np.int8)
    reached = 0
    for index, (start, stop) in enumerate(encoded.offsets):
        # A token without characters of its own stands for blanks that were left out of its offsets.
        held = slice(start if start < stop else min(start, reached), stop)
        shown = characters[held][~blank[held]]
        segments[index] = _most(shown if len(shown) else characters[held])
        reached = max(reached, int(stop))
    return segments


def _most(codes: Int[np.ndarray, " character"]) -> int:
    if not len(codes):
        return CODES["template"]
    counts = np.bincount(codes, minlength=len(SEGMENTS))
    leading = codes[counts[codes] == counts.max()]
    of_messages = leading[leading != CODES["template"]]
    return int(of_messages[0] if len(of_messages) else leading[0])
