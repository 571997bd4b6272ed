"""The report page: the context of the templates, and one HTML file that works offline and runs no external script.

Plotly, the data of figures, all tables and the conversations are compressed in the page; its script unpacks each of
them when it is needed, so that the text is readable at once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foretell.schema.study_tables import POOLED
from foretell.schema.tables import SEGMENTS
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.figure import Figure
from foretell.showing.overview import overview
from foretell.showing.page.conversation_list import conversation_list
from foretell.showing.page.figure_views import FigureView, figure_view
from foretell.showing.page.first_screen import first_screen, verdict_counts
from foretell.showing.page.held_out_ranks import scored_conversations
from foretell.showing.page.limits import limits
from foretell.showing.page.narrative import VERDICT_WORDS, Chapter, narrate, rules
from foretell.showing.page.packed import packed, packed_text
from foretell.showing.page.page_tables import page_tables, table_payload
from foretell.showing.page.values import setting_text
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import count_text
from foretell.showing.untrusted import script_json, visible

__all__ = ["render_page"]

_NAMES = {
    "summary": "Summary",
    "read": "What was read",
    "dropped": "What was dropped",
    "signals": "What tells, and how early",
    "heads": "Which heads and layers",
    "leak": "Leak check",
    "study": "The attention study in full",
    "surfaces": "Activity by layer and token",
    "conversations": "Conversations",
    "limits": "Limits",
    "reproduce": "How to reproduce this",
    "tables": "Tables",
}
_SUBTITLES = {
    True: "What its internals tell beyond what is known without them.",
    False: "Activity of a model's hidden states along a direction, by layer and generated token.",
}
_QUESTION = "Do signals recorded inside the model predict whether it shows the behaviour?"
_SCRIPTS = ("unpack.js", "figures.js", "tables.js", "conversations.js", "report.js")
_SECTION_OF = {"signals": "signals", "heads": "heads", "leak": "leak", "figures": "study", "surfaces": "surfaces"}


def render_page(data: ReportData, figures: Sequence[Figure], stills: Mapping[str, bytes], *, title: str) -> str:
    """Return the whole page as HTML.

    Args:
        data: Everything that is shown.
        figures: Figures in reading order, surfaces included.
        stills: A WebP picture per figure name, shown until the figure is drawn, in print, and without scripts.
        title: Heading of the page.
    """
    pictures: dict[str, Any] = {}
    views: dict[str, list[FigureView]] = {name: [] for name in _SECTION_OF.values()}
    for figure in figures:
        view, drawn = figure_view(figure, stills[figure.words.name])
        pictures.update(drawn)
        views[_SECTION_OF[view.section]].append(view)
    tables = page_tables(data, figures)
    listed = conversation_list(scored_conversations(data))
    context = _text(data)
    present = {
        "summary": context["screen"] is not None,
        "read": bool(context["read_facts"] or context["example"] or context["groups"]),
        "dropped": data.ledger is not None or bool(data.notes),
        **{name: bool(found) for name, found in views.items()},
        "study": bool(views["study"] or context["counts"] or context["chapters"]),
        "conversations": listed is not None,
        "limits": bool(context["limits"]),
        "reproduce": True,
        "tables": bool(tables),
    }
    names = _NAMES if data.tables else {**_NAMES, "study": "Figures"}
    script = '(() => {\n"use strict";\n' + "\n".join(_asset(name) for name in _SCRIPTS) + "})();\n"
    payload = {"pictures": pictures, "templates": {theme: to_plotly.template(theme) for theme in ("light", "dark")}}
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            **context,
            title=title,
            contents=[(name, names[name]) for name in _NAMES if present[name]],
            views=views,
            tables={table.name: table for table in tables},
            listed=listed,
            list_settings=Markup(script_json(None if listed is None else listed.settings)),  # noqa: S704 - inert there
            policy=_policy(_plotly_script(), script),
            style=Markup(_asset("report.css")),  # noqa: S704
            figure_data=packed(payload),
            table_data=packed(table_payload(tables)),
            plotly_data=_packed_plotly(),
            page_script=Markup(script),  # noqa: S704
        )
    )


def _asset(name: str) -> str:
    return files("foretell.showing.page").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("foretell.showing.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = lambda text: visible(str(text), keep="\n")
    environment.filters["visible_lines"] = lambda text: visible(str(text)).replace("↵", "↵\n")
    environment.filters["count"] = count_text
    return environment


@cache
def _plotly_script() -> str:
    """Return plotly's minified script with line ends as an HTML parser normalises them, so that its hash is valid."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


@cache
def _packed_plotly() -> str:
    return packed_text(_plotly_script())


def _policy(*scripts: str) -> str:
    """Return a content security policy that allows only these scripts and no external resource."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )


def _text(data: ReportData) -> dict[str, Any]:
    """Return the text of the page."""
    facts = data.facts
    read_facts = [
        ("model", facts.model),
        ("conversations", None if facts.n_conversations is None else count_text(facts.n_conversations)),
        ("datasets", ", ".join(name for name in data.datasets if name != POOLED or len(data.datasets) == 1) or None),
        ("metrics", ", ".join(data.metrics) or None),
        *(("note", note) for note in facts.notes),
    ]
    return {
        "studied": bool(data.tables),
        "subtitle": _SUBTITLES[bool(data.tables)],
        "about": [each for each in (facts.model, _conversations(data)) if each],
        "screen": first_screen(data),
        "counts": verdict_counts(data),
        "groups": [row for row in overview(data).rows if row.n is not None] if data.tables else [],
        "chapters": [chapter for chapter in map(_without_verdicts, narrate(data)) if chapter.sentences],
        "rules": rules(),
        "limits": limits(data),
        "question": facts.question or _QUESTION,
        "settings": [(name.replace("_", " "), setting_text(value)) for name, value in data.settings.items()],
        "read_facts": [(name, value) for name, value in read_facts if value is not None],
        "example": facts.example,
        "segments": SEGMENTS,
        "ledger": data.ledger,
        "validity": [(name.replace("_", " "), setting_text(value)) for name, value in data.validity.items()],
        "notes": data.notes,
        "commands": facts.commands,
        "provenance": [
            *facts.provenance,
            *((("seed", setting_text(data.settings["seed"])),) if "seed" in data.settings else ()),
        ],
        "versions": list(data.versions.items()),
        "verdict_words": VERDICT_WORDS,
    }


def _conversations(data: ReportData) -> str:
    n = data.facts.n_conversations
    return "" if n is None else f"{count_text(n)} conversations"


def _without_verdicts(chapter: Chapter) -> Chapter:
    """Return a chapter without the sentences that stand elsewhere on the page."""
    elsewhere = {"verdict", "simplex", "letters"}
    return Chapter(chapter.title, tuple(s for s in chapter.sentences if s.rule not in elsewhere))
