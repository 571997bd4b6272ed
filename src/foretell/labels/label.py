"""Labels of answers with their source: 1 the behaviour happened, 0 it did not, null unknown.

frame = label(run)                          # by the verifiers the run's prompts name
frame = label(run, labels="judged.csv")     # by a file with the columns id and behavior_label
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from foretell.conversations.files import read_records
from foretell.conversations.shapes import parse_label
from foretell.errors import InputError, TableError, located
from foretell.labels.verifiers import Verdict, check_specification, verify
from foretell.schema.tables import LABELS, SAMPLES, conform

__all__ = ["LabelReport", "Labelled", "label", "read_labels", "report_labels"]

_COLUMNS = ("id", "behavior_label")


@runtime_checkable
class Labelled(Protocol):
    """The interface of a run that labelling uses."""

    @property
    def samples(self) -> pl.DataFrame:
        """The samples table."""
        ...

    def write_labels(self, labels: pl.DataFrame, /) -> Any:
        """Store a table of labels, one row per sample."""
        ...


@dataclass(frozen=True)
class LabelReport:
    """Coverage of a table of labels."""

    n_samples: int
    n_labelled: int
    """Samples whose label is 0 or 1."""
    n_positive: int
    unlabelled_ids: tuple[str, ...]
    """Samples without a label."""
    reasons: Mapping[str, int]
    """Why they have none, with the number of each."""
    unmatched_ids: tuple[str, ...]
    """Ids of labels that belong to no sample."""


def read_labels(path: Path | str) -> pl.DataFrame:
    """Return the labels of a CSV, Parquet, JSON or JSONL file with the columns id and behavior_label.

    Args:
        path: The file. Labels are 0 / 1, true / false or yes / no; empty, null and NaN are unknown. `label_source` and
            `label_reason` are kept where present, other columns are not.

    Returns:
        The labels table, one row per id, in the order of first appearance; equal rows for one id count once.

    Raises:
        TableError: A column is missing, a value is no label (the message names row and column), or rows contradict
            each other about an id (the message names the ids).
    """
    _, records = read_records(path, error=TableError, headers=_COLUMNS)
    for column in _COLUMNS:
        if not any(column in record for record in records):
            raise TableError(located(path, f"is missing; there are {', '.join(map(str, records[0]))}", column=column))
    return _one_per_id(path, records)


def label(run: Labelled, *, labels: Path | str | pl.DataFrame | None = None) -> pl.DataFrame:
    """Label the samples of a run, store the labels in it and return them.

    Args:
        run: Something with a samples table that can store labels.
        labels: A file for `read_labels`, or a table with id and behavior_label; None asks the verifiers that the
            samples name and keeps the labels that samples without a verifier brought.

    Returns:
        The labels table, one row per sample in the run's order. `report_labels` counts it.

    Raises:
        TableError: The labels cannot be understood, or they share no id with the run; nothing is stored then.
        InputError: A verifier's name is unknown or its arguments do not fit; the message names the id.

    Undefined:
        `behavior_label` is null where no verifier, no label or no answer exists; `label_reason` says which.
    """
    samples = conform(run.samples, SAMPLES)
    if labels is None:
        columns = ("id", "behavior_label", "label_source", "label_reason", "answer", "verifier")
        rows = samples.select(columns).to_dicts()
        frame = _judged([{**row, "verifier": _specification(row["id"], row["verifier"])} for row in rows])
    else:
        given = labels if isinstance(labels, pl.DataFrame) else read_labels(labels)
        frame = _joined(samples, _checked(given), "the table" if isinstance(labels, pl.DataFrame) else str(labels))
    run.write_labels(frame)
    return frame


def report_labels(samples: pl.DataFrame, labels: pl.DataFrame) -> LabelReport:
    """Return the coverage of samples by labels, and the unmatched ids of both.

    Args:
        samples: Any table with the samples' ids.
        labels: A labels table, before or after it was joined to the samples.
    """
    ids = samples.get_column("id").cast(pl.String)
    found = conform(labels, LABELS)
    matched = found.filter(pl.col("id").is_in(ids.to_list()))
    known = matched.filter(pl.col("behavior_label").is_not_null())
    unlabelled = ids.filter(~ids.is_in(known.get_column("id").to_list())).to_list()
    why = dict(matched.select("id", pl.col("label_reason").fill_null("the label is null")).iter_rows())
    reasons: dict[str, int] = {}
    for identity in unlabelled:
        reason = why.get(identity, "there is no label for this id")
        reasons[reason] = reasons.get(reason, 0) + 1
    return LabelReport(
        n_samples=len(ids),
        n_labelled=len(ids) - len(unlabelled),
        unlabelled_ids=tuple(unlabelled),
        n_positive=known.filter(pl.col("behavior_label") == 1).height,
        reasons=reasons,
        unmatched_ids=tuple(found.filter(~pl.col("id").is_in(ids.to_list())).get_column("id")),
    )


def _judged(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return labels from each row's verifier; a row without one keeps the label it brings."""
    for row in rows:
        if row["verifier"] is not None:
            try:
                check_specification(row["verifier"])
            except InputError as error:
                raise InputError(f"prompt {row['id']!r}: {error}") from error
    return _table([_verdict_row(row) for row in rows])


