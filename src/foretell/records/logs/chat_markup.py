"""Prompts that were already rendered by a chat template, as the messages they were made of.

A text is taken apart where a known markup explains it from the first to the last sign; any other is what the user said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["messages_of_markup"]

_ROLES = {"model": "assistant", "human": "user"}
_DATES = re.compile(r"\ACutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\n\n")
"""What the template of Llama 3 writes before every system message, and would write again."""


@dataclass(frozen=True)
class _Markup:
    """How a family of templates marks turns."""

    begin: str
    """Before the first turn."""
    turn: str
    """One turn, with the groups role and text."""
    cue: str
    """What asks for the answer."""


def _with_roles(start: str, end: str, *, stop: str, begin: str = "") -> _Markup:
    """Return a markup whose turns name their role; `ROLE` stands for it in `start`."""
    roles = "(?P<role>system|user|assistant|model|human|tool)"
    turn = f"{start.replace('ROLE', roles)}(?P<text>(?:(?!{stop}).)*){end}"
    return _Markup(begin, turn, start.replace("ROLE", "(?:assistant|model)"))


_MARKUPS = (
    _with_roles(
        r"<\|im_start\|>ROLE\n",
        r"<\|im_end\|>\s*",
        stop=r"<\|im_(?:start|end)\|>",
        begin=r"(?:<s>|<\|begin_of_text\|>|<\|endoftext\|>)?",
    ),
    _with_roles(
        r"<\|start_header_id\|>ROLE<\|end_header_id\|>\n\n",
        r"<\|eot_id\|>",
        stop=r"<\|(?:start_header_id|eot_id)\|>",
        begin=r"(?:<\|begin_of_text\|>)?",
    ),
    _with_roles(r"<start_of_turn>ROLE\n", r"<end_of_turn>\n", stop="<(?:start|end)_of_turn>", begin="(?:<bos>)?"),
    _with_roles(
        r"<\|ROLE\|>\n?",
        r"(?:<\|end\|>|</s>|<\|endoftext\|>)\n?",
        stop=r"<\|(?:system|user|assistant|end|endoftext)\|>|</s>",
        begin=r"(?:<s>|<\|endoftext\|>)?",
    ),
)
_PATTERNS = [
    (re.compile(one.begin, re.S), re.compile(one.turn, re.S), re.compile(f"{one.cue}(?P<rest>.*)", re.S))
    for one in _MARKUPS
]
_LOOKS_RENDERED = re.compile(r"\A\s*<[^>\n]{1,24}>")


def messages_of_markup(text: str) -> tuple[list[dict[str, str]], str] | None:
    r"""Return the messages of a rendered prompt and the beginning of the answer that it gives; None where it is none.

    Example:
        >>> messages_of_markup("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
        ([{'role': 'user', 'content': 'Hi'}], '')
    """
    if not _LOOKS_RENDERED.match(text):
        return None
    for begin, turn, cue in _PATTERNS:
        found = _taken_apart(text, begin, turn, cue)
        if found is not None:
            return found
    return None


def _taken_apart(
    text: str, begin: re.Pattern[str], turn: re.Pattern[str], cue: re.Pattern[str]
) -> tuple[list[dict[str, str]], str] | None:
    start = begin.match(text)
    place = start.end() if start else 0
    messages = []
    while one := turn.match(text, place):
        role, content = _ROLES.get(one["role"], one["role"]), one["text"]
        if role == "system":
            content = _DATES.sub("", content)
        if content or role != "system":
            messages.append({"role": role, "content": content})
        place = one.end()
    last = cue.fullmatch(text, place)
    if last is None or not messages or messages[-1]["role"] not in {"user", "tool"}:
        return None
    return messages, last["rest"]
