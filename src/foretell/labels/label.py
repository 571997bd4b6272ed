"""Labels of answers with their source: 1 the behaviour happened, 0 it did not, null unknown.

frame = label(run)                          # by the verifiers the run's prompts name
frame = label(run, labels="judged.csv")     # by a file with the columns id and behavior_label
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from foretell.errors import InputError, TableError, located
from foretell.labels.verifiers import Verdict, check_specification, verify
from foretell.records.label_rows import LabelRows, label_source_of, read_label_rows
from foretell.records.matching_ids import match_labels
from foretell.records.skipped import Errors
from foretell.schema.tables import LABELS, SAMPLES, conform

__all__ = ["LabelReport", "Labelled", "label", "read_labels", "report_labels"]

_UNKNOWN = "the file gives no label"


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


def read_labels(labels: Any, *, errors: Errors = "refuse") -> pl.DataFrame:
    """Return the labels of a file, frame, mapping or series as a table, as every other use of labels reads them.

    Args:
        labels: A file or frame with the columns id and behavior_label, a mapping from id to label, or a pandas series
            with ids as its index. Labels are 0 / 1, true / false or yes / no; empty, null and NaN are unknown.
            `label_source` and `label_reason` are kept where present, other columns are not.
        errors: "refuse" raises at the first row that cannot be used, "skip" leaves such rows out.

    Returns:
        The labels table, one row per id, in the order of first appearance; equal rows for one id count once.

    Raises:
        TableError: A column is missing, a value is no label (the message names row and column), or rows contradict
            each other about an id.
    """
    rows = read_label_rows(label_source_of(labels), errors=errors)
    twice = rows.frame.filter(pl.col("id").is_duplicated())
    if twice.height:
        message = f"{twice.get_column('id')[0]!r} is in several datasets: label the run with the file itself"
        raise TableError(located(rows.name, message, column="id"))
    return _labels_table(rows)


def label(run: Labelled, *, labels: Any = None, errors: Errors = "refuse") -> pl.DataFrame:
    """Label the samples of a run, store the labels in it and return them.

    Args:
        run: Something with a samples table that can store labels.
        labels: Anything that `read_labels` reads (with a column dataset where datasets share ids), or one label per
            sample in the run's order; None asks the verifiers that the samples name and keeps the labels that samples
            without a verifier brought.
        errors: See `read_labels`.

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
        given = labels
        if not isinstance(labels, LabelRows):
            given = read_label_rows(label_source_of(labels, samples.select("id", "dataset")), errors=errors)
        frame = _joined(samples, given)
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


def _labels_table(rows: LabelRows) -> pl.DataFrame:
    """Return labels with where they are from, and why they are unknown."""
    texts = [
        (pl.col(name).cast(pl.String) if name in rows.frame.columns else pl.lit(None, dtype=pl.String)).alias(name)
        for name in ("label_source", "label_reason")
    ]
    known = pl.col("behavior_label").is_not_null()
    source = "given" if rows.name.startswith("<") else f"file {Path(rows.name).name}"
    return conform(
        rows.frame.with_columns(texts).with_columns(
            label_source=pl.when(known).then(pl.col("label_source").fill_null(source)),
            label_reason=pl.when(known).then("label_reason").otherwise(pl.col("label_reason").fill_null(_UNKNOWN)),
        ),
        LABELS,
    )


def _joined(samples: pl.DataFrame, rows: LabelRows) -> pl.DataFrame:
    """Return the labels in the samples' order; a sample without one is null with its reason."""
    matched = match_labels(samples.select("id", "dataset"), rows, name="the run")
    given = replace(rows, frame=matched.labels)
    keyed = pl.concat([given.frame.select(matched.key), _labels_table(given).drop("id")], how="horizontal")
    absent = pl.lit(f"{Path(rows.name).name} has no label for this id")
    keys = samples.select("id", *(column for column in matched.key if column != "id"))
    joined = keys.join(keyed.with_columns(found=pl.lit(value=True)), on=matched.key, how="left", maintain_order="left")
    reason = pl.when(pl.col("found").is_null()).then(absent).otherwise(pl.col("label_reason"))
    return conform(joined.with_columns(label_reason=reason), LABELS)


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
