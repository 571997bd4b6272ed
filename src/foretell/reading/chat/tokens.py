"""Tokens and the characters they stand for, from fast tokenizers and from those that give no offsets.

encoded = encode(tokenizer, "some text", special=False)
token_texts(tokenizer, encoded.token_ids)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from foretell.errors import SpanError

__all__ = ["Encoded", "encode", "sharing", "token_texts"]

_UNFINISHED = "\ufffd"
_WINDOW = 12


@dataclass(frozen=True)
class Encoded:
    """Token ids of a text and the characters that each one stands for."""

    token_ids: Int[np.ndarray, " token"]
    offsets: Int[np.ndarray, "token 2"]


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> Encoded:
    """Return the tokens of `text` with their character offsets.

    Args:
        tokenizer: any tokenizer of the model library.
        text: any text; what it holds is never trusted, only tokenised.
        special: let the tokenizer put its special tokens in front. Those it would put at the end are left out.

    Raises:
        SpanError: The text cannot be tokenised, or the tokenizer gives no offsets and its decoded tokens do not
            spell the text.
    """
    try:
        encoding = tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=tokenizer.is_fast, verbose=False, truncation=False
        )
    except (TypeError, ValueError, UnicodeError) as error:
        raise SpanError(f"the text cannot be tokenised: {error}") from error
    token_ids = np.array(encoding["input_ids"], dtype=np.int64)
    if tokenizer.is_fast:
        offsets = np.array(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    else:
        offsets = _decoded_offsets(tokenizer, token_ids, text, special=special)
    keep = _without_closing(tokenizer, token_ids, offsets) if special else len(token_ids)
    return Encoded(token_ids[:keep], offsets[:keep])


def _without_closing(tokenizer: PreTrainedTokenizerBase, token_ids: np.ndarray, offsets: np.ndarray) -> int:
    """Return the number of tokens before those that the tokenizer appended without being in the text."""
    added = set(tokenizer.all_special_ids)
    keep = len(token_ids)
    while keep > 1 and int(token_ids[keep - 1]) in added and offsets[keep - 1, 0] == offsets[keep - 1, 1]:
        keep -= 1
    return keep


def _decoded_offsets(
    tokenizer: PreTrainedTokenizerBase, token_ids: np.ndarray, text: str, *, special: bool
) -> Int[np.ndarray, "token 2"]:
    """Walk through `text` along the decoded tokens; a token that only begins a character shares its place."""
    offsets = np.zeros((len(token_ids), 2), dtype=np.int64)
    added = set(tokenizer.all_special_ids) if special else set()
    position = 0
    for index, piece in enumerate(token_texts(tokenizer, token_ids)):
        if int(token_ids[index]) in added and not text.startswith(piece, position):
            offsets[index] = position
            continue
        start, piece = _next_piece(text, piece, position)
        if not text.startswith(piece, start):
            raise SpanError(
                f"{type(tokenizer).__name__} gives no offsets, and its tokens do not spell the text "
                f"(from character {position}): use the fast version of this tokenizer"
            )
        offsets[index] = start, start + len(piece)
        position = start + len(piece)
    return sharing(offsets, len(text), shared=~np.isin(token_ids, list(added)))


def _next_piece(text: str, piece: str, position: int) -> tuple[int, str]:
    """Return where a decoded token begins in the text, and the characters it stands for.

    Tokenizers drop blanks, make one of several, or put one before a word that has none: only what can be seen must
    agree.
    """
    if text.startswith(piece, position):
        return position, piece
    seen = piece.strip()
    if not seen:
        return position, ""
    start = position
    while start < len(text) and text[start].isspace():
        start += 1
    return start, seen


def sharing(
    offsets: Int[np.ndarray, "token 2"], n_characters: int, *, shared: np.ndarray
) -> Int[np.ndarray, "token 2"]:
    """Return the offsets with the character that follows for tokens that have none of their own."""
    for index in np.flatnonzero((offsets[:, 0] == offsets[:, 1]) & shared):
        offsets[index, 1] = min(offsets[index, 0] + 1, n_characters)
    return offsets


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int] | Int[np.ndarray, " token"]) -> list[str]:
    """Return the text that each token adds to those before it.

    A character that takes several tokens appears at the one that completes it; those before it are empty.
    What never becomes a character is shown as the replacement character.

    Example:
        >>> from foretell.reading.models.load import load_model
        >>> tokenizer = load_model("smollm2").tokenizer  # doctest: +SKIP
        >>> token_texts(tokenizer, tokenizer("Hello world")["input_ids"])  # doctest: +SKIP
        ['Hello', ' world']
    """
    ids = [int(token_id) for token_id in token_ids]
    texts: list[str] = []
    # The piece before stays as context, because some tokenizers drop the blank before a text's first word.
    context, begin = 0, 0
    for index in range(len(ids)):
        added = _decoded(tokenizer, ids[context : index + 1])[len(_decoded(tokenizer, ids[context:begin])) :]
        unfinished = not added or added.endswith(_UNFINISHED)
        if unfinished and index + 1 < len(ids) and index - begin < _WINDOW:
            texts.append("")
            continue
        texts.append(added)
        context, begin = begin, index + 1
    return texts


def _decoded(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    decoded = tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return str(decoded)
