"""Reading a report's folder back as `ReportData`, so that its page can be rendered again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from foretell.errors import InputError, located
from foretell.showing.report_data import ColouredText, ReportData, RunFacts, studied
from foretell.storage.surfaces import Surface

__all__ = ["files_of_report", "read_report_data", "write_facts"]

_FACTS = "report.json"
_CONVERSATIONS = "conversations.parquet"


def write_facts(data: ReportData, folder: Path, *, title: str) -> None:
    """Write `report.json`: the facts of a report that are not in its study, and the list of its files.

    The conversations of a run are a table of their own, `conversations.parquet`.

    Args:
        data: The content of the report.
        folder: Folder with all other files of the report, and nothing else.
        title: Heading of the page.
    """
    if data.facts.conversations is not None:
        data.facts.conversations.write_parquet(folder / _CONVERSATIONS)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    facts = {"title": title, **asdict(replace(data.facts, conversations=None)), "files": files}
    del facts["conversations"]
    text = json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
    (folder / _FACTS).write_text(
        text, encoding="utf-8", errors="backslashreplace"
    )  # of a lone surrogate: its JSON escape


def files_of_report(folder: Path) -> set[Path]:
    """Return the files of the report in a folder; none without a `report.json`."""
    try:
        named = json.loads((folder / _FACTS).read_text(encoding="utf-8"))["files"]
        return {folder / name for name in named if not Path(name).is_absolute() and ".." not in Path(name).parts}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def read_report_data(folder: Path | str, *, surfaces: Sequence[Path | str] = ()) -> tuple[ReportData, str | None]:
    """Return the data of a finished report or study and the title of its page, None if it has none yet.

    Args:
        folder: Output folder of `foretell study` or `foretell.report`, with `study.json` and `tables/`.
        surfaces: Folders of surfaces to show instead of those of the report.

    Raises:
        InputError: The folder has no study, or one of its files is invalid.
    """
    folder = Path(folder)
    text, summary = _json(folder / "study.json")
    tables = {path.stem: _table(path) for path in sorted((folder / "tables").glob("*.parquet"))}
    if not tables:
        raise InputError(located(folder, "has no tables; give a folder written by foretell study"))
    direction = tables.pop("direction", None)
    facts, title = _facts(folder / _FACTS)
    own = sorted(path.parent for path in folder.glob("surfaces/*/surface.json"))
    data = ReportData(
        tables=tables,
        **_studied(summary, folder / "study.json"),
        surfaces=tuple(Surface.read(path) for path in (surfaces or own)),
        direction=direction,
        facts=facts,
        study_json=text,
    )
    return data, title


def _json(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
    except OSError as error:
        raise InputError(located(path, f"cannot be read: {error.strerror or error}")) from error
    except ValueError as error:
        raise InputError(located(path, f"is not JSON: {error}")) from error
    if not isinstance(value, dict):
        raise InputError(located(path, "does not have the settings and results of a study"))
    return text, value


def _table(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(located(path, f"is not a Parquet table: {error}")) from error


def _studied(summary: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return studied(summary)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(located(path, f"has an invalid ledger: {error!r}")) from error


def _facts(path: Path) -> tuple[RunFacts, str | None]:
    if not path.exists():
        return RunFacts(), None
    _, value = _json(path)
    try:
        example = tuple(ColouredText(**span) for span in value["example"])
        commands, notes = tuple(value["commands"]), tuple(value["notes"])
        provenance = tuple((str(name), str(fact)) for name, fact in value.get("provenance", ()))
        listed = path.with_name(_CONVERSATIONS)
        return RunFacts(
            model=value["model"],
            n_conversations=value["n_conversations"],
            question=value["question"],
            example=example,
            commands=commands,
            notes=notes,
            provenance=provenance,
            conversations=_table(listed) if listed.exists() else None,
        ), value["title"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(located(path, f"is not a valid report.json: {error!r}")) from error
