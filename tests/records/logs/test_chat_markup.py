"""Rendered chats taken apart: known markups whole, everything else left alone."""

from __future__ import annotations

import pytest

from foretell.records.logs.chat_markup import messages_of_markup

TURNS = [("system", "Be\nshort."), ("user", "Hi"), ("assistant", "Yes?"), ("user", " Why <b> ")]
MARKUPS = {
    "chatml": ("", "<|im_start|>{role}\n{text}<|im_end|>\n", "<|im_start|>assistant\n"),
    "llama3": (
        "<|begin_of_text|>",
        "<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "zephyr": ("", "<|{role}|>\n{text}</s>\n", "<|assistant|>\n"),
    "phi": ("<s>", "<|{role}|>\n{text}<|end|>\n", "<|assistant|>\n"),
}


@pytest.mark.parametrize("name", MARKUPS)
@pytest.mark.parametrize("rest", ["", "The answer is"])
def test_a_known_markup_gives_the_messages_it_was_made_of(name: str, rest: str) -> None:
    begin, turn, cue = MARKUPS[name]
    text = begin + "".join(turn.format(role=role, text=content) for role, content in TURNS) + cue + rest
    messages = [{"role": role, "content": content} for role, content in TURNS]
    assert messages_of_markup(text) == (messages, rest)


def test_gemma_calls_the_assistant_model() -> None:
    text = "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    assert messages_of_markup(text) == ([{"role": "user", "content": "Hi"}], "")


def test_dates_that_a_template_writes_itself_are_left_out() -> None:
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    for system, expected in (("", []), ("Be short.", [{"role": "system", "content": "Be short."}])):
        text = head.format("system") + dates + system + "<|eot_id|>" + head.format("user") + "Hi<|eot_id|>"
        found = messages_of_markup(text + head.format("assistant"))
        assert found == ([*expected, {"role": "user", "content": "Hi"}], "")


@pytest.mark.parametrize(
    "text",
    [
        "Question: 1 + 1?\nAnswer:",
        "<p>Is this HTML?</p>",
        "<|im_start|>user\nHi",
        "<|im_start|>user\nHi<|im_end|>\n",
        "<|im_start|>assistant\n",
        "<|im_start|>robot\nHi<|im_end|>\n<|im_start|>assistant\n",
        "Before <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "",
    ],
)
def test_anything_else_is_left_alone(text: str) -> None:
    assert messages_of_markup(text) is None
