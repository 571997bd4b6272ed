"""The lines of an answer as Markdown reads them: code fences, rules, headings and list items."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["blocks", "fenced", "is_heading", "is_item", "is_rule", "letter_of_item", "outside_fences"]

_RULE_MARKS = frozenset("*-_=~+•–—─━═#")
_ASTERISMS = frozenset("⁂※❦❧☙")
_BULLETS = "•●○◦‣⁃∙·・▪▫■□◆◇▶►➤➢✓✔☐☑"
_EMPHASIS = r"[*_]{0,3}"
# Every quantifier is bounded, or followed by what it cannot match, so that no line takes more than linear time.
_FENCE = re.compile(r"(`{3,}+)(?!.*`)|(~{3,}+)")
_NUMBER = r"(?:\d{1,9}|[ivx]{1,5}|[IVX]{1,5}|[^\W\d_])"
_ITEM = re.compile(
    rf"""
    (?: [-*+–]\s | [{_BULLETS}]\ufe0f?                                      # - x, • x, •x
      | {_EMPHASIS} (?:
          {_NUMBER}\){_EMPHASIS}\s                                          # 1) x, iv) x, a) x
        | [(\uff08]{_NUMBER}[)\uff09]                                       # (1) x, (a) x
        | (?:\d{{1,9}} | [ivx]{{2,5}} | [IVX]{{2,5}})\.{_EMPHASIS}\s        # 1. x, **1.** x, ii. x
        | (?:\d{{1,9}} | [一二三四五六七八九十]{{1,3}})[、\uff0e\uff09]     # 1、x, 一、x
        | \d\ufe0f?\u20e3 | [\u2460-\u249b\u24b6-\u24ff\u2776-\u2793]       # keycaps, circled numbers
        )
    ) \s* (?P<text>.*)""",
    re.VERBOSE,
)
_LETTER_ITEM = re.compile(rf"{_EMPHASIS}([^\W\d_])\.{_EMPHASIS}\s+\S")
_HEADING = re.compile(r"#{1,6}\s+\S")


def fenced(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, stripped, with whether it belongs to a code fence of ``` or ~~~, its first and last line too.

    A fence ends at a line of at least as many of the same marks, or with the text.
    """
    opening = ""
    for raw in text.splitlines():
        line = raw.strip()
        if opening:
            yield line, True
            if len(line) >= len(opening) and not line.strip(opening[0]):
                opening = ""
            continue
        found = _FENCE.match(line)
        opening = (found[1] or found[2]) if found else ""
        yield line, bool(opening)


def outside_fences(text: str) -> list[str]:
    r"""Return the lines outside code fences, stripped.

    Example:
        >>> outside_fences("Try:\n```sh\n- x\n```\nDone.")
        ['Try:', 'Done.']
    """
    return [line for line, inside in fenced(text) if not inside]


def is_rule(line: str) -> bool:
    """Whether a line only divides: three or more of one mark (`***`, `- - -`, `====`), or an asterism.

    Example:
        >>> is_rule("* * *"), is_rule("----"), is_rule("...")
        (True, True, False)
    """
    marks = "".join(line.split()).replace("\\", "")
    return (len(marks) >= 3 and marks[0] in _RULE_MARKS and not marks.strip(marks[0])) or (
        bool(marks) and set(marks) <= _ASTERISMS
    )


def is_heading(line: str) -> bool:
    """Whether a line is a heading: one to six `#`, white space and a text."""
    return bool(_HEADING.match(line))


def is_item(line: str) -> bool:
    """Whether a stripped line begins with the mark of a list item and a text after it.

    `-`, `*`, `+` and `–` need white space after them; `•`, `●` and other bullets, circled numbers and keycaps need
    none. A number has a full stop or a bracket (`1.`, `1)`, `(1)`) and white space, or a mark of Chinese and Japanese
    (`1、`); a letter or a small Roman number has a bracket (`a)`, `(a)`, `iv)`), a Roman number of two letters or more
    also a full stop. Emphasis around the number or the item is ignored (`**1. x**`). A text is more than marks.

    Example:
        >>> [is_item(line) for line in ("- x", "**1. x**", "(1) x", "a) x", "●x", "1、x", "* * *", "1.5 x", "**x**")]
        [True, True, True, True, True, True, False, False, False]
    """
    found = _ITEM.match(line)
    return found is not None and not is_rule(line) and any(mark not in "*-+–_•# \t" for mark in found["text"])


def letter_of_item(line: str) -> str:
    """Return the letter of a line such as `A. Paris`, which may be an item or an initial, or nothing."""
    found = _LETTER_ITEM.match(line)
    return found[1] if found else ""


def blocks(text: str) -> int:
    """Return how many blocks stand between blank lines and rules; a code fence is one block, blank lines and all."""
    number, before = 0, False
    for line, fence in fenced(text):
        filled = fence or (bool(line) and not is_rule(line))
        number += filled and not before
        before = filled
    return number
