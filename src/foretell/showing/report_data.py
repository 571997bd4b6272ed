"""Everything a report shows, as plain data: a study's tables, its ledger and settings, surfaces and a direction.

It knows neither how the numbers were computed nor how they will be drawn.

    data = ReportData.from_study(study, surfaces=[surface], direction=table)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import polars as pl

from foretell.errors import InputError
from foretell.schema.tables import TABLES, empty
from foretell.storage.surfaces import Surface

__all__ = ["ColouredText", "LedgerFacts", "ReportData", "RunFacts", "StudyLike"]


@runtime_checkable
class StudyLike(Protocol):
    """What a report needs of a study."""

    @property
    def ledger(self) -> Any:
        """Rows read, rows kept, dropped rows by reason, ids without a partner."""

    @property
    def settings(self) -> Any:
        """What was asked: metrics, seed, number of permutations ..."""

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Return each result table by name."""

    def to_json(self) -> str:
        """Return settings, ledger, validity, verdicts and versions as JSON."""


@dataclass(frozen=True)
class LedgerFacts:
    """How many rows came in, how many were kept, and why the others were not."""

    n_read: int
    n_kept: int
    dropped: tuple[tuple[str, int], ...] = ()
    """Reason and number of rows."""
    unmatched: tuple[tuple[str, str], ...] = ()
    """Id that only one of the joined files knows, and which file that is."""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, ledger: Any) -> LedgerFacts:
        """Return the facts of a study's ledger, or of the same as plain JSON.

        Args:
            ledger: A dataclass or mapping with `n_read`, `n_kept`, `entries` and the ids without a partner.
        """
        if isinstance(ledger, LedgerFacts):
            return ledger
        fields = _mapping(ledger)
        entries = fields.get("entries", {})
        pairs = entries.items() if isinstance(entries, Mapping) else [_reason_and_rows(entry) for entry in entries]
        return cls(
            n_read=int(fields["n_read"]),
            n_kept=int(fields["n_kept"]),
            dropped=tuple((str(reason), int(rows)) for reason, rows in pairs),
            unmatched=(
                *((str(name), "in the table, without a label") for name in fields.get("unmatched_table_ids", ())),
                *(
                    (str(name), "in the labels file, not in the table")
                    for name in fields.get("unmatched_label_ids", ())
                ),
            ),
            notes=tuple(str(note) for note in fields.get("notes", ())),
        )


@dataclass(frozen=True)
class ColouredText:
    """A piece of a rendered conversation and the segment it belongs to."""

    text: str
    segment: str


@dataclass(frozen=True)
class RunFacts:
    """What is known about how the table was made; every part may be missing."""

    model: str | None = None
    n_conversations: int | None = None
    asked: str | None = None
    """One sentence: what the study was to find out."""
    example: tuple[ColouredText, ...] = ()
    """One conversation cut into its segments."""
    commands: tuple[str, ...] = ()
    """Command lines that make this report again."""
    notes: tuple[str, ...] = ()


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
    """How well a direction separates held-out topics, in the columns of `foretell.schema.tables.DIRECTIONS`."""
    facts: RunFacts = RunFacts()
    study_json: str = "{}"

    def table(self, name: str) -> pl.DataFrame:
        """Return the table of that name, of no rows if the study has none."""
        found = self.tables.get(name)
        if found is not None:
            return found
        return empty(TABLES[name]) if name in TABLES else pl.DataFrame()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Datasets in the order the tables first name them."""
        seen: dict[str, None] = {}
        for name in ("roc", "association", "forest", "detectors", "verdicts"):
            frame = self.table(name)
            seen.update(dict.fromkeys(frame.get_column("dataset").unique(maintain_order=True).to_list()))
        return tuple(seen)

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
        """Collect what a study found, with surfaces and a direction's table beside it.

        Args:
            study: A finished study.
            surfaces: Activity surfaces to show, each with its answers.
            direction: How well a direction separates held-out topics per layer, beside baselines, in the columns of
                `foretell.schema.tables.DIRECTIONS`.
            run_facts: What is known about the run that made the table.

        Raises:
            InputError: The direction's table lacks a column.
        """
        if direction is not None:
            absent = [name for name in ("concept", "measure", "layer", "auc") if name not in direction.columns]
            if absent:
                raise InputError(
                    f"the direction's table lacks {', '.join(absent)}; give the table that judged the direction"
                )
        return cls(
            tables=dict(study.tables()),
            ledger=None if study.ledger is None else LedgerFacts.of(study.ledger),
            validity=_mapping(getattr(study, "validity", None)),
            settings=_mapping(study.settings),
            versions={str(key): str(value) for key, value in _mapping(getattr(study, "versions", None)).items()},
            notes=tuple(str(note) for note in getattr(study, "notes", ())),
            surfaces=tuple(surfaces),
            direction=direction,
            facts=run_facts or RunFacts(),
            study_json=study.to_json(),
        )


def _mapping(value: Any) -> dict[str, Any]:
    """Return the fields of a mapping or a dataclass by name; anything else has none."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(key): entry for key, entry in value.items()}
    names = getattr(value, "__dataclass_fields__", {})
    return {name: getattr(value, name) for name in names}


def _reason_and_rows(entry: Any) -> tuple[str, int]:
    if isinstance(entry, tuple):
        return entry[0], entry[1]
    return entry.reason, entry.n_rows
