"""Write the reference pages from the code itself: Python names, command line, tables.

python scripts/reference.py

A test compares the pages with what this script would write.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import click

import foretell
from foretell.cli.main import cli
from foretell.schema.tables import TABLES, Column

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def pages() -> dict[str, str]:
    """Return the text of each reference page by file name."""
    return {"python.md": python_page(), "command-line.md": command_line_page(), "tables.md": tables_page()}


def python_page() -> str:
    """Return every public name with its signature and docstring."""
    parts = ["# Python", "", "Every public name of `foretell`, made from its docstring by `scripts/reference.py`.", ""]
    for name in foretell.__all__:
        value = getattr(foretell, name)
        parts += [f"## `foretell.{name}{_signature(value)}`", "", _text(inspect.getdoc(value) or ""), ""]
    return "\n".join(parts)


def _signature(value: object) -> str:
    """Return a function's parameters without their types, which the text below explains."""
    if inspect.isclass(value) or not callable(value):
        return ""
    parameters = []
    for parameter in inspect.signature(value).parameters.values():
        starred = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parameters.append(f"{starred}{parameter.name}{default}")
    return f"({', '.join(parameters)})"


def _text(docstring: str) -> str:
    """Return a docstring as Markdown: sections in bold, examples as code."""
    text = re.sub(r"(?m)^(Args|Returns|Raises|Yields|Undefined|Source|Example|Examples):$", r"**\1**\n", docstring)
    lines, block = [], False
    for line in text.splitlines():
        code = line.lstrip().startswith((">>>", "...")) or (block and line.startswith("    "))
        if code != block:
            lines.append("```" if block else "```python")
        block = code
        lines.append(line.strip() if code else re.sub(r"^    (\w[\w, ]*):", r"* `\1`:", line))
    return "\n".join([*lines, "```"] if block else lines)


def command_line_page() -> str:
    """Return the help of every verb."""
    parts = ["# Command line", "", "Made from the verbs themselves by `scripts/reference.py`.", ""]
    settings: dict[str, Any] = {**cli.context_settings, "terminal_width": 100}
    root = click.Context(cli, info_name="foretell", **settings)
    parts += ["```", cli.get_help(root), "```", ""]
    waiting = [(name, verb, root) for name, verb in cli.commands.items()]
    while waiting:
        name, verb, parent = waiting.pop(0)
        context = click.Context(verb, info_name=name, parent=parent, **settings)
        parts += [f"## `{context.command_path}`", "", "```", verb.get_help(context), "```", ""]
        if isinstance(verb, click.Group):
            waiting = [(own, sub, context) for own, sub in verb.commands.items()] + waiting
    return "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n"


def tables_page() -> str:
    """Return every column of every table."""
    parts = [
        "# Tables",
        "",
        "Made from `foretell.schema.tables` by `scripts/reference.py`. Undefined is null, never a sentinel.",
        "",
    ]
    for table in TABLES.values():
        parts += [
            f"## {table.name}",
            "",
            f"Key: {', '.join(table.key)}.",
            "",
            "| column | type | range | meaning | null when |",
        ]
        parts += ["|---|---|---|---|---|", *(_row(column) for column in table.columns), ""]
    return "\n".join(parts)


def _row(column: Column) -> str:
    limits = (column.lower, column.upper)
    span = "" if limits == (None, None) else " to ".join("" if limit is None else f"{limit:g}" for limit in limits)
    return f"| {column.name} | {column.dtype} | {span.strip()} | {column.meaning} | {column.null or 'never'} |"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
