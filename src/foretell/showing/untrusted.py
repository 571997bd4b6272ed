"""Escaping of untrusted text (of models and files) before it is shown.

A token may be a script tag, a terminal escape, a bidirectional control character, or empty. The page's templates escape
HTML. This module does the rest: invisible characters are made visible, plotly's markup is escaped, and JSON inside a
script element cannot end that element.
"""

from __future__ import annotations

import json
import textwrap
import unicodedata

__all__ = ["plotly_text", "scene_text", "script_json", "shortened", "token_label", "visible", "wrapped"]

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
_MAX_TOKEN = 24


def visible(text: str, *, keep: str = "") -> str:
    r"""Return `text` with every control or invisible character replaced by a visible symbol.

    Control characters become control pictures, a line feed becomes an arrow, and bidirectional overrides, unpaired
    surrogates and other invisible characters become their code point in brackets.

    Args:
        text: Untrusted text.
        keep: Characters to keep, such as a line feed.

    Example:
        >>> visible("red \x1b[31m")
        'red ␛[31m'
        >>> visible("a\u202eb")
        'a⟨U+202E⟩b'
    """
    return "".join(character if character in keep else _seen(character) for character in text)


def _seen(character: str) -> str:
    code = ord(character)
    if character == "\n":
        return "↵"
    if character == "\t":
        return "⇥"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if character not in _JOINERS and unicodedata.category(character) in _UNSEEN:
        return f"⟨U+{code:04X}⟩"
    return character


def token_label(text: str, *, length: int = _MAX_TOKEN) -> str:
    """Return a token's text as a tick label: visible, stripped, never empty, at most `length` characters.

    Example:
        >>> token_label(" Paris"), token_label("  "), token_label("")
        ('Paris', '␣', '∅')
    """
    if not text:
        return "∅"
    label = visible(text).strip() or "␣"
    return label if len(label) <= length else f"{label[: length - 1]}…"


def shortened(text: str, length: int) -> str:
    """Return visible `text` on one line, truncated at `length` characters with an ellipsis.

    Example:
        >>> shortened("one two three", 8)
        'one two…'
    """
    line = " ".join(visible(text, keep="\n\t").split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def wrapped(text: str, *, width: int, lines: int) -> tuple[str, ...]:
    """Return visible `text` as at most `lines` lines of at most `width` characters.

    Example:
        >>> wrapped("one two three four", width=8, lines=2)
        ('one two', 'three …')
    """
    flat = " ".join(visible(text, keep="\n\t").split())
    return tuple(textwrap.wrap(flat, width=width, max_lines=lines, placeholder=" …", break_on_hyphens=False))


def plotly_text(text: str) -> str:
    """Return `text` escaped for plotly: no tags, links, line breaks or mathematics.

    Example:
        >>> plotly_text("<b>&")
        '&lt;b&gt;&amp;'
    """
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("$", "&#36;")


def scene_text(text: str) -> str:
    """Return `text` for a label inside a plotly 3-D scene, which supports tags but no entities.

    Example:
        >>> scene_text("<b>&")
        '‹b›&'
    """
    return visible(text).translate({ord("<"): "‹", ord(">"): "›"})


def script_json(value: object) -> str:
    r"""Return `value` as JSON that is safe inside a script element: without `<`, `>`, `&` and line separators.

    Raises:
        ValueError: A number is not finite; use None instead.

    Example:
        >>> script_json("</script>")
        '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
