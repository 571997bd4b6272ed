"""Render a conversation and put every token into exactly one segment, by characters and never by model.

Rules:

* What a message holds belongs to the segment that the message states for it.
* What a template writes of its own accord before the text of the first turn (the first message that is no system
  message) is `system`: a default persona, date lines, an introduction to tools, whether or not a system message is
  given beside them.
* All else is `template`: special tokens and tags, role headers and whatever else stands in front of later turns too,
  blanks that a template adds, text of its own between and after the turns, and the first token.
* A token that straddles segments goes to the one that holds most of what can be seen of it; of equals, a segment of a
  message goes before the template, then the first one. A blank counts only for a token of nothing but blanks.
* The answer's tokens are `generated`; a given answer gets no end-of-turn token, because none was generated.

    rendered = render(model, conversation, answer="Paris.")
    rendered.counts
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Conversation, Message
from foretell.errors import InputError, SpanError
from foretell.reading.chat.answer_tokens import check_token_ids, continuation, given_tokens
from foretell.reading.chat.places import Place
from foretell.reading.chat.rendered import Batch, Rendered, pad_batch
from foretell.reading.chat.templates import rendered_prompt
from foretell.reading.chat.tokens import Encoded, encode, token_texts
from foretell.reading.models.load import Model
from foretell.schema.tables import SEGMENTS

__all__ = ["Batch", "Rendered", "pad_batch", "render", "token_texts"]

_CODES = {name: code for code, name in enumerate(SEGMENTS)}


def render(
    model: Model | PreTrainedTokenizerBase,
    conversation: Conversation,
    *,
    answer: str | None,
    answer_token_ids: Sequence[int] | None = None,
) -> Rendered:
    """Return the conversation as tokens, each in one of the five segments.

    The prompt's token ids are those of `apply_chat_template(messages, add_generation_prompt=True)`, contents given as
    lists of parts where the template wants them so. A model without a chat template gets every message followed by a
    blank line, and the special tokens its tokenizer puts in front. The answer's text is tokenised as a continuation:
    together with the prompt where that leaves the prompt's tokens as they are, by itself otherwise. Where its tokens
    are given, they are taken as they are.

    Args:
        model: a loaded model, or just its tokenizer.
        conversation: its messages are rendered; its own answer is not looked at.
        answer: text whose tokens are the segment `generated`; None or "" for none.
        answer_token_ids: the answer's tokens, where they are known.

    Raises:
        SpanError: The template refuses, leaves out or rewrites messages in a way that cannot be followed, or a
            message's spans do not fit its content.
        InputError: The answer's tokens stand for another text with this tokenizer, or the model has no such token.
    """
    tokenizer = model.tokenizer if isinstance(model, Model) else model
    text, places = rendered_prompt(tokenizer, conversation.messages)
    characters = _character_segments(text, places, conversation.messages)
    special = not tokenizer.chat_template
    prompt = encode(tokenizer, text, special=special)
    segments = _token_segments(prompt, text, characters)
    segments[:1] = _CODES["template"]
    if answer_token_ids is None:
        answer = answer or ""
        end = continuation(tokenizer, text, prompt, answer, special=special)
    else:
        config = model.model.config.get_text_config(decoder=True) if isinstance(model, Model) else None
        n_vocabulary = len(tokenizer) if config is None else int(config.vocab_size)
        try:
            check_token_ids(tokenizer, answer_token_ids, answer, n_vocabulary=n_vocabulary)
        except InputError as error:
            raise InputError(f"conversation {conversation.id!r}: {error}") from error
        answer, end = given_tokens(tokenizer, text, prompt, answer_token_ids)
    return Rendered(
        text=text + answer,
        token_ids=np.concatenate([prompt.token_ids, end.token_ids]),
        segments=np.concatenate([segments, np.full(len(end.token_ids), _CODES["generated"], dtype=np.int8)]),
        offsets=np.concatenate([prompt.offsets, end.offsets]),
        n_prompt_tokens=len(prompt.token_ids),
    )


def _character_segments(
    text: str, places: Sequence[Place], messages: Sequence[Message]
) -> Int[np.ndarray, " character"]:
    """Return the segment code of every character of a rendered prompt.

    Raises:
        SpanError: A message's spans do not fit its content, or the template rewrote the content that they are of.
    """
    characters = np.full(len(text), _CODES["template"], dtype=np.int8)
    query = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    for place in places:
        characters[place.start : place.stop] = _place_codes(place, messages, query)
    return characters


def _place_codes(place: Place, messages: Sequence[Message], query: int) -> Int[np.ndarray, " character"]:
    """Return the segment code of every character of a place."""
    n_characters = place.stop - place.start
    if place.message is None:
        return np.full(n_characters, _CODES["system"], dtype=np.int8)
    message = messages[place.message]
    if message.role == "system":
        rest = "system"
    else:
        rest = "query" if place.message == query and not message.spans else "prompt"
    if place.shift is None:
        if message.spans:
            raise SpanError(f"the chat template rewrites message {place.message}, so its spans cannot be followed")
        return np.full(n_characters, _CODES[rest], dtype=np.int8)
    codes = np.full(len(message.content), _CODES[rest], dtype=np.int8)
    covered = 0
    for span in sorted(message.spans, key=lambda one: one.start):
        where = f"message {place.message}: span {span.start} to {span.stop}"
        if not covered <= span.start <= span.stop <= len(message.content):
            raise SpanError(f"{where} overlaps another or leaves the {len(message.content)} characters of the content")
        if span.segment not in _CODES or span.segment == "generated":
            raise SpanError(f'{where}: "{span.segment}" is not one of {", ".join(SEGMENTS[:-1])}')
        codes[span.start : span.stop] = _CODES[span.segment]
        covered = span.stop
    return codes[place.shift : place.shift + n_characters]


def _token_segments(
    encoded: Encoded, text: str, characters: Int[np.ndarray, " character"]
) -> Int[np.ndarray, " token"]:
    """Return each token's segment: that of most of the characters that it shows.

    Blanks count only for a token that is nothing else, because tokenizers disagree on which token a blank belongs to:
    some join it to the word that follows, some drop it, some leave it out of the offsets. Of equals a segment of a
    message goes before the template, then the first one.
    """
    blank = np.array([character.isspace() for character in text], dtype=bool)
    segments = np.full(len(encoded.token_ids), _CODES["template"], dtype=np.int8)
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
        return _CODES["template"]
    counts = np.bincount(codes, minlength=len(SEGMENTS))
    leading = codes[counts[codes] == counts.max()]
    of_messages = leading[leading != _CODES["template"]]
    return int(of_messages[0] if len(of_messages) else leading[0])
