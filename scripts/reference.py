"""Write two reference pages from the code itself: command line and tables. Sphinx makes that of Python from docstrings.

python scripts/reference.py

A test compares the pages with what this script would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foretell.cli.main import cli
from foretell.schema.tables import TABLES, Column

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def pages() -> dict[str, str]:
    """Return the text of each reference page by file name."""
    return {"command-line.md": command_line_page(), "tables.md": tables_page()}


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
