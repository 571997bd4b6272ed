"""What an object says of itself, as a few lines of text and as a small HTML table.

The HTML has no style sheet, script or remote part, takes the notebook's own colours, and is the same in dark and light.

    as_text(Facts("Run", "demo/run", [("model", "smollm2")]))
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

from foretell.display import Facts
from foretell.showing.rounding import UNDEFINED, count_text, number_text
from foretell.showing.untrusted import shortened, visible

__all__ = ["as_html", "as_text"]

_LINE = 100
_CELL = 600
_MOST_ROWS = 30

_TABLE = "border-collapse:collapse;margin:4px 0;color:inherit;background:transparent"
_EDGE = "border:0;border-bottom:1px solid rgba(128,128,128,.35);background:transparent;color:inherit"
_CELL_STYLE = f"{_EDGE};padding:2px 10px 2px 0;vertical-align:top;max-width:48em;overflow-wrap:break-word"
_WRAPPED = f"{_CELL_STYLE};white-space:pre-wrap"
_UNBROKEN = f"{_CELL_STYLE};white-space:nowrap"


def as_text(facts: Facts) -> str:
    r"""Return a line with kind and name, and one line per fact; control characters are made visible.

    Example:
        >>> print(as_text(Facts("Run", "demo/run", [("model", "a\x1b[31m")])))
        Run demo/run
          model: a␛[31m
    """
    lines = [shortened(f"{facts.kind} {facts.name[:_CELL]}", _LINE)]
    lines += [f"  {shortened(name[:_CELL], 40)}: {shortened(text[:_CELL], _LINE)}" for name, text in facts.facts]
    return "\n".join(lines)


def as_html(facts: Facts, picture: bytes | None = None) -> str:
    """Return kind, name, facts and table as HTML, with the picture below; all texts are escaped.

    Args:
        facts: What the object says of itself.
        picture: A png, or None.

    Example:
        >>> "&lt;b&gt;" in as_html(Facts("Run", "<b>"))
        True
    """
    name = f" {_escaped(facts.name)}" if facts.name else ""
    parts = [f'<div style="color:inherit"><strong>{_escaped(facts.kind)}</strong>{name}</div>']
    if facts.facts:
        parts.append(f'<table style="{_TABLE}">{"".join(_fact(*one) for one in facts.facts)}</table>')
    if facts.rows:
        parts.append(_table(facts.columns, facts.rows[:_MOST_ROWS]))
    if len(facts.rows) > _MOST_ROWS:
        parts.append(f"<div>and {count_text(len(facts.rows) - _MOST_ROWS)} more rows</div>")
    if facts.note:
        parts.append(f"<div>{_escaped(facts.note)}</div>")
    if picture is not None:
        data = base64.b64encode(picture).decode("ascii")
        about = html.escape(shortened(f"{facts.kind} {facts.name[:_CELL]}", _LINE), quote=True)
        parts.append(f'<img alt="{about}" style="max-width:100%" src="data:image/png;base64,{data}">')
    # the classes keep MathJax from reading dollar signs as formulas
    return f'<div class="tex2jax_ignore mathjax_ignore" style="overflow-x:auto;max-width:100%">{"".join(parts)}</div>'


def _fact(name: str, text: str) -> str:
    head = f'<th scope="row" style="{_UNBROKEN};text-align:left;font-weight:600">{_escaped(name)}</th>'
    cell = f'<td style="{_WRAPPED};text-align:left">{_escaped(text)}</td>'
    return f'<tr style="background:transparent">{head}{cell}</tr>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    sides = ["right" if all(_is_number(row[index]) for row in rows) else "left" for index in range(len(columns))]
    head = "".join(
        f'<th scope="col" style="{_UNBROKEN};text-align:{side};font-weight:600">{_escaped(name)}</th>'
        for name, side in zip(columns, sides, strict=True)
    )
    body = "".join(
        '<tr style="background:transparent">'
        + "".join(
            f'<td style="{_UNBROKEN if side == "right" else _WRAPPED};text-align:{side}">{_cell(value)}</td>'
            for value, side in zip(row, sides, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count_text(value)
    return number_text(value) if isinstance(value, float) else _escaped(str(value))


def _escaped(text: str) -> str:
    """Return untrusted text for HTML, with invisible characters made visible and at most so long."""
    cut = text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"
    return html.escape(visible(cut, keep="\n\t"), quote=True)
