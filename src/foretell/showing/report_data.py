"""The content of a report as plain data: a study's tables, ledger and settings, surfaces and a direction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import polars as pl

from foretell.errors import InputError
from foretell.schema.tables import TABLES, empty
from foretell.storage.surfaces import Surface

__all__ = ["ColouredText", "LedgerFacts", "ReportData", "RunFacts", "StudyLike", "studied"]


@runtime_checkable
class StudyLike(Protocol):
    """The interface of a study that a report uses."""

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Return each result table by name."""

    def to_json(self) -> str:
        """Return settings, ledger, validity, verdicts and versions as JSON."""


@dataclass(frozen=True)
class LedgerFacts:
    """Numbers of rows read, kept, and dropped by reason."""

    n_read: int
    n_kept: int
    dropped: tuple[tuple[str, int], ...] = ()
    """Reason and number of rows."""
    unmatched: tuple[tuple[str, str], ...] = ()
    """Id that is in only one of the joined files, and which file that is."""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, ledger: Mapping[str, Any]) -> LedgerFacts:
        """Return the facts of the ledger in `study.json`.

        Args:
            ledger: With `n_read`, `n_kept`, the `entries` by reason, and the unmatched ids.
        """
        absent = {"unmatched_table_ids": "in the table, without a label"}
        absent |= {"unmatched_label_ids": "in the labels file, not in the table"}
        return cls(
            n_read=int(ledger["n_read"]),
            n_kept=int(ledger["n_kept"]),
            dropped=tuple((str(reason), int(rows)) for reason, rows in ledger.get("entries", {}).items()),
            unmatched=tuple((str(id_), where) for name, where in absent.items() for id_ in ledger.get(name, ())),
            notes=tuple(str(note) for note in ledger.get("notes", ())),
        )


@dataclass(frozen=True)
class ColouredText:
    """A span of a rendered conversation and its segment."""

    text: str
    segment: str


@dataclass(frozen=True)
class RunFacts:
    """How the table was made; every field may be missing."""

    model: str | None = None
    n_conversations: int | None = None
    question: str | None = None
    """One sentence: the question of the study."""
    example: tuple[ColouredText, ...] = ()
    """One conversation, split into segments."""
    commands: tuple[str, ...] = ()
    """Command lines that reproduce this report."""
    notes: tuple[str, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    """What made the run and the report, by name: weights, template, device, seed, date."""
    conversations: pl.DataFrame | None = field(default=None, compare=False, repr=False)
    """As `foretell.showing.run_conversations.run_conversations` returns them."""


@dataclass(frozen=True)
class ReportData:
    """The input of every figure, sentence and page table."""

    tables: Mapping[str, pl.DataFrame]
    ledger: LedgerFacts | None = None
    validity: Mapping[str, Any] = field(default_factory=dict)
    """Named checks, such as the largest deviation of the shares' sum from 1."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    surfaces: tuple[Surface, ...] = ()
    direction: pl.DataFrame | None = None
    """Held-out AUC of a direction, in the columns of `foretell.schema.tables.DIRECTIONS`."""
    facts: RunFacts = RunFacts()
    study_json: str = "{}"

    def table(self, name: str) -> pl.DataFrame:
        """Return the table of that name, empty if the study does not have it."""
        found = self.tables.get(name)
        if found is not None:
            return found
        return empty(TABLES[name]) if name in TABLES else pl.DataFrame()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Datasets in the order the tables first name them."""
        seen: dict[str, None] = {}
        for name in ("roc", "association", "forest", "detectors", "verdicts", "early"):
            frame = self.table(name)
            if frame.is_empty():
                continue
            seen.update(dict.fromkeys(frame.get_column("dataset").unique(maintain_order=True).to_list()))
        return tuple(seen)

    @property
    def interval(self) -> str:
        """The level of the study's intervals in words, such as "95 % interval"."""
        return f"{100 * float(self.settings.get('level') or 0.95):g} % interval"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics in the order the tables first name them."""
        seen: dict[str, None] = {}
        for name in ("roc", "association", "importances"):
            seen.update(dict.fromkeys(self.table(name).get_column("metric").unique(maintain_order=True).to_list()))
        return tuple(seen)

    @classmethod
    def from_study(
        cls,
        study: StudyLike,
        *,
        surfaces: Sequence[Surface] = (),
        direction: pl.DataFrame | None = None,
        run_facts: RunFacts | None = None,
    ) -> ReportData:
        """Collect the results of a study, with surfaces and a direction's table.

        Args:
            study: A finished study.
            surfaces: Activity surfaces to show.
            direction: Held-out AUC of a direction and of baselines per layer, in the columns of
                `foretell.schema.tables.DIRECTIONS`.
            run_facts: Facts about the run that made the table.

        Raises:
            InputError: The direction's table lacks a column.
        """
        if direction is not None:
            absent = [name for name in ("concept", "measure", "layer", "auc") if name not in direction.columns]
            if absent:
                raise InputError(
                    f"the direction's table lacks {', '.join(absent)}; give the table of the direction's evaluation"
                )
        text = study.to_json()
        return cls(
            tables=dict(study.tables()),
            **studied(json.loads(text)),
            surfaces=tuple(surfaces),
            direction=direction,
            facts=run_facts or RunFacts(),
            study_json=text,
        )


def studied(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `ReportData` that are in a `study.json`."""
    ledger = summary.get("ledger")
    return {
        "ledger": None if ledger is None else LedgerFacts.of(ledger),
        "validity": summary.get("validity") or {},
        "settings": summary.get("settings") or {},
        "versions": summary.get("versions") or {},
        "notes": tuple(summary.get("notes") or ()),
    }
