"""Verifiers of format: JSON, lists, paragraphs, titles, quotes and commas."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Annotated

from foretell.errors import InputError
from foretell.labels.lengths import counted
from foretell.labels.markdown import blocks, is_item, letter_of_item, outside_fences
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

_PAIRS = {'"': '"', "“": "”", "”": "”", "«": "»", "»": "«", "„": "“”", "「": "」", "『": "』"}
_BRACKETS = {"[": "]", "<<": ">>", "(": ")", "{": "}", "<": ">", "【": "】", "《": "》"}
_DIVIDERS = ("blank line", "***")
_ROMAN = re.compile(r"[*_]{0,3}([ivx]{2,5}|[IVX]{2,5})\.[*_]{0,3}\s")
_LETTERS = {True: "ivx", False: "IVX"}
_FENCED = re.compile(r"(`{3,}+|~{3,}+)[^\n`]*\n(.*)", re.DOTALL)
_FENCED_IN_LINE = re.compile(r"(`{3,}+)(?:json\b)?([^`]*)`{3,}", re.IGNORECASE)


@register
def no_commas(answer: str) -> Verdict:
    """Followed when the answer holds no comma of any script, such as `,`, `،`, `，` and `、`.

    IFEval (`punctuation:no_comma`) looks for `,` only.

    Example:
        >>> no_commas("Rain and wind").followed
        True
    """
    number = sum(_is_comma(character) for character in answer)
    return Verdict(number == 0, counted(number, "comma"))


def _is_comma(character: str) -> bool:
    if character.isascii():
        return character == ","
    return unicodedata.category(character)[0] == "P" and "COMMA" in unicodedata.name(character, "").split()


@register
def bullet_points(answer: str, *, count: int) -> Verdict:
    r"""Followed when exactly `count` lines are list items, bulleted or numbered.

    `foretell.labels.markdown.is_item` says what an item is: `- x`, `• x`, `1. x`, `(1) x`, `a) x`, `1、x`, `**1. x**`
    and others. Lines such as `A. x` are items where the letter before or after it marks another line (or `II.` does for
    `I. x`); alone, the letter is an initial. Rules (`***`, `- - -`) are no items, and code fences hold none.

    IFEval (`detectable_format:number_bullet_lists`) counts lines that begin with `-` or with one `*`, with or without
    white space after it. It does not count numbers and other bullets, and does count `---`, "-5 degrees" and
    `*emphasis*` at the beginning of a line.

    Example:
        >>> bullet_points("Buy:\n- milk\n- bread", count=2).followed
        True
    """
    number = _items(outside_fences(answer))
    return Verdict(number == count, f"{counted(number, 'list item')}, {count} wanted")


def _items(lines: Sequence[str]) -> int:
    letters = [letter_of_item(line) for line in lines]
    # Where two letters mark an item of a Roman list, one letter does too.
    roman = {letter for line in lines if (found := _ROMAN.match(line)) for letter in _LETTERS[found[1].islower()]}
    known = set(letters)
    lettered = sum(bool(one) and (one in roman or not known.isdisjoint(_neighbours(one))) for one in letters)
    return lettered + sum(map(is_item, lines))


def _neighbours(letter: str) -> set[str]:
    return {chr(ord(letter) + step) for step in (-1, 1) if 0 <= ord(letter) + step <= sys.maxunicode}


def _divider(divider: str) -> str:
    if divider not in _DIVIDERS:
        raise InputError(f"must be one of {', '.join(map(repr, _DIVIDERS))}, not {divider[:40]!r}")
    return divider


@register
def paragraphs(answer: str, *, count: int, divider: Annotated[str, _divider] = "blank line") -> Verdict:
    r"""Followed when exactly `count` paragraphs stand in the answer.

    Args:
        answer: What the model wrote.
        count: How many paragraphs are wanted.
        divider: "blank line": a paragraph is a block of text between blank lines and rules. A rule (`***`, `---`) is no
            paragraph; a heading, a list or a code fence between blank lines is one, whatever blank lines a fence holds.
            "***": a paragraph is what stands between `***`, as in IFEval.

    IFEval has both kinds. Its `number_paragraphs` splits at `***` and is what the divider "***" does, refusal of two
    dividers with nothing between included. Its `nth_paragraph_first_word` splits at two line breaks; it differs from
    "blank line" where a blank line holds spaces, and where a rule stands alone, which it counts.

    Example:
        >>> paragraphs("One.\n\n***\n\nTwo.", count=2).followed
        True
    """
    if _divider(divider) == "***":
        parts = [bool(part.strip()) for part in answer.split("***")]
        number = sum(parts)
        if not all(parts[1:-1]):
            return Verdict(False, f"{counted(number, 'paragraph')}, and two dividers with nothing between them")
    else:
        number = blocks(answer)
    return Verdict(number == count, f"{counted(number, 'paragraph')}, {count} wanted")


@register
def json_value(answer: str) -> Verdict:
    """Followed when the whole answer is JSON, alone or in one code fence of ``` or ~~~, whatever language it names.

    A fence that the answer does not close ends with it. IFEval (`detectable_format:json_format`) takes fences without a
    language or with `json` only, and takes `NaN` and a fence that is closed but never opened, which this rule does not.

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
    text = _unfenced(answer.strip().removeprefix("\ufeff"))
    try:
        # A number of thousands of digits is JSON too, but Python refuses to read it as a whole number.
        return True, json.loads(text, parse_constant=_refuse, parse_int=float), ""
    except RecursionError:
        return False, None, "the JSON is nested too deeply"
    except ValueError as error:
        return False, None, f"not JSON: {str(error)[:80]}"


def _unfenced(text: str) -> str:
    """Return what stands in the code fence around a text, or the text."""
    found = _FENCED.fullmatch(text)
    if found:
        inside, _, last = found[2].rstrip().rpartition("\n")
        closed = len(last.strip()) >= len(found[1]) and not last.strip().strip(found[1][0])
        if closed:
            return inside
        body = found[2].rstrip()
        return body.rstrip(found[1][0]) if body.endswith(found[1]) else body
    in_line = _FENCED_IN_LINE.fullmatch(text)
    return in_line[2] if in_line else text


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON number")


@register
def quoted(answer: str) -> Verdict:
    """Followed when the whole answer stands in one pair of double quotation marks: straight, curly or others.

    Of straight marks only the first and the last count, as in IFEval (`startend:quotation`), which knows no others; a
    pair that differs (`“ ”`, `« »`, `「 」`) must not be closed before the end.

    Example:
        >>> quoted('"Yes."').followed
        True
    """
    text = answer.strip()
    followed = len(text) > 2 and text[-1] in _PAIRS.get(text[0], "") and _closes_last(text)
    return Verdict(followed, f"begins with {text[:1]!r} and ends with {text[-1:]!r}")


def _closes_last(text: str) -> bool:
    """Whether the mark at the beginning is closed by the one at the end and not before."""
    opening, closing = text[0], text[-1]
    if opening == closing:
        return True
    depth = 0
    for character in text[:-1]:
        depth += (character == opening) - (character == closing)
        if not depth:
            return False
    return depth == 1


def _bracket(bracket: str) -> str:
    if bracket not in _BRACKETS:
        raise InputError(f"must be one of {', '.join(_BRACKETS)}, not {bracket[:40]!r}")
    return bracket


@register
def title_in_brackets(answer: str, *, bracket: Annotated[str, _bracket] = "[") -> Verdict:
    r"""Followed when the answer's first line is, or begins with, a title in brackets that is not empty.

    Emphasis and heading marks before it are ignored. IFEval (`detectable_format:title`) takes a title in `<<` and `>>`
    on any line; a title stands at the beginning, so this rule looks only there.

    Args:
        answer: What the model wrote.
        bracket: The opening bracket: `[`, `(`, `{`, `<`, `<<`, `【` or `《`.

    Example:
        >>> title_in_brackets("[Rain]\nIt fell all day.").followed
        True
    """
    line = answer.strip().split("\n", 1)[0].strip("*#_ ")
    closing = _BRACKETS[_bracket(bracket)]
    title, found, _ = line.removeprefix(bracket).partition(closing)
    followed = line.startswith(bracket) and bool(found) and any(map(str.isalnum, title))
    return Verdict(followed, f"the first line is {line[:40]!r}")
