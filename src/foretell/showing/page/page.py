"""The report page: the context of the templates, and one HTML file that works offline and runs no external script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foretell.schema.tables import SEGMENTS
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.figure import Figure
from foretell.showing.overview import families, published_detectors
from foretell.showing.page.figure_views import FigureView, figure_view
from foretell.showing.page.first_screen import first_screen, verdict_css
from foretell.showing.page.narrative import VERDICT_WORDS, Chapter, narrate, rules
from foretell.showing.page.page_tables import page_tables
from foretell.showing.report_data import ReportData, RunFacts
from foretell.showing.rounding import count_text, number_text
from foretell.showing.untrusted import script_json, visible

__all__ = ["render_page"]

_NAMES = {
    "summary": "Summary",
    "signals": "How early, which layers, how much more",
    "study": "The attention study",
    "surfaces": "Activity by layer and token",
    "data": "Model and data",
    "question": "Question and settings",
    "dropped": "Dropped rows",
    "tables": "Tables",
    "reproduce": "How to reproduce this",
}
_SUBTITLES = {
    True: "What its internals tell beyond what is known without them.",
    False: "Activity of a model's hidden states along a direction, by layer and generated token.",
}
_QUESTION = "Do signals recorded inside the model predict whether it shows the behaviour?"


def render_page(data: ReportData, figures: Sequence[Figure], stills: Mapping[str, bytes], *, title: str) -> str:
    """Return the whole page as HTML.

    Args:
        data: Everything that is shown.
        figures: Figures in reading order, surfaces included.
        stills: A png per figure name, shown until the figure is drawn, in print, and without scripts.
        title: Heading of the page.
    """
    pictures: dict[str, Any] = {}
    views: dict[str, list[FigureView]] = {"signals": [], "figures": [], "surfaces": []}
    for figure in figures:
        view, drawn = figure_view(figure, stills[figure.words.name])
        pictures.update(drawn)
        views[view.section].append(view)
    payload = {
        "pictures": pictures,
        "templates": {theme: to_plotly.template(theme) for theme in ("light", "dark")},
    }
    page_script = files("foretell.showing.page").joinpath("templates/report.js").read_text(encoding="utf-8")
    context = _text(data)
    sections = {
        "summary": context["screen"] is not None,
        "signals": bool(views["signals"]),
        "study": bool(views["figures"]) or bool(context["cards"]) or bool(context["chapters"]),
        "surfaces": bool(views["surfaces"]),
        "data": bool(context["read_facts"] or context["example"]),
        "question": True,
        "dropped": data.ledger is not None or bool(data.notes),
        "tables": bool(context["tables"]),
        "reproduce": True,
    }
    names = _NAMES if data.tables else {**_NAMES, "study": "Figures"}
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            **context,
            title=title,
            contents=[(name, names[name]) for name, present in sections.items() if present],
            signal_views=views["signals"],
            views=views["figures"],
            surface_views=views["surfaces"],
            policy=_policy(_plotly_script(), page_script),
            style=Markup(files("foretell.showing.page").joinpath("templates/report.css").read_text(encoding="utf-8")),  # noqa: S704
            figure_data=Markup(script_json(payload)),  # noqa: S704 - script_json leaves nothing that ends the element
            plotly_script=Markup(_plotly_script()),  # noqa: S704
            page_script=Markup(page_script),  # noqa: S704
        )
    )


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
    elsewhere = [*families(data), *published_detectors(data)]
    verdicts = data.table("verdicts")
    if not verdicts.is_empty():
        verdicts = verdicts.filter(~pl.col("signal").is_in(elsewhere))
    cards = [
        {
            "dataset": part.item(0, "dataset"),
            "verdicts": [
                {
                    **row,
                    "words": VERDICT_WORDS.get(row["verdict"], ""),
                    "css": verdict_css(row["verdict"]),
                }
                for row in part.to_dicts()
            ],
        }
        for part in verdicts.partition_by("dataset", maintain_order=True)
    ]
    read_facts = [
        ("model", facts.model),
        ("conversations", None if facts.n_conversations is None else count_text(facts.n_conversations)),
        ("datasets", ", ".join(data.datasets) or None),
        ("metrics", ", ".join(data.metrics) or None),
        *(("note", note) for note in facts.notes),
    ]
    return {
        "studied": bool(data.tables),
        "subtitle": _SUBTITLES[bool(data.tables)],
        "about": [each for each in (facts.model, _conversations(facts)) if each],
        "screen": first_screen(data),
        "cards": cards,
        "chapters": [chapter for chapter in map(_without_verdicts, narrate(data)) if chapter.sentences],
        "rules": rules(),
        "question": facts.question or _QUESTION,
        "settings": [(name.replace("_", " "), _value(value)) for name, value in data.settings.items()],
        "read_facts": [(name, value) for name, value in read_facts if value is not None],
        "example": facts.example,
        "segments": SEGMENTS,
        "ledger": data.ledger,
        "validity": [(name.replace("_", " "), _value(value)) for name, value in data.validity.items()],
        "notes": data.notes,
        "tables": page_tables(data),
        "commands": facts.commands,
        "versions": list(data.versions.items()),
    }


def _conversations(facts: RunFacts) -> str:
    return "" if facts.n_conversations is None else f"{count_text(facts.n_conversations)} conversations"


def _without_verdicts(chapter: Chapter) -> Chapter:
    """Return a chapter without the sentences that are on the cards."""
    return Chapter(chapter.title, tuple(s for s in chapter.sentences if s.rule != "verdict"))


def _value(value: Any) -> str:
    """Return a setting as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, int):
        return count_text(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_value(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_value(entry) for entry in value) or "none"
    return str(value)
