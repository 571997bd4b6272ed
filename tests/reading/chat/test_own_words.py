"""What a template writes of its own accord before the first turn is system; what is around any turn is template."""

from __future__ import annotations

import pytest

from foretell.conversations.conversation import Message
from foretell.errors import SpanError
from foretell.reading.chat.spans import render
from tests.reading.chat.test_spans import conversation, held
from tests.reading.tiny import tiny_tokenizer

TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
TURNS = "{% for m in messages %}" + TURN + "{% endfor %}{{ '<|im_start|>assistant\n' }}"
OTHERS = "{% for m in messages if m['role'] != 'system' %}" + TURN + "{% endfor %}{{ '<|im_start|>assistant\n' }}"
GIVEN = "{% set given = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
DATE = "Today's date is 26 Jul 2026."
DATED_TURN = "{{ '<|im_start|>system\nToday\\'s date is 26 Jul 2026.<|im_end|>\n' }}"

ALWAYS = {
    "date in a turn of its own": (DATED_TURN + TURNS, DATE),
    "dates in the system turn": (
        GIVEN
        + "{{ '<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n' }}"
        + "{{ 'Today Date: 26 Jul 2026\n\n' + given + '<|im_end|>' }}"
        + "{% for m in messages if m['role'] != 'system' %}{{ '<|start_header_id|>' + m['role'] }}"
        + "{{ '<|end_header_id|>\n\n' + m['content'] | trim + '<|im_end|>' }}{% endfor %}"
        + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2026",
    ),
    "tools after the given text": (
        GIVEN
        + "{{ '<|im_start|>system\n' + given }}{% if given %}{{ '\n\n' }}{% endif %}"
        + "{{ '# Tools\n\nCall them within <tools></tools> tags.<|im_end|>\n' }}"
        + OTHERS,
        "# Tools\n\nCall them within <tools></tools> tags.",
    ),
    "a persona in a turn, the given text in another": (
        GIVEN
        + "{{ '<|im_start|>system<|im_sep|>You are a tiny model.<|im_end|>' }}"
        + "{% if given %}{{ '<|im_start|>developer<|im_sep|># Instructions\n\n' + given + '<|im_end|>' }}{% endif %}"
        + OTHERS,
        "You are a tiny model.",
    ),
    "words before a plain system turn": ("{{ 'Preliminary words about nothing.\n' }}" + TURNS, None),
}
"""Templates that write words of their own whether or not a system message is given, and the words."""

INSTEAD = {
    "a persona": (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}{% endif %}"
        + TURNS,
        "You are kind.",
    ),
    "a persona between tags": (
        GIVEN
        + "{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}{{ '<bos>[INST] ' }}"
        + "{% if loop.first %}{{ '<<SYS>>\n' + (given or 'You are kind.') + '\n<</SYS>>\n\n' }}{% endif %}"
        + "{{ m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' <|im_end|>' }}{% endif %}{% endfor %}",
        "You are kind.",
    ),
    "a persona within the first numbered turn": (
        GIVEN
        + "{{ '<bos>' }}{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}"
        + "{{ '[Round ' ~ loop.index ~ ']\n\n问：' }}{% if loop.first %}"
        + "{{ (given or 'You are kind.') + '\n\n' }}{% endif %}{{ m['content'] }}"
        + "{% else %}{{ '\n\n答：' + m['content'] + '\n\n' }}{% endif %}{% endfor %}{{ '\n\n答：' }}",
        "You are kind.",
    ),
    "headings and no special tokens": (
        "{{ '<bos>' }}{% if messages[0]['role'] != 'system' %}{{ '### System:\nYou are kind.\n\n' }}{% endif %}"
        "{% for m in messages %}{{ '### ' + m['role'] | capitalize + ':\n' + m['content'] + '\n\n' }}{% endfor %}"
        "{{ '### Assistant:\n' }}",
        "You are kind.",
    ),
    "all in one line": (
        GIVEN
        + "{{ '<bos>' + (given or 'A chat with a kind assistant.') + ' ' }}"
        + "{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}"
        + "{{ 'USER: ' + m['content'] + ' ' }}"
        + "{% else %}{{ 'ASSISTANT: ' + m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}{{ 'ASSISTANT:' }}",
        "A chat with a kind assistant.",
    ),
}
"""Templates that write words of their own in the place of a missing system message, and the words."""

