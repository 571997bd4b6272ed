"""A tokenizer's chat template: messages in, text out, or the reason why not; and a short name for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Message
from foretell.errors import SpanError

_PROBE = (
    "Hello, world! I'm 1234567 days   old;\tit's\n\n3.14 % of \u00e9t\u00e9, e\u0301t\u00e9 \u2014 "
    "\u6f22\u5b57 \u0440\u0443\u0441 \u0639\u0631\u0628 \U0001f600 <b>x</b> def f(a_b): return a**2  # End."
)
"""A text that tokenizers of one vocabulary split differently."""

__all__ = ["ChatTemplate", "marker_stem", "template_fingerprint", "tokenizer_fingerprint"]


@dataclass(frozen=True)
class ChatTemplate:
    """How a tokenizer writes messages."""

    tokenizer: PreTrainedTokenizerBase
    parts: bool = False
    """Whether contents are handed over as lists of parts, as templates of models that also take pictures want them."""

    def text(self, messages: Sequence[Message]) -> str:
        """Return the text that messages become, up to where the answer begins.

        Raises:
            SpanError: The template refuses them.
        """
        turns: list[dict[str, Any]] = [
            {"role": message.role, "content": self._content(message)} for message in messages
        ]
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # a template is a program and may raise anything
            raise SpanError(f"the chat template refuses these messages: {error}") from error

    def _content(self, message: Message) -> str | list[dict[str, str]]:
        return [{"type": "text", "text": message.content}] if self.parts else message.content


def marker_stem(text: str) -> str:
    """Return the beginning of words that a text does not hold, in upper or lower case."""
    stem = "Qz"
    while stem.casefold() in text.casefold():
        stem += "xk"
    return stem


def template_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a name that changes with the chat template and with the special tokens that go with it.

    What counts is the template's text, the tokens that it may name (beginning and end of sequence, unknown), and those
    that the tokenizer itself puts around a text. Padding does not count.

    Returns:
        16 hexadecimal digits.
    """
    template = tokenizer.chat_template
    named = [str(getattr(tokenizer, f"{name}_token")) for name in ("bos", "eos", "unk")]
    added = tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])
    described = json.dumps([template, named, added], ensure_ascii=True, sort_keys=True)
    return sha256(described.encode()).hexdigest()[:16]


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a name that changes with what a tokenizer does, and not with how or by which version it was saved.

    What counts is the vocabulary with its ids, and how a text of many scripts, numbers and spaces is split.

    Returns:
        16 hexadecimal digits.
    """
    described = json.dumps([sorted(tokenizer.get_vocab().items()), tokenizer(_PROBE)["input_ids"]], ensure_ascii=True)
    return sha256(described.encode()).hexdigest()[:16]
