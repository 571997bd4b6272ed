"""What a message holds belongs to its segment with every kind of tokenizer, whatever it does with blanks."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from foretell.conversations.conversation import Message, Span
from foretell.errors import SpanError
from foretell.reading.chat.spans import Rendered, render
from foretell.reading.chat.tokens import encode
from foretell.schema.tables import SEGMENTS
from tests.reading.chat.test_spans import conversation
from tests.reading.tiny import CHATML, GEMMA
from tests.reading.tokenizer_kinds import KINDS, WordsOnly, byte_level, unigram, wordpiece

WIDE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ':\n\n\n' + m['content'] }}"
    "{{ '\n\n\n<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant:\n\n\n' }}"
)
"""Writes more blanks around a content than a short content has letters."""

CONTENTS = ("i", "\n\nok", "  ok  ", "ok\n\n", " a b ", "hi, you", "I\n\nam\n\nok", "\n i", "ok yes.\n\n\n")


def seen(rendered: Rendered, segment: str) -> str:
    """What can be seen of the characters of a segment's tokens, each once."""
    chosen = np.zeros(len(rendered.text), dtype=bool)
    for (start, stop), code in zip(rendered.offsets, rendered.segments, strict=True):
        if code == SEGMENTS.index(segment):
            chosen[start:stop] = True
    return "".join(np.array(list(rendered.text))[chosen].tolist()).replace("\n", "").replace(" ", "")


def bare(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("template", [CHATML, GEMMA, WIDE], ids=["chatml", "gemma", "wide"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_letter_of_a_content_is_in_its_segment(kind: str, template: str) -> None:
    tokenizer = KINDS[kind](template)
    for content in CONTENTS:
        messages = Message("system", content), Message("user", content), Message("assistant", content)
        rendered = render(tokenizer, conversation(*messages, Message("user", content)), answer=content)
        assert seen(rendered, "system") == bare(content)
        assert seen(rendered, "prompt") == bare(content) * 2
        assert seen(rendered, "query") == bare(content)
        assert seen(rendered, "generated") == bare(content)


# With a blank put in front, the library's offsets leave out the letter behind it.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "byte-level, blank in front"])
def test_no_word_of_a_content_is_template_and_no_header_is_content(kind: str) -> None:
    tokenizer = KINDS[kind](WIDE)
    messages = Message("user", "\n\nok"), Message("assistant", "\n\ni"), Message("user", "i")
    rendered = render(tokenizer, conversation(*messages), answer="\n\nok i")
    assert seen(rendered, "template") == bare(
        tokenizer.apply_chat_template(  # type: ignore[arg-type]
            [{"role": one.role, "content": ""} for one in messages], tokenize=False, add_generation_prompt=True
        )
    )


@pytest.mark.parametrize("answer", ["\n\nok", " i", "i", "  ", "ok\n"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_comes_off_its_prompt_as_it_was_put_on(kind: str, answer: str) -> None:
    tokenizer = KINDS[kind](CHATML)
    sample = conversation(Message("user", "hi"))
    rendered, alone = (render(tokenizer, sample, answer=one) for one in (answer, None))
    assert rendered.prompt.text == alone.text or not rendered.counts["generated"]
    assert rendered.prompt.token_ids.tolist() == alone.token_ids.tolist()
    assert rendered.text == alone.text + answer
    assert "".join(text for _, text in rendered.pieces) == rendered.text


@pytest.mark.parametrize("template", [CHATML, WIDE], ids=["chatml", "wide"])
def test_spans_are_followed_where_blanks_are_dropped(template: str) -> None:
    message = Message("user", "be brief\n\n\n\ni", (Span(0, 8, "prompt"), Span(12, 13, "query")))
    for tokenizer in (wordpiece(template), unigram(template), byte_level(template, trim=True)):
        rendered = render(tokenizer, conversation(message), answer="ok")
        assert (seen(rendered, "prompt"), seen(rendered, "query")) == ("bebrief", "i")


def test_a_token_of_a_blank_and_a_letter_goes_with_the_letter() -> None:
    template = "{{ '<bos>Say' }}{% for m in messages %}{{ ' ' + m['content'] }}{% endfor %}{{ '\n' }}"
    rendered = render(byte_level(template), conversation(Message("user", "a")), answer="ok")
    assert [SEGMENTS[code] for code in rendered.segments].count("query") == 1
    assert seen(rendered, "query") == "a"


def test_an_answer_that_would_merge_with_the_prompt_gets_no_blank_of_a_first_word() -> None:
    tokenizer = byte_level(CHATML, trim=True, prefix=True)
    rendered = render(tokenizer, conversation(Message("user", "hi")), answer="\n\nok")
    tokens = tokenizer.convert_ids_to_tokens(rendered.token_ids[rendered.n_prompt_tokens :].tolist())
    assert "".join(tokens) == "ĊĊok"


def test_a_tokenizer_without_offsets_may_drop_blanks() -> None:
    tokenizer = WordsOnly()
    encoded = encode(tokenizer, "hi\n\n  you\n", special=False)
    assert encoded.offsets.tolist() == [[0, 2], [6, 9]]
    tokenizer.chat_template = WIDE.replace("<|im_start|>", " start ").replace("<|im_end|>", " end ")
    rendered = render(tokenizer, conversation(Message("user", "\n\nok")), answer="\n\ni")
    assert (seen(rendered, "query"), seen(rendered, "generated")) == ("ok", "i")


def test_a_tokenizer_without_offsets_that_changes_letters_is_refused() -> None:
    tokenizer: PreTrainedTokenizerBase = WordsOnly(lower=True)
    with pytest.raises(SpanError, match="do not spell the text"):
        encode(tokenizer, "Hi you", special=False)
