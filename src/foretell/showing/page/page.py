"""The report page: the context of the templates, and one HTML file that works offline and runs no external script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foretell.schema.tables import SEGMENTS
from foretell.showing.draw_plotly import to_plotly
from foretell.showing.figures.figure import BarFigure, CurveFigure, Figure, SurfaceFigure, TokenFigure
from foretell.showing.figures.palette import COLOUR_SCALES
from foretell.showing.page.coloured_text import ColouredToken, coloured_tokens
from foretell.showing.page.narrative import VERDICT_WORDS, Chapter, narrate, rules
from foretell.showing.page.page_tables import page_tables
from foretell.showing.report_data import ReportData
from foretell.showing.rounding import count_text, number_text
from foretell.showing.untrusted import script_json, visible

__all__ = ["render_page"]

_NAMES = {
    "verdicts": "Summary",
    "question": "Question and settings",
    "data": "Model and data",
    "dropped": "Dropped rows",
    "surfaces": "Activity by layer and token",
    "figures": "Figures",
    "tables": "Tables",
    "reproduce": "How to reproduce this",
}
_SUBTITLES = {
    True: "How well a model's internals predict its behaviour, compared with baselines, and checked for leakage.",
    False: "Activity of a model's hidden states along a direction, by layer and generated token.",
}
_QUESTION = "Do signals recorded inside the model predict whether it shows the behaviour?"


@dataclass(frozen=True)
class _Panel:
    picture: str
    title: str = ""
    text: str = ""
    tokens: tuple[ColouredToken, ...] = ()
    """Coloured text instead of a picture."""


@dataclass(frozen=True)
class _Bar:
    low: str
    high: str
    label: str
    gradient: str


@dataclass(frozen=True)
class _View:
    """One figure, as passed to the template."""

    name: str
    title: str
    caption: str
    alt: str
    still: str
    panels: tuple[_Panel, ...]
    n_columns: int
    css: str = ""
    surface: bool = False
    answers: bool = False
    """Panels side by side with a heading each, whose pictures are aligned at the top."""
    bar: _Bar | None = None


def render_page(data: ReportData, figures: Sequence[Figure], stills: Mapping[str, bytes], *, title: str) -> str:
    """Return the whole page as HTML.

    Args:
        data: Everything that is shown.
        figures: Figures in reading order, surfaces included.
        stills: A png per figure name, shown until the figure is drawn, in print, and without scripts.
        title: Heading of the page.
    """
    pictures: dict[str, Any] = {}
    views: list[_View] = []
    surface_views: list[_View] = []
    for figure in figures:
        view, drawn = _view(figure, stills[figure.words.name])
        pictures.update(drawn)
        (surface_views if isinstance(figure, SurfaceFigure | TokenFigure) else views).append(view)
    payload = {
        "pictures": pictures,
        "templates": {theme: to_plotly.template(theme) for theme in ("light", "dark")},
    }
    page_script = files("foretell.showing.page").joinpath("templates/report.js").read_text(encoding="utf-8")
    context = _text(data)
    sections = {
        "verdicts": bool(data.datasets) or bool(context["chapters"]),
        "question": True,
        "data": bool(context["read_facts"] or context["example"]),
        "dropped": data.ledger is not None or bool(data.notes),
        "surfaces": bool(surface_views),
        "figures": bool(views),
        "tables": bool(context["tables"]),
        "reproduce": True,
    }
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            **context,
            title=title,
            contents=[(name, _NAMES[name]) for name, present in sections.items() if present],
            views=views,
            surface_views=surface_views,
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


def _view(figure: Figure, still: bytes) -> tuple[_View, dict[str, Any]]:
    words = figure.words
    pictures = {
        f"{words.name}-{index}": to_plotly.payload(picture) for index, picture in enumerate(to_plotly.draw(figure))
    }
    panels = tuple(_Panel(name) for name in pictures)
    n_columns, css, bar, title = min(len(panels), 3), "", None, words.title
    if isinstance(figure, SurfaceFigure):
        panels = tuple(
            _Panel(name, panel.title, panel.answer) for name, panel in zip(pictures, figure.panels, strict=True)
        )
        n_columns, bar = min(len(panels), 2), _bar(figure)
        title = f"{figure.question} {words.title}" + (" (flat)" if figure.shape == "flat" else "")
    elif isinstance(figure, TokenFigure):
        panels = tuple(_Panel("", panel.title, tokens=coloured_tokens(figure, panel)) for panel in figure.panels)
        n_columns, bar, title = 1, _bar(figure), f"{figure.question} {words.title}"
    elif isinstance(figure, BarFigure):
        n_columns = figure.n_columns
    elif isinstance(figure, CurveFigure) and len(panels) == 1:
        css = "roc1"
    elif not isinstance(figure, CurveFigure) and hasattr(figure, "x_label"):
        n_columns = min(len(panels), 2)
    elif hasattr(figure, "n_columns"):
        n_columns = min(figure.n_columns, 3)
    source = f"data:image/png;base64,{base64.b64encode(still).decode()}"
    view = _View(
        name=words.name,
        title=title,
        caption=words.caption,
        alt=words.alt,
        still=source,
        panels=panels,
        n_columns=n_columns,
        css=css,
        surface=isinstance(figure, SurfaceFigure) and figure.shape == "surface",
        answers=isinstance(figure, SurfaceFigure),
        bar=bar,
    )
    return view, pictures


def _bar(figure: SurfaceFigure | TokenFigure) -> _Bar:
    stops = ",".join(f"{colour} {100 * place:g}%" for place, colour in COLOUR_SCALES[figure.scale])
    low = "≤ " if figure.extend in {"min", "both"} else ""
    high = "≥ " if figure.extend in {"max", "both"} else ""
    limit = f"{figure.z_limit:g}"
    return _Bar(f"{low}−{limit}", f"{high}{limit}", figure.z_label, stops)


def _text(data: ReportData) -> dict[str, Any]:
    """Return the text of the page."""
    facts = data.facts
    verdicts = data.table("verdicts")
    cards = [
        {
            "dataset": part.item(0, "dataset"),
            "verdicts": [
                {
                    **row,
                    "words": VERDICT_WORDS.get(row["verdict"], ""),
                    "css": "-".join(row["verdict"].split()) if row["verdict"] in VERDICT_WORDS else "none",
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
