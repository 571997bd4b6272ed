"""Render a conversation and put every token into exactly one segment, by characters and never by model.

Rules: what a message holds belongs to the segment that the message states for it; all else (role headers, special
tokens, blanks that a template adds) is template, and so is the first token. A system text that the template adds by
itself is system. A token that straddles segments goes to the one that holds most of its characters, of equals to the
first. The answer's tokens are generated; a given answer gets no end-of-turn token, because none was generated.

    rendered = render(model, conversation, answer="Paris.")
    rendered.counts
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Conversation, Message
from foretell.errors import SpanError
from foretell.reading.chat.rendered import Batch, Rendered, pad_batch
from foretell.reading.chat.templates import Place, rendered_prompt
from foretell.reading.chat.tokens import Encoded, encode, token_texts
from foretell.reading.models.load import Model
from foretell.schema.tables import SEGMENTS

__all__ = ["Batch", "Rendered", "pad_batch", "render", "token_texts"]

_CODE = {name: code for code, name in enumerate(SEGMENTS)}


def render(model: Model | PreTrainedTokenizerBase, conversation: Conversation, *, answer: str | None) -> Rendered:
    """Return the conversation as tokens, each in one of the five segments.

    The prompt's token ids are those of `apply_chat_template(messages, add_generation_prompt=True)`. A model without a
    chat template gets every message followed by a blank line, and the special tokens its tokenizer puts in front.
    The answer is tokenised as a continuation: together with the prompt where that leaves the prompt's tokens as they
    are, by itself otherwise.

    Args:
        model: a loaded model, or just its tokenizer.
        conversation: its messages are rendered; its own answer is not looked at.
        answer: text whose tokens are the segment `generated`; None or "" for none.

    Raises:
        SpanError: The template refuses, leaves out or rewrites messages in a way that cannot be followed, or a
            message's spans do not fit its content.
    """
    tokenizer = model.tokenizer if isinstance(model, Model) else model
    rendering = rendered_prompt(tokenizer, conversation.messages)
    characters = np.full(len(rendering.text), _CODE["template"], dtype=np.int8)
    query = _last_user(conversation.messages)
    for place in rendering.places:
        characters[place.start : place.stop] = _place_codes(place, conversation.messages, query)
    special = not rendering.from_template
    prompt = encode(tokenizer, rendering.text, special=special)
    segments = _token_segments(prompt, characters)
    if len(segments):
        segments[0] = _CODE["template"]
    end = _continuation(tokenizer, rendering.text, prompt, answer or "", special=special)
    return Rendered(
        text=rendering.text + (answer or ""),
        token_ids=np.concatenate([prompt.token_ids, end.token_ids]),
        segments=np.concatenate([segments, np.full(len(end.token_ids), _CODE["generated"], dtype=np.int8)]),
        offsets=np.concatenate([prompt.offsets, end.offsets]),
        n_prompt_tokens=len(prompt.token_ids),
    )


def _last_user(messages: tuple[Message, ...]) -> int:
    return max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)


def _place_codes(place: Place, messages: tuple[Message, ...], query: int) -> Int[np.ndarray, " character"]:
    """Return the segment code of every character of a place."""
    n_characters = place.stop - place.start
    if place.message is None:
        return np.full(n_characters, _CODE["system"], dtype=np.int8)
    message = messages[place.message]
    if message.role == "system":
        rest = "system"
    else:
        rest = "query" if place.message == query and not message.spans else "prompt"
    if place.shift is None:
        if message.spans:
            raise SpanError(f"the chat template rewrites message {place.message}, so its spans cannot be followed")
        return np.full(n_characters, _CODE[rest], dtype=np.int8)
    codes = np.full(len(message.content), _CODE[rest], dtype=np.int8)
    covered = 0
    for span in sorted(message.spans, key=lambda one: one.start):
        where = f"message {place.message}: span {span.start} to {span.stop}"
        if not covered <= span.start <= span.stop <= len(message.content):
            raise SpanError(f"{where} overlaps another or leaves the {len(message.content)} characters of the content")
        if span.segment not in _CODE or span.segment == "generated":
            raise SpanError(f'{where}: "{span.segment}" is not one of {", ".join(SEGMENTS[:-1])}')
        codes[span.start : span.stop] = _CODE[span.segment]
        covered = span.stop
    return codes[place.shift : place.shift + n_characters]


def _token_segments(encoded: Encoded, characters: Int[np.ndarray, " character"]) -> Int[np.ndarray, " token"]:
    """Return each token's segment: that of most of its characters, of equals the first one."""
    segments = np.full(len(encoded.token_ids), _CODE["template"], dtype=np.int8)
    reached = 0
    for index, (start, stop) in enumerate(encoded.offsets):
        # Blanks that a tokenizer trims from its offsets belong to the token that follows them.
        held = characters[min(start, max(reached, 0)) if reached < start else start : stop]
        reached = max(reached, int(stop))
        if len(held):
            counts = np.bincount(held, minlength=len(SEGMENTS))
            first = counts[held] == counts.max()
            segments[index] = held[np.argmax(first)]
    return segments


def _continuation(
    tokenizer: PreTrainedTokenizerBase, text: str, prompt: Encoded, answer: str, *, special: bool
) -> Encoded:
    """Return the answer's tokens with offsets into text and answer together."""
    if not answer:
        return Encoded(np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64))
    n_prompt = len(prompt.token_ids)
    together = encode(tokenizer, text + answer, special=special)
    if np.array_equal(together.token_ids[:n_prompt], prompt.token_ids):
        return Encoded(together.token_ids[n_prompt:], together.offsets[n_prompt:])
    alone = encode(tokenizer, answer, special=False)
    return Encoded(alone.token_ids, alone.offsets + len(text))