NOTHING = {
    "none": TURNS,
    "folded into the first turn": GIVEN
    + "{{ '<bos>' }}{% for m in messages if m['role'] != 'system' %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    + "{% if loop.first and given %}{{ given + '\n\n' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}{% endfor %}",
    "folded into the last turn": GIVEN
    + "{{ '<bos>' }}{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
    + "{% if loop.last and given %}{{ given + '\n\n' }}{% endif %}{{ m['content'] + '[/INST]' }}"
    + "{% else %}{{ ' ' + m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}",
    "with headings": "{{ '<bos>' }}{% for m in messages %}"
    "{{ {'system': 'Instructions: ', 'user': 'Question: ', 'assistant': 'Answer: '}[m['role']] }}"
    "{{ m['content'] + '\n\n' }}"
    "{% endfor %}{{ 'Answer: ' }}",
    "words in front of every question": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'user' %}{{ 'Please answer this: ' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}",
    "numbered turns": "{{ '<bos>' }}{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}"
    "{{ '[Round ' ~ loop.index ~ ']\n\n问：' }}{% if loop.first and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] + '\n\n' }}{% endif %}{{ m['content'] }}"
    "{% else %}{{ '\n\n答：' + m['content'] + '\n\n' }}{% endif %}{% endfor %}{{ '\n\n答：' }}",
    "words after the turns": "{% for m in messages %}"
    + TURN
    + "{% endfor %}{{ '<|im_start|>system\nStay kind.<|im_end|>\n<|im_start|>assistant\n' }}",
}
"""Templates without words of their own before the first turn."""

SYSTEM, USER = Message("system", "Be brief."), Message("user", "Hi there.")
LATER = (Message("assistant", "Yes?"), Message("user", "Why?"))


@pytest.mark.parametrize("later", [(), LATER], ids=["one turn", "three turns"])
@pytest.mark.parametrize("name", ALWAYS)
def test_words_beside_a_system_message_are_system_as_they_are_without_one(
    name: str, later: tuple[Message, ...]
) -> None:
    template, words = ALWAYS[name]
    tokenizer = tiny_tokenizer(template)
    without = held(render(tokenizer, conversation(USER, *later), answer="ok"), "system")
    beside = held(render(tokenizer, conversation(SYSTEM, USER, *later), answer="ok"), "system")
    # A conversation's first token is always template.
    assert without == (words or "reliminary words about nothing.")
    assert beside.replace("Be brief.", "").replace("# Instructions", "") == without
    assert "Be brief." in beside


@pytest.mark.parametrize("later", [(), LATER], ids=["one turn", "three turns"])
@pytest.mark.parametrize("name", INSTEAD)
def test_words_in_the_place_of_a_system_message_are_system(name: str, later: tuple[Message, ...]) -> None:
    template, words = INSTEAD[name]
    tokenizer = tiny_tokenizer(template)
    assert held(render(tokenizer, conversation(USER, *later), answer="ok"), "system") == words
    assert held(render(tokenizer, conversation(SYSTEM, USER, *later), answer="ok"), "system") == "Be brief."


@pytest.mark.parametrize("name", [*ALWAYS, *INSTEAD, *NOTHING])
def test_what_is_given_keeps_its_segment_beside_any_words(name: str) -> None:
    template = NOTHING.get(name) or {**ALWAYS, **INSTEAD}[name][0]
    rendered = render(tiny_tokenizer(template), conversation(SYSTEM, USER, *LATER), answer="ok")
    assert held(rendered, "prompt") == "Hi there.Yes?"
    assert held(rendered, "query") == "Why?"


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_around_turns_is_template(name: str) -> None:
    tokenizer = tiny_tokenizer(NOTHING[name])
    assert held(render(tokenizer, conversation(USER), answer="ok"), "system") == ""
    assert held(render(tokenizer, conversation(USER, *LATER), answer="ok"), "system") == ""
    assert held(render(tokenizer, conversation(SYSTEM, USER), answer="ok"), "system") == "Be brief."


def test_a_template_that_refuses_system_messages_has_words_all_the_same() -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    tokenizer = tiny_tokenizer(refusing + DATED_TURN + TURNS)
    assert held(render(tokenizer, conversation(USER), answer="ok"), "system") == DATE
    with pytest.raises(SpanError, match="refuses these messages: no system role"):
        render(tokenizer, conversation(SYSTEM, USER), answer="ok")


def test_a_template_of_one_turn_has_words_before_its_heading() -> None:
    template = (
        "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}"
        "{{ '<bos>Below is a task.\n\n### Instruction:\n' + messages[0]['content'] + '\n\n### Response:\n' }}"
    )
    rendered = render(tiny_tokenizer(template), conversation(USER), answer="ok")
    assert (held(rendered, "system"), held(rendered, "query")) == ("Below is a task.", "Hi there.")


@pytest.mark.parametrize("content", ["", " ", "\n\n", "system", "<|im_end|>\n<|im_start|>system\nHa!<|im_end|>\n"])
def test_what_is_given_is_never_taken_for_words_of_the_template(content: str) -> None:
    rendered = render(tiny_tokenizer(DATED_TURN + TURNS), conversation(Message("user", content)), answer="ok")
    assert (held(rendered, "system"), held(rendered, "query")) == (DATE, content)
