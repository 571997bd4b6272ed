"""A template that cannot be followed is refused for what it does; one that can is followed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from foretell.conversations.conversation import Message, Span
from foretell.errors import SpanError
from foretell.reading.chat.spans import render
from tests.reading.chat.test_own_words import LATER, SYSTEM, TURNS, USER
from tests.reading.chat.test_spans import conversation, held
from tests.reading.tiny import tiny_tokenizer


def turns(content: str, kept: str = "true") -> str:
    """A template that writes this of each message of which that holds."""
    return (
        "{% for m in messages if " + kept + " %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{{ " + content + " }}{{ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
    )


REFUSED = {
    "leaves one out": (turns("m.content", "m.role != 'system'"), r"leaves out message 0 \(system\)"),
    "leaves out by what it says": (turns("m.content", "'Hi' not in m.content"), r"leaves out message 1 \(user\)"),
    "keeps the last": (turns("m.content", "m == messages[-1]"), "leaves out message 0"),
    "writes none": (turns("''"), "leaves out message 0"),
    "turns them round": (turns("m.content | reverse"), r"rewrites the content of message 0 \(system\) beyond"),
    "cuts them off": (turns("m.content[:2]"), r"rewrites the content of message 0 \(system\) beyond"),
    "capitalises each word": (turns("m.content | title"), "rewrites the content of more than one message"),
    "changes marks": (turns("m.content | replace('.', '!') | replace('?', '!')"), "rewrites the content of more than"),
    "counts": (turns("m.content | length ~ ' ' ~ m.content"), "writes other words around these messages"),
    "raises": ("{{ raise_exception('conversation roles must alternate') }}", "refuses these messages: conversation"),
    "fails": ("{{ 1 / 0 }}", "refuses these messages: division by zero"),
    "wants lists of some": (
        turns("m.content[0]['text'] if m.role == 'user' else m.content"),
        r"wants the content of message 1 \(user\) as a list of parts and that of others as text",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_reason_is_what_the_template_does(name: str) -> None:
    template, reason = REFUSED[name]
    with pytest.raises(SpanError, match=reason):
        render(tiny_tokenizer(template), conversation(SYSTEM, USER, *LATER), answer="ok")


def test_a_template_that_takes_numbers_only_is_not_said_to_refuse_them() -> None:
    template = turns("(m.content | int) if m.content | int(-1) >= 0 else raise_exception('no number')")
    with pytest.raises(SpanError, match=r"no number \(with other words in them, to see where they stand\)"):
        render(tiny_tokenizer(template), conversation(Message("user", "5")), answer="ok")


@pytest.mark.parametrize(
    "content",
    ["m.content[0]['text']", "m.content | map(attribute='text') | join", "m.content[0].text | trim"],
)
def test_a_template_that_wants_lists_of_parts_is_given_them(content: str) -> None:
    tokenizer = tiny_tokenizer(turns(content))
    sample = conversation(SYSTEM, USER, *LATER)
    rendered = render(tokenizer, sample, answer="ok")
    plain = render(tiny_tokenizer(TURNS), sample, answer="ok")
    assert rendered.text == plain.text
    assert rendered.segments.tolist() == plain.segments.tolist()
    parts = [{"role": m.role, "content": [{"type": "text", "text": m.content}]} for m in sample.messages]
    expected = tokenizer.apply_chat_template(parts, add_generation_prompt=True)  # type: ignore[arg-type]
    assert rendered.token_ids[: rendered.n_prompt_tokens].tolist() == list(expected["input_ids"])  # type: ignore[call-overload,index]


def test_a_list_is_never_read_as_its_program_text() -> None:
    template = turns("m.content if m.role == 'system' else m.content[0].text")
    with pytest.raises(SpanError, match="as a list of parts"):
        render(tiny_tokenizer(template), conversation(SYSTEM, USER), answer="ok")


@pytest.mark.parametrize("change", ["upper", "lower"])
def test_letters_of_another_case_are_followed(change: str) -> None:
    spans = (Span(0, 3, "prompt"), Span(3, 9, "query"))
    sample = conversation(SYSTEM, Message("user", "Hi there.", spans), *LATER[:1], Message("user", "STRASSE straße"))
    rendered = render(tiny_tokenizer(turns(f"m.content | {change}")), sample, answer="ok")
    made = str.upper if change == "upper" else str.lower
    assert held(rendered, "system") == made("Be brief.")
    assert held(rendered, "prompt") == made("Hi Yes?")
    assert held(rendered, "query") == made("there.STRASSE straße")


TRIMS: dict[str, Callable[[str], str]] = {
    "strip()": str.strip,
    "rstrip()": str.rstrip,
    "lstrip()": str.lstrip,
    "strip('\\n')": lambda content: content.strip("\n"),
    "lstrip('\\n')": lambda content: content.lstrip("\n"),
    "strip(' ')": lambda content: content.strip(" "),
}


@pytest.mark.parametrize("trim", TRIMS)
def test_trimmed_contents_are_followed(trim: str) -> None:
    contents = ("\n\n a \n", "  b\n\n", "\n c ")
    first, second, third = (TRIMS[trim](content) for content in contents)
    messages = Message("user", contents[0]), Message("assistant", contents[1]), Message("user", contents[2])
    rendered = render(tiny_tokenizer(turns(f"m.content.{trim}")), conversation(*messages), answer="ok")
    assert held(rendered, "prompt") == first + second
    assert held(rendered, "query") == third


def test_merged_turns_are_followed() -> None:
    merging = (
        "{% for m in messages %}{% if loop.first or messages[loop.index0 - 1].role != m.role %}"
        "{{ '<|im_start|>' + m.role + '\n' }}{% else %}{{ '\n' }}{% endif %}{{ m.content }}"
        "{% if loop.last or messages[loop.index0 + 1].role != m.role %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    )
    sample = conversation(SYSTEM, USER, USER, *LATER)
    rendered = render(tiny_tokenizer(merging), sample, answer="ok")
    assert re.findall("user\n(.*?)<", rendered.text, flags=re.DOTALL)[0] == "Hi there.\nHi there."
    assert held(rendered, "prompt") == "Hi there.Hi there.Yes?"
    assert held(rendered, "query") == "Why?"


def test_many_turns_of_blanks_are_taken_apart_at_once() -> None:
    messages = [Message("user" if index % 2 == 0 else "assistant", "\n \n \n") for index in range(40)]
    template = "{% for m in messages %}{{ '\n' + m['content'] + '\n' }}{% endfor %}{{ 'So' }}"
    rendered = render(tiny_tokenizer(template), conversation(*messages), answer="ok")
    assert rendered.text == "".join(f"\n{one.content}\n" for one in messages) + "Sook"


def test_a_special_token_without_a_name_takes_nothing_apart() -> None:
    tokenizer = tiny_tokenizer("{{ 'x You are kind.\n' }}" + TURNS)
    tokenizer.add_special_tokens({"additional_special_tokens": [" "]})
    assert held(render(tokenizer, conversation(USER), answer="ok"), "system") == " You are kind."
