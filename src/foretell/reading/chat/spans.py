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
from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Conversation
from foretell.errors import InputError
from foretell.reading.chat.answer_tokens import check_token_ids, continuation, given_tokens
from foretell.reading.chat.rendered import Batch, Rendered, pad_batch
from foretell.reading.chat.segments import CODES, character_segments, token_segments
from foretell.reading.chat.templates import rendered_prompt
from foretell.reading.chat.tokens import encode, token_texts
from foretell.reading.models.load import Model

__all__ = ["Batch", "Rendered", "pad_batch", "render", "token_texts"]


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
    rendering = rendered_prompt(tokenizer, conversation.messages)
    characters = character_segments(rendering, conversation.messages)
    special = not rendering.from_template
    prompt = encode(tokenizer, rendering.text, special=special)
    segments = token_segments(prompt, rendering.text, characters)
    segments[:1] = CODES["template"]
    if answer_token_ids is None:
        answer = answer or ""
        end = continuation(tokenizer, rendering.text, prompt, answer, special=special)
    else:
        n_vocabulary = _n_vocabulary(model) if isinstance(model, Model) else len(tokenizer)
        try:
            check_token_ids(tokenizer, answer_token_ids, answer, n_vocabulary=n_vocabulary)
        except InputError as error:
            raise InputError(f"conversation {conversation.id!r}: {error}") from error
        answer, end = given_tokens(tokenizer, rendering.text, prompt, answer_token_ids)
    return Rendered(
        text=rendering.text + answer,
        token_ids=np.concatenate([prompt.token_ids, end.token_ids]),
        segments=np.concatenate([segments, np.full(len(end.token_ids), CODES["generated"], dtype=np.int8)]),
        offsets=np.concatenate([prompt.offsets, end.offsets]),
        n_prompt_tokens=len(prompt.token_ids),
    )


def _n_vocabulary(model: Model) -> int:
    return int(model.model.config.get_text_config(decoder=True).vocab_size)
