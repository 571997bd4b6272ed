"""The tokens of an answer: from its text, as a continuation of the prompt, or exactly those that were given.

A text can be cut into tokens in more than one way, and a model that samples does not keep to the tokenizer's own. So
an answer whose tokens are known is fed by them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from foretell.errors import InputError
from foretell.reading.chat.tokens import Encoded, encode, sharing, token_texts

__all__ = ["check_token_ids", "continuation", "given_tokens"]

_SHOWN = 60
_ANCHORS = (":", "a", "\n")


def continuation(
    tokenizer: PreTrainedTokenizerBase, text: str, prompt: Encoded, answer: str, *, special: bool
) -> Encoded:
    """Return the tokens of an answer's text, with offsets into prompt and answer together.

    The answer is tokenised together with the prompt where that leaves the prompt's tokens as they are; otherwise after
    a character that it does not merge with, so that it gets no blank of a text's first word; else by itself.
    """
    if not answer:
        return Encoded(np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64))
    found = _after(tokenizer, text, prompt, answer, special=special)
    for anchor in _ANCHORS:
        if found is None:
            found = _after(tokenizer, anchor, encode(tokenizer, anchor, special=False), answer, special=False)
            found = None if found is None else Encoded(found.token_ids, found.offsets + len(text) - len(anchor))
    if found is None:
        alone = encode(tokenizer, answer, special=False)
        found = Encoded(alone.token_ids, alone.offsets + len(text))
    # Blanks in front of the first word belong to the answer, also where the tokenizer drops them.
    found.offsets[:1, 0] = len(text)
    return found


def _after(
    tokenizer: PreTrainedTokenizerBase, text: str, before: Encoded, answer: str, *, special: bool
) -> Encoded | None:
    """Return the answer's tokens behind a text; None where that text would have other tokens than before."""
    n_before = len(before.token_ids)
    together = encode(tokenizer, text + answer, special=special)
    if not np.array_equal(together.token_ids[:n_before], before.token_ids):
        return None
    return Encoded(together.token_ids[n_before:], together.offsets[n_before:])


def given_tokens(
    tokenizer: PreTrainedTokenizerBase, text: str, prompt: Encoded, token_ids: Sequence[int]
) -> tuple[str, Encoded]:
    """Return the text of an answer's tokens, special tokens written out, and the tokens with their offsets.

    Offsets count into prompt and answer together. The tokens are taken as they are.
    """
    # Some tokenizers write a first word otherwise than a later one.
    context = prompt.token_ids[-1:].tolist()
    pieces = token_texts(tokenizer, [*context, *token_ids])[len(context) :]
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    ends = np.cumsum(lengths)
    answer = "".join(pieces)
    offsets = sharing(np.stack([ends - lengths, ends], axis=1), len(answer), shared=np.ones(len(ends), bool))
    return answer, Encoded(np.array(token_ids, dtype=np.int64), offsets + len(text))


def check_token_ids(
    tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], answer: str | None, *, n_vocabulary: int
) -> None:
    """Refuse tokens that are not those of the answer's text where that is known, special tokens apart.

    Raises:
        InputError: The model has no such token, or the tokens stand for another text.
    """
    outside = [token_id for token_id in token_ids if not 0 <= token_id < n_vocabulary]
    if outside:
        raise InputError(
            f"the answer has the token {outside[0]}, and the model's vocabulary has {n_vocabulary}: its "
            "answer_token_ids belong to another model; leave them out, and its text is read"
        )
    if answer is None:
        return
    plain, whole = (str(tokenizer.decode(list(token_ids), skip_special_tokens=skip)) for skip in (True, False))
    if answer not in {plain, whole} and _bare(tokenizer, answer) != _bare(tokenizer, whole):
        raise InputError(
            f"answer_token_ids stand for {_shown(plain)} with this model's tokenizer, and the answer is "
            f"{_shown(answer)}: they belong to another tokenizer or answer; leave them out, and its text is read"
        )


def _bare(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return a text without its special tokens."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, "")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
