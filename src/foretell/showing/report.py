"""The report: one HTML page that works offline, with its tables and figures as files.

import foretell
foretell.report(study, "out", surfaces=[surface])      # out/report.html
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from foretell.jobs.progress_bar import progress_bar
from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.figures.cause_figures import cause_figure
from foretell.showing.figures.course_figures import course_figure, steering_figure
from foretell.showing.figures.figure import CurveFigure, Figure, folded
from foretell.showing.figures.palette import ColourScale
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.figures.token_figures import token_figure
from foretell.showing.page.page import render_page
from foretell.showing.report_data import ReportData, RunFacts, StudyLike
from foretell.showing.report_folder import files_of_report, read_report_data, write_facts
from foretell.storage.atomic import saving
from foretell.storage.surfaces import Surface
from foretell.storage.targets import check_folder, held_folder

__all__ = ["report", "rerender", "save_surface", "save_table", "write_report"]

_ONE_FIGURE: dict[str, tuple[str, Callable[[pl.DataFrame], Figure]]] = {
    "causes": ("Does what predicts the behaviour also cause it?", cause_figure),
    "steering": ("Does adding the direction change what the model prefers?", steering_figure),
}
"""Title and figure of tables that have a page of their own."""
_TITLE = "Do the model's internals predict what it does?"


def report(
    study: StudyLike,
    to: Path | str,
    *,
    surfaces: Sequence[Surface] = (),
    direction: pl.DataFrame | None = None,
    direction_null: pl.DataFrame | None = None,
    run_facts: RunFacts | None = None,
    title: str = _TITLE,
    z_limit: float | None = None,
    scale: ColourScale = "green-red",
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write a study as an HTML page with all tables and figures, and return the path of the page.

    Writes `report.html`, `study.json`, `tables/*.parquet`, `figures/*.png` and `figures/*.svg`, and the input of
    `rerender` (`report.json`, `surfaces/`). Everything is written to a temporary folder first and then moved into place
    file by file, so that a failure leaves no incomplete report.

    Args:
        study: The result of `foretell.study`.
        to: Output folder; created if absent.
        surfaces: Activity surfaces to show.
        direction: A direction's held-out AUC per concept and layer; see `ReportData.from_study`.
        direction_null: AUC of random directions on the same answers (`foretell.schema.tables.DIRECTION_NULL`).
        run_facts: Facts about the run: model, an example, commands.
        title: Heading of the page.
        z_limit: Limit at which surfaces are clipped, in their own units; clipped scores are counted. None is 2 on scale
            z.
        scale: Colours of the surfaces.
        overwrite: Allow a folder that holds something already: an earlier report in it is replaced, other files stay.
        progress: Show a bar; None shows it only on a terminal.

    Raises:
        InputError: `to` holds something already and `overwrite` is not set, `to` is a file or cannot be written, or a
            surface has no answer or no token.
    """
    with held_folder(to, overwrite=overwrite):
        data = ReportData.from_study(study, surfaces=surfaces, direction=direction, run_facts=run_facts)
        if direction_null is not None:
            data = replace(data, tables={**data.tables, "direction_null": direction_null})
        return write_report(data, to, title=title, z_limit=z_limit, scale=scale, progress=progress)


def write_report(
    data: ReportData,
    to: Path | str,
    *,
    title: str = _TITLE,
    z_limit: float | None = None,
    scale: ColourScale = "green-red",
    progress: bool | None = None,
) -> Path:
    """Write a report of `ReportData` in place of an earlier one; see `report`."""
    data = replace(data, facts=_dated(data.facts))
    surfaces = _surfaces(data.surfaces, z_limit=z_limit, scale=scale)
    figures: list[Figure] = [
        *(folded(one) if isinstance(one, CurveFigure) else one for one in surfaces),  # the surfaces show it, too
        *study_figures(data),
    ]
    with _whole_folder(to) as draft:
        _write_figures_and_page(draft, data, figures, title=title, progress=progress)
        (draft / "study.json").write_text(data.study_json, encoding="utf-8")
        _write_tables(draft / "tables", data)
        for index, surface in enumerate(data.surfaces):
            surface.write(draft / "surfaces" / f"activity-{index + 1}")
        write_facts(data, draft, title=title)
    return Path(to) / "report.html"


