"""Verifiers of format: JSON, lists, paragraphs, titles, quotes and commas."""

from __future__ import annotations

import json
from collections.abc import Sequence

from foretell.labels.lengths import counted
from foretell.labels.registry import Verdict, register

__all__ = [
    "bullet_points",
    "json_object",
    "json_value",
    "no_commas",
    "paragraphs",
    "quoted",
    "title_in_brackets",
]

_BULLETS = ("- ", "* ", "• ", "– ", "+ ")
_PAIRS = {'"': '"', "“": "”", "«": "»", "„": "“"}
_BRACKETS = {"[": "]", "<<": ">>", "(": ")", "{": "}"}
_COMMAS = ",،，、"


@register
def no_commas(answer: str) -> Verdict:
    """Followed when the answer holds no comma, Arabic and Chinese commas included.

    Example:
        >>> no_commas("Rain and wind").followed
        True
    """
    number = sum(answer.count(comma) for comma in _COMMAS)
    return Verdict(number == 0, counted(number, "comma"))


@register
def bullet_points(answer: str, *, count: int) -> Verdict:
    r"""Followed when exactly `count` lines are list items: `- `, `* `, `• `, or a number such as `1.` or `1)`.

    Example:
        >>> bullet_points("Buy:\n- milk\n- bread", count=2).followed
        True
    """
    number = sum(_is_item(line.strip()) for line in answer.splitlines())
    return Verdict(number == count, f"{counted(number, 'list item')}, {count} wanted")


def _is_item(line: str) -> bool:
    if line.startswith(_BULLETS):
        return True
    marker, _, rest = line.partition(" ")
    return bool(rest.strip()) and marker[:-1].isdecimal() and marker[-1:] in {".", ")"}


@register
def paragraphs(answer: str, *, count: int) -> Verdict:
    r"""Followed when exactly `count` blocks of text stand between blank lines.

    Example:
        >>> paragraphs("One.\n\nTwo.", count=2).followed
        True
    """
    blocks, inside = 0, False
    for line in answer.splitlines():
        filled = bool(line.strip())
        blocks += filled and not inside
        inside = filled
    return Verdict(blocks == count, f"{counted(blocks, 'paragraph')}, {count} wanted")


@register
def json_value(answer: str) -> Verdict:
    """Followed when the whole answer is JSON, alone or in one code fence.

    Example:
        >>> json_value("[1, 2]").followed
        True
    """
    parsed, _, problem = _json(answer)
    return Verdict(parsed, problem or "the answer is JSON")


@register
def json_object(answer: str, *, keys: Sequence[str] = ()) -> Verdict:
    """Followed when the whole answer is one JSON object, alone or in one code fence, with all of the keys.

    Example:
        >>> json_object('{"name": "Ada"}', keys=["name"]).followed
        True
    """
    parsed, value, problem = _json(answer)
    if not parsed:
        return Verdict(False, problem)
    if not isinstance(value, dict):
        return Verdict(False, f"the JSON is a {type(value).__name__}, not an object")
    absent = [key for key in keys if key not in value]
    return Verdict(not absent, f"missing keys: {', '.join(absent)}" if absent else "the answer is a JSON object")


def _json(answer: str) -> tuple[bool, object, str]:
    """Return whether the answer is JSON, its value, and what is wrong with it."""
    text = answer.strip()
    if text.startswith("```") and text.endswith("```") and len(text) > len("``````"):
        text = text[3:-3].removeprefix("json").removeprefix("JSON").strip()
    try:
        return True, json.loads(text, parse_constant=_refuse), ""
    except RecursionError:
        return False, None, "the JSON is nested too deeply"
    except ValueError as error:
        return False, None, f"not JSON: {str(error)[:80]}"


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON number")


@register
def quoted(answer: str) -> Verdict:
    """Followed when the whole answer stands in one pair of double quotation marks, straight or curly.

    Example:
        >>> quoted('"Yes."').followed
        True
    """
    text = answer.strip()
    followed = len(text) > 2 and text[0] in _PAIRS and text[-1] == _PAIRS[text[0]]
    return Verdict(followed, f"begins with {text[:1]!r} and ends with {text[-1:]!r}")


@register
def title_in_brackets(answer: str, *, bracket: str = "[") -> Verdict:
    r"""Followed when the answer's first line is, or begins with, a title in brackets that is not empty.

    Args:
        answer: What the model wrote.
        bracket: The opening bracket: `[`, `(`, `{` or `<<`.

    Example:
        >>> title_in_brackets("[Rain]\nIt fell all day.").followed
        True
    """
    line = answer.strip().split("\n", 1)[0].strip("*# ")
    closing = _BRACKETS.get(bracket, bracket)
    title, found, _ = line.removeprefix(bracket).partition(closing)
    followed = line.startswith(bracket) and bool(found) and any(map(str.isalnum, title))
    return Verdict(followed, f"the first line is {line[:40]!r}")