def _verdict_row(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["verifier"] is None:
        if row["behavior_label"] is not None:
            return {**{name: row[name] for name in LABELS.dtypes}, "label_source": row["label_source"] or "file"}
        return _row(row["id"], Verdict(None, row["label_reason"] or "there is no verifier and no label"), None)
    try:
        verdict = verify(row["answer"], row["verifier"])
    except InputError as error:
        raise InputError(f"prompt {row['id']!r}: {error}") from error
    except Exception as error:
        error.add_note(f"while the verifier {row['verifier']['name']!r} judged the answer to prompt {row['id']!r}")
        raise
    return _row(row["id"], verdict, f"verifier {row['verifier']['name']}")


def _row(identity: str, verdict: Verdict, source: str | None) -> dict[str, Any]:
    followed = None if verdict.followed is None else int(verdict.followed)
    return dict(zip(LABELS.dtypes, (identity, followed, source, verdict.reason), strict=True))


def _table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([dict(row) for row in rows], schema=LABELS.dtypes)


def _label_row(path: Path | str, row: int, record: Mapping[str, Any]) -> dict[str, Any]:
    identity = record.get("id")
    if identity is None or isinstance(identity, (bool, float)) or not str(identity).strip():
        raise TableError(located(path, "is missing, empty or no text", row=row, column="id"))
    try:
        value = parse_label(record.get("behavior_label"))
    except ValueError as error:
        raise TableError(located(path, str(error), row=row, column="behavior_label")) from error
    source, reason = record.get("label_source"), record.get("label_reason")
    if value is None:
        return _row(str(identity).strip(), Verdict(None, str(reason or "the file gives no label")), None)
    entry = _row(str(identity).strip(), Verdict(bool(value), ""), str(source or f"file {Path(path).name}"))
    return {**entry, "label_reason": None if reason is None else str(reason)}


def _one_per_id(path: Path | str, records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the labels table of records, the first of equal rows."""
    labels: dict[str, dict[str, Any]] = {}
    conflicts: dict[str, None] = {}
    for row, record in enumerate(records, start=1):
        entry = _label_row(path, row, record)
        known = labels.setdefault(entry["id"], entry)
        if known["behavior_label"] != entry["behavior_label"]:
            conflicts[entry["id"]] = None
    if conflicts:
        message = f"rows contradict each other about {_some(list(conflicts))}"
        raise TableError(located(path, message, column="behavior_label"))
    return _table(list(labels.values()))


def _checked(labels: pl.DataFrame) -> pl.DataFrame:
    """Return a given table as a labels table, judged as a file's rows would be."""
    for column in _COLUMNS:
        if column not in labels.columns:
            raise TableError(f'labels: column "{column}" is missing; there are {", ".join(labels.columns)}')
    return _one_per_id("table of labels", labels.iter_rows(named=True))


def _joined(samples: pl.DataFrame, labels: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Return the labels in the samples' order; a sample without one is null with its reason."""
    ids = samples.select("id")
    if ids.join(labels, on="id", how="semi").is_empty():
        known, given = _some(ids.get_column("id").to_list()), _some(labels.get_column("id").to_list())
        raise TableError(f"labels and run have no id in common: the run has {known}; {origin} has {given}")
    absent = pl.lit(f"{Path(origin).name} has no label for this id")
    joined = ids.join(labels.with_columns(found=pl.lit(value=True)), on="id", how="left", maintain_order="left")
    reason = pl.when(pl.col("found").is_null()).then(absent).otherwise(pl.col("label_reason"))
    return conform(joined.with_columns(label_reason=reason), LABELS)


def _some(ids: Sequence[str]) -> str:
    shown = 5
    listed = ", ".join(repr(identity) for identity in ids[:shown])
    return listed if len(ids) <= shown else f"{listed} and {len(ids) - shown} more"


def _specification(identity: str, text: str | None) -> Mapping[str, Any] | None:
    """Return the verifier specification of a table cell."""
    if text is None or not text.strip():
        return None
    try:
        specification = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"prompt {identity!r}: the verifier is no JSON: {str(error)[:80]}") from error
    if not isinstance(specification, dict):
        raise InputError(f'prompt {identity!r}: the verifier is no object such as {{"name": "max_words", "count": 12}}')
    return specification
