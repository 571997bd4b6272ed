"""A short name for how a tokenizer writes chats, so that numbers from two chat templates are not taken for one kind."""

from __future__ import annotations

import json
from hashlib import sha256

from transformers import PreTrainedTokenizerBase

__all__ = ["template_fingerprint"]


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