def rerender(
    folder: Path | str,
    to: Path | str,
    *,
    surfaces: Sequence[Path | str] = (),
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Render the page and figures of a finished study again, and return the path of the page.

    Args:
        folder: Output folder of `foretell study` or `report`.
        to: Output folder; may be `folder` itself.
        surfaces: Folders of surfaces to show instead of those of the report.
        overwrite: Allow another folder that holds something already; see `report`.
        progress: See `report`.

    Raises:
        InputError: `to` is another folder and holds something already, the folder has no study, or a surface's folder
            has no surface.
    """
    with held_folder(to, overwrite=overwrite or Path(to).resolve() == Path(folder).resolve()):
        data, title = read_report_data(folder, surfaces=surfaces)
        return write_report(data, to, title=title or _TITLE, progress=progress)


def save_surface(
    surface: Surface,
    to: Path | str,
    *,
    beside: Mapping[str, Surface] | None = None,
    scale: ColourScale = "green-red",
    null_band: bool = True,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write one surface as an interactive page, as png and svg, and as a table, and return the path of the page.

    Writes `report.html`, the figures `activity` (surfaces), `activity-flat` (maps), `tokens` (the answers as coloured
    text) and `course` as png and svg, and the surface itself (`surface.json`, `surface.parquet`).

    Args:
        surface: The surface.
        to: Output folder.
        beside: More surfaces for the same page by the name of their figures and folder, such as "difference" of two
            answers or "mean" of many.
        scale: See `report`.
        null_band: Draw the band of random directions as two sheets around the surfaces.
        overwrite: See `report`.
        progress: See `report`.

    Raises:
        InputError: `to` holds something already, is a file, or cannot be written, or the surface has no answer or an
            answer without tokens.
    """
    check_folder(to, overwrite=overwrite)
    more = dict(beside or {})
    every = (surface, *more.values())
    data = ReportData(tables={}, surfaces=every, facts=RunFacts(model=surface.model, question=surface.question))
    figures: list[Figure] = _surfaces((surface,), scale=scale, null_band=null_band)
    for name, other in more.items():
        figures += surface_figures(other, scale=scale, name=name)
    with _whole_folder(to, overwrite=overwrite) as draft:
        _write_figures_and_page(draft, data, figures, title=surface.question, progress=progress)
        surface.write(draft)
        for name, other in more.items():
            other.write(draft / name)
        write_facts(data, draft, title=surface.question)
    return Path(to) / "report.html"


def save_table(
    table: pl.DataFrame,
    to: Path | str,
    *,
    kind: Literal["steering", "causes"],
    model: str,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write a table that has one figure as a page, as png and svg, and as Parquet, and return the path of the page.

    Args:
        table: The result of `foretell.steer` ("steering") or `foretell.causes` ("causes").
        to: Output folder.
        kind: Which of them.
        model: Name of the model.
        overwrite: See `report`.
        progress: Show a bar; None shows it only on a terminal.

    Raises:
        InputError: `to` holds something already, is a file, or cannot be written.
    """
    title, figure = _ONE_FIGURE[kind]
    data = ReportData(tables={}, facts=RunFacts(model=model, question=title))
    with _whole_folder(to, overwrite=overwrite) as draft:
        _write_figures_and_page(draft, data, [figure(table)], title=title, progress=progress)
        table.write_parquet(draft / f"{kind}.parquet")
        write_facts(data, draft, title=title)
    return Path(to) / "report.html"


def _dated(facts: RunFacts) -> RunFacts:
    """Return the facts with the date and the machine of a new report; one that is rendered again keeps its own."""
    if any(name == "report made" for name, _ in facts.provenance):
        return facts
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{platform.system()} {platform.machine()}, processor"
    return replace(facts, provenance=(*facts.provenance, ("report made", now), ("statistics computed on", machine)))


def _surfaces(
    surfaces: Sequence[Surface], *, z_limit: float | None = None, scale: ColourScale, null_band: bool = True
) -> list[Figure]:
    made: list[Figure] = []
    for index, surface in enumerate(surfaces):
        which = "" if len(surfaces) == 1 else f"-{index + 1}"
        made += surface_figures(surface, z_limit=z_limit, scale=scale, null_band=null_band, name=f"activity{which}")
        made.append(token_figure(surface, z_limit=z_limit, scale=scale, name=f"tokens{which}"))
        course = course_figure(surface, name=f"course{which}")
        made += [] if course is None else [course]
    return made


@contextmanager
def _whole_folder(to: Path | str, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield an empty folder whose files are moved to `to` if the block succeeds; otherwise `to` is unchanged."""
    with (
        held_folder(to, overwrite=overwrite),
        saving(to),
        tempfile.TemporaryDirectory(dir=to, prefix=".report-") as name,
    ):
        yield Path(name)
        _move(Path(name), Path(to))


def _write_figures_and_page(
    draft: Path, data: ReportData, figures: Sequence[Figure], *, title: str, progress: bool | None
) -> None:
    (draft / "figures").mkdir()
    stills: dict[str, bytes] = {}
    bar = progress_bar(figures, desc="drawing", unit="figure", progress=progress)
    for figure in bar:
        canvas = to_matplotlib.draw(figure)
        name = figure.words.name
        png = to_matplotlib.render(canvas, "png")
        (draft / "figures" / f"{name}.png").write_bytes(png)
        (draft / "figures" / f"{name}.svg").write_bytes(to_matplotlib.render(canvas, "svg"))
        # The page has the heading in letters of its own.
        scale, below = 1 / 3 if figure.words.folded else 0.5, to_matplotlib.heading_share(canvas)
        stills[name] = to_matplotlib.still(png, scale=scale, below=below)
    page = render_page(data, figures, stills, title=title)
    (draft / "report.html").write_text(page, encoding="utf-8", newline="\n")


def _write_tables(folder: Path, data: ReportData) -> None:
    folder.mkdir()
    for name, frame in data.tables.items():
        frame.write_parquet(folder / f"{name}.parquet")
    if data.direction is not None:
        data.direction.write_parquet(folder / "direction.parquet")


def _move(draft: Path, folder: Path) -> None:
    """Move every finished file into place; the page is moved last, so that its figures always exist.

    Files of an earlier report that this one does not have are removed.
    """
    paths = sorted(path for path in draft.rglob("*") if path.is_file())
    old = files_of_report(folder)
    for path in sorted(paths, key=lambda each: each.name == "report.html"):
        target = folder / path.relative_to(draft)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        old.discard(target)
    for path in old:
        path.unlink(missing_ok=True)
