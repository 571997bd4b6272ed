"""Every token in exactly one segment, whatever the template, the tokenizer and the text."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from foretell.conversations.conversation import Conversation, Message, Span
from foretell.errors import SpanError
from foretell.reading.chat.spans import Rendered, pad_batch, render, token_texts
from foretell.reading.models.load import Model
from foretell.schema.tables import SEGMENTS
from tests.reading.tiny import CHATML, GEMMA, THINKING, tiny_tokenizer

TEXT = st.text(max_size=40) | st.sampled_from(
    [
        "",
        " ",
        "<|im_end|>\n<|im_start|>user\n",
        "user\n",
        "👨‍👩‍👧",
        "مرحبا بالعالم",
        "e\u0301\u0323",
        "Qz0End",
        "\n\n",
        "\x00\u200b",
    ]
)
MESSAGES = st.tuples(
    st.one_of(st.none(), TEXT), st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT), max_size=3), TEXT
)


def conversation(*messages: Message) -> Conversation:
    return Conversation("one", "test", messages)


def drawn(parts: tuple[str | None, list[tuple[str, str]], str]) -> Conversation:
    system, middle, last = parts
    head = [] if system is None else [Message("system", system)]
    turns = [Message("user" if role == "user" else "assistant", content) for role, content in middle]
    return conversation(*head, *turns, Message("user", last))


def held(rendered: Rendered, segment: str) -> str:
    """The characters of all tokens of a segment, in order, each once."""
    chosen = [False] * len(rendered.text)
    for (start, stop), code in zip(rendered.offsets, rendered.segments, strict=True):
        if code == SEGMENTS.index(segment):
            chosen[start:stop] = [True] * int(stop - start)
    return "".join(itertools.compress(rendered.text, chosen))


def template_ids(tokenizer: PreTrainedTokenizerBase, sample: Conversation) -> list[int]:
    turns = [{"role": message.role, "content": message.content} for message in sample.messages]
    encoded: Any = tokenizer.apply_chat_template(turns, add_generation_prompt=True)
    return list(encoded["input_ids"])


@settings(max_examples=120)
@given(MESSAGES, TEXT, st.sampled_from([CHATML, GEMMA, THINKING, None]))
def test_any_text_covers_every_token_once(
    parts: tuple[str | None, list[tuple[str, str]], str], answer: str, template: str | None
) -> None:
    tokenizer = tiny_tokenizer(template)
    sample = drawn(parts)
    rendered = render(tokenizer, sample, answer=answer)
    assert sum(rendered.counts.values()) == len(rendered.token_ids) == len(rendered.segments) == len(rendered.offsets)
    assert rendered.segments.min(initial=0) >= 0
    assert (rendered.segments[rendered.n_prompt_tokens :] == 4).all()
    assert (rendered.segments[: rendered.n_prompt_tokens] != 4).all()
    assert rendered.text.endswith(answer)
    assert rendered.segments[:1].tolist() in ([], [3], [4])
    if template is not None:
        assert rendered.token_ids[: rendered.n_prompt_tokens].tolist() == template_ids(tokenizer, sample)


@settings(max_examples=120)
@given(MESSAGES)
def test_contents_keep_their_characters(parts: tuple[str | None, list[tuple[str, str]], str]) -> None:
    sample = drawn(parts)
    rendered = render(tiny_tokenizer(CHATML), sample, answer=None)
    system = "".join(message.content for message in sample.messages if message.role == "system")
    given_system = any(message.role == "system" for message in sample.messages)
    assert held(rendered, "system") == (system if given_system else "You are a tiny model.")
    last = max(index for index, message in enumerate(sample.messages) if message.role == "user")
    others = [m.content for i, m in enumerate(sample.messages) if i != last and m.role != "system"]
    assert held(rendered, "query") == sample.messages[last].content
    assert held(rendered, "prompt") == "".join(others)


def test_a_repeated_marker_or_message_confuses_nothing() -> None:
    marker = "<|im_end|>\n<|im_start|>assistant\n"
    sample = conversation(
        Message("system", "user"), Message("user", marker), Message("assistant", "user"), Message("user", marker)
    )
    rendered = render(tiny_tokenizer(), sample, answer=marker)
    assert held(rendered, "system") == "user"
    assert held(rendered, "prompt") == marker + "user"
    assert held(rendered, "query") == marker
    assert held(rendered, "generated") == marker


def test_spans_of_a_message_are_followed() -> None:
    content = "Count the words.\n\nInput: one two"
    sample = conversation(Message("user", content, (Span(18, 32, "query"), Span(0, 5, "system"))))
    rendered = render(tiny_tokenizer(), sample, answer="2")
    assert held(rendered, "query") == "Input: one two"
    assert held(rendered, "prompt") == " the words.\n\n"
    assert held(rendered, "system") == "You are a tiny model.Count"
    assert rendered.counts["generated"] == 1


def test_spans_follow_a_template_that_strips() -> None:
    sample = conversation(Message("user", "  ask this  ", (Span(2, 5, "query"),)))
    rendered = render(tiny_tokenizer(GEMMA), sample, answer=None)
    assert held(rendered, "query") == "ask"
    assert held(rendered, "prompt") == " this"


def test_a_system_text_folded_into_the_user_turn_stays_system() -> None:
    rendered = render(
        tiny_tokenizer(GEMMA), conversation(Message("system", "Be brief."), Message("user", "Hi")), answer=None
    )
    assert held(rendered, "system") == "Be brief."
    assert held(rendered, "query") == "Hi"
    assert rendered.token_ids[0] == 1


def test_a_rewritten_answer_is_found_and_its_spans_are_refused() -> None:
    thought = "<think>\nlong thoughts\n</think>\n\nParis."
    turns = (Message("user", "Capital?"), Message("assistant", thought), Message("user", "Sure?"))
    rendered = render(tiny_tokenizer(THINKING), conversation(*turns), answer="Yes")
    assert held(rendered, "prompt") == "Capital?Paris."
    assert held(rendered, "query") == "Sure?"
    with_span = Message("assistant", thought, (Span(0, 3, "prompt"),))
    with pytest.raises(SpanError, match="rewrites message 1"):
        render(tiny_tokenizer(THINKING), conversation(turns[0], with_span, turns[2]), answer=None)
    twice = conversation(turns[0], turns[1], turns[2], turns[1], turns[2])
    rewritten = r"more than one message, the first is message 1 \(assistant\) and the last is message 3 \(assistant\)"
    with pytest.raises(SpanError, match=rewritten):
        render(tiny_tokenizer(THINKING), twice, answer=None)


def test_templates_that_refuse_or_leave_out_are_named() -> None:
    refusing = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(SpanError, match="refuses these messages: System role not supported"):
        render(tiny_tokenizer(refusing), conversation(Message("system", "s"), Message("user", "u")), answer=None)
    forgetful = (
        "{% for m in messages if m['role'] != 'system' %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    )
    with pytest.raises(SpanError, match=r"leaves out message 0 \(system\)"):
        render(tiny_tokenizer(forgetful), conversation(Message("system", "s"), Message("user", "u")), answer=None)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ((Span(0, 3, "query"), Span(2, 4, "prompt")), "overlaps"),
        ((Span(3, 99, "query"),), "overlaps another or leaves"),
        ((Span(0, 1, "generated"),), "is not one of system, prompt, query, template"),
        ((Span(0, 1, "context"),), "is not one of"),
    ],
)
def test_wrong_spans_are_refused(spans: tuple[Span, ...], message: str) -> None:
    with pytest.raises(SpanError, match=message):
        render(tiny_tokenizer(), conversation(Message("user", "hello", spans)), answer=None)


def test_a_model_without_template_gets_blank_lines() -> None:
    tokenizer = tiny_tokenizer(None, bos=True)
    rendered = render(tokenizer, conversation(Message("system", "S"), Message("user", "Ask")), answer="Go")
    assert rendered.text == "S\n\nAsk\n\nGo"
    assert rendered.token_ids[0] == 1
    assert 3 not in rendered.token_ids
    assert rendered.segments[0] == 3
    assert (held(rendered, "system"), held(rendered, "query"), held(rendered, "generated")) == ("S", "Ask", "Go")


def test_a_slow_tokenizer_is_followed_by_decoding() -> None:
    tokenizer = ByT5Tokenizer()
    assert not tokenizer.is_fast
    tokenizer.chat_template = CHATML
    sample = conversation(Message("user", "naïve 👍 مرحبا"))
    rendered = render(tokenizer, sample, answer="d'accord é")
    assert held(rendered, "query") == "naïve 👍 مرحبا"
    assert held(rendered, "generated") == "d'accord é"
    assert rendered.token_ids[: rendered.n_prompt_tokens].tolist() == template_ids(tokenizer, sample)


def test_token_texts_join_to_the_text() -> None:
    tokenizer = tiny_tokenizer()
    text = "a 👨‍👩‍👧 é — مرحبا"
    pieces = token_texts(tokenizer, tokenizer(text)["input_ids"])
    assert "".join(pieces) == text
    assert len(pieces) == len(text.encode())
    assert token_texts(tokenizer, tokenizer("é")["input_ids"][:1]) == ["\ufffd"]


def test_pieces_join_to_the_text_and_alternate() -> None:
    tokenizer = tiny_tokenizer()
    for content in ("a 👨‍👩‍👧 é", "", "<|im_end|>", "  blank  "):
        rendered = render(tokenizer, conversation(Message("user", content)), answer="fine 👍")
        assert "".join(text for _, text in rendered.pieces) == rendered.text
        names = [name for name, _ in rendered.pieces]
        assert all(first != second for first, second in itertools.pairwise(names))
        assert rendered.pieces[-1] == ("generated", "fine 👍")


def test_a_long_text_is_quick_enough_and_complete() -> None:
    content = "0123456789" * 10_000
    rendered = render(tiny_tokenizer(), conversation(Message("user", content)), answer="x")
    assert rendered.counts["query"] == 100_000


def test_batches_are_padded_on_either_side() -> None:
    tokenizer = tiny_tokenizer()
    both = [render(tokenizer, conversation(Message("user", word)), answer="ok") for word in ("a", "abcde")]
    left, right = (pad_batch(both, pad_id=0, side=side) for side in ("left", "right"))
    assert left.segments[0, :4].tolist() == [-1] * 4
    assert right.segments[0, -4:].tolist() == [-1] * 4
    assert left.position_ids[0, 4:].tolist() == right.position_ids[0, :-4].tolist()
    assert left.position_ids[0, 4] == 0
    assert left.attention_mask.sum(1).tolist() == [len(one.token_ids) for one in both]
    prompt = both[1].prompt
    assert prompt.counts["generated"] == 0
    assert prompt.text + "ok" == both[1].text
    assert len(prompt.token_ids) == both[1].n_prompt_tokens


@pytest.mark.model
def test_smollm2_prompts_are_those_of_its_template(smollm2: Model) -> None:
    for messages in (
        (Message("user", "Who is Elon Musk?"),),
        (Message("system", "Be brief."), Message("user", "a"), Message("assistant", "b"), Message("user", "1234 👍")),
        (Message("user", ""),),
    ):
        sample = conversation(*messages)
        rendered = render(smollm2, sample, answer=" Yes.")
        assert rendered.token_ids[: rendered.n_prompt_tokens].tolist() == template_ids(smollm2.tokenizer, sample)
        assert held(rendered, "query") == messages[-1].content
    default = render(smollm2, conversation(Message("user", "Hi")), answer=None)
    assert held(default, "system") == "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
