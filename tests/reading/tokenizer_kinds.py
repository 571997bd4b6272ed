"""Tokenizers of the kinds that exist, without files: they disagree on blanks, letters and offsets.

tokenizer = KINDS["wordpiece"](CHATML)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.reading.tiny import SPECIAL

WORDS = ("user", "assistant", "system", "hi", "ok", "yes", "you", "are", "a", "tiny", "model", "be", "brief", "i")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"#<>|_-()[]/\n\t"
UNKNOWN = "<unk>"
MERGES = (("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("Ġ", "a"), ("e", "r"), ("o", "n"), ("Ċ", "Ċ"), ("a", "n"))


def _fast(tokenizer: Tokenizer, template: str | None) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], bos_token=SPECIAL[1], eos_token=SPECIAL[3]
    )
    fast.chat_template = template
    return fast


def wordpiece(template: str | None) -> PreTrainedTokenizerFast:
    """Lower case, no token for any blank."""
    pieces = [*SPECIAL, UNKNOWN, *WORDS, *dict.fromkeys(letter.lower() for letter in LETTERS if not letter.isspace())]
    pieces = list(dict.fromkeys([*pieces, *(f"##{letter}" for letter in LETTERS[:26])]))
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return _fast(tokenizer, template)


def unigram(template: str | None, *, scheme: Any = "always") -> PreTrainedTokenizerFast:
    """A blank is part of the word that follows; one is put before the first word."""
    scores = [*((token, 0.0) for token in SPECIAL), (UNKNOWN, -20.0), ("▁", -3.0)]
    scores += [(f"▁{word}", -2.0) for word in WORDS if len(word) > 1] + [(letter, -5.0) for letter in LETTERS]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=len(SPECIAL), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return _fast(tokenizer, template)


def byte_fallback(template: str | None) -> PreTrainedTokenizerFast:
    """SentencePiece's pairs: blanks become a letter of their own, unknown characters bytes."""
    pieces = [*SPECIAL, UNKNOWN, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *LETTERS]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    merges = [("▁", "h"), ("o", "k")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token=UNKNOWN, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return _fast(tokenizer, template)


def byte_level(template: str | None, *, trim: bool = False, prefix: bool = False) -> PreTrainedTokenizerFast:
    """Bytes with merges, so that one text can be cut in several ways.

    Args:
        template: The chat template.
        trim: Leave blanks out of the offsets.
        prefix: Put a blank before the first word.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet))}
    for left, right in MERGES:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(MERGES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, trim_offsets=trim)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return _fast(tokenizer, template)


def without_offsets(template: str | None) -> PreTrainedTokenizerBase:
    """A tokenizer that only says which tokens there are."""
    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = template
    return tokenizer


KINDS: dict[str, Callable[[str | None], PreTrainedTokenizerBase]] = {
    "wordpiece": wordpiece,
    "unigram": unigram,
    "unigram, no blank in front": lambda template: unigram(template, scheme="never"),
    "byte fallback": byte_fallback,
    "byte-level": byte_level,
    "byte-level, blanks not in offsets": lambda template: byte_level(template, trim=True),
    "byte-level, blank in front": lambda template: byte_level(template, trim=True, prefix=True),
    "without offsets": without_offsets,
}


class WordsOnly(PreTrainedTokenizer):
    """One token for each word, none for a blank, and no offsets."""

    def __init__(self, *, lower: bool = False, **options: Any) -> None:
        self.lower = lower
        self.words: dict[str, int] = {}
        super().__init__(**options)  # type: ignore[no-untyped-call]

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.words)

    def _tokenize(self, text: str, **_options: Any) -> list[str]:
        return [word.lower() if self.lower else word for word in text.split()]

    def _convert_token_to_id(self, token: str) -> int:
        return self.words.setdefault(token, len(self.words))

    def _convert_id_to_token(self, index: int) -> str:
        return list(self.words)[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return " ".join(tokens)
