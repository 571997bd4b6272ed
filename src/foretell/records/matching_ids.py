"""Ids of a table and ids of its labels: the same text, or certainly the same number written in another way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from foretell.errors import TableError, located
from foretell.records.label_rows import LabelRows

__all__ = ["Matched", "match_labels"]


@dataclass(frozen=True)
class Matched:
    """Labels whose ids are those of the table."""

    labels: pl.DataFrame
    """As `LabelRows.frame`, the matched ids written as in the table."""
    key: tuple[str, ...]
    """Columns to join on."""
    unlabelled: tuple[str, ...]
    """Ids of the table that no label has."""
    unread: tuple[str, ...]
    """Ids of labels that the table does not have."""
    notes: tuple[str, ...]


def match_labels(ids: pl.DataFrame, rows: LabelRows, *, name: str, may_be_empty: bool = False) -> Matched:
    """Return labels with the ids of the table.

    Equal texts match first. What is left matches where it is certain: one id of each side, and no other, is the same
    number (`007` and `7`, `7` and `7.0`) or the same text in another Unicode form.

    Args:
        ids: Columns id and, where the table has one, dataset, as text.
        rows: The labels.
        name: What the ids are of, for messages.
        may_be_empty: Whether it is allowed that nothing matches.

    Raises:
        TableError: An id is in several datasets and the other side does not say which; ids could match in more ways
            than one; or nothing matches.
    """
    ids = ids.drop_nulls().unique()
    rows, renaming = _without_task(ids, rows, name)
    key = [column for column in rows.key if column in ids.columns]
    _require_dataset(ids, rows, name)
    labels, notes = _renamed(ids, rows, key, name)
    unlabelled = ids.join(labels, on=key, how="anti").get_column("id").unique().sort()
    unread = labels.join(ids, on=key, how="anti").get_column("id").unique().sort()
    if ids.join(labels, on=key, how="semi").is_empty() and not may_be_empty:
        raise TableError(_nothing_common(ids, labels, key, rows.name, name))
    if unlabelled.len() and unread.len():
        notes = (*notes, *_near_misses(unlabelled, unread))
    return Matched(labels, tuple(key), tuple(unlabelled), tuple(unread), (*renaming, *notes))


def _without_task(ids: pl.DataFrame, rows: LabelRows, name: str) -> tuple[LabelRows, tuple[str, ...]]:
    """Return labels by id alone, and a note, where they are a log's and the table has no dataset named as its task."""
    if not rows.dataset_is_task or not {"dataset"} <= {*ids.columns} & {*rows.frame.columns}:
        return rows, ()
    tasks, datasets = (frame.get_column("dataset").drop_nulls().unique().sort() for frame in (rows.frame, ids))
    if tasks.is_in(datasets.to_list()).any() or datasets.is_empty():
        return rows, ()
    shown = ", ".join(datasets[:3])
    note = f"{rows.name} is of the task {tasks[0]} and {name} has the dataset {shown}: they were joined by id alone"
    return replace(rows, frame=rows.frame.drop("dataset"), key=("id",)), (note,)


def _require_dataset(ids: pl.DataFrame, rows: LabelRows, name: str) -> None:
    for frame, other, without in ((ids, rows.frame, rows.name), (rows.frame, ids, name)):
        if "dataset" not in frame.columns or "dataset" in other.columns:
            continue
        several = frame.select("id", "dataset").drop_nulls().unique().filter(pl.col("id").is_duplicated())
        shared = several.join(other, on="id", how="semi").sort("id", "dataset")
        if shared.height:
            first = shared.get_column("id")[0]
            places = ", ".join(shared.filter(pl.col("id") == first).get_column("dataset")[:3])
            message = f'the id "{first}" is in several datasets ({places}): the column dataset is needed here too'
            raise TableError(located(without, message, column="dataset"))


def _renamed(ids: pl.DataFrame, rows: LabelRows, key: list[str], name: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return labels whose unmatched ids are written as in the table where it is certain which they are."""
    labels = rows.frame
    left = labels.select(key).join(ids, on=key, how="anti")
    right = ids.select(key).join(labels, on=key, how="anti")
    if left.is_empty() or right.is_empty():
        return labels, ()
    rest = [column for column in key if column != "id"]
    plain = [
        frame.select(*rest, "id", _plain("id").alias("plain")).with_columns(
            certain=pl.struct(*rest, "plain").is_duplicated().not_()
        )
        for frame in (labels, ids.select(key).unique())
    ]
    left, right = (
        side.join(side_left, on=key, how="semi") for side, side_left in zip(plain, (left, right), strict=True)
    )
    pairs = left.join(right, on=[*rest, "plain"], how="inner", suffix="_table").sort("id", "id_table")
    if pairs.is_empty():
        return labels, ()
    unclear = pairs.filter(~(pl.col("certain") & pl.col("certain_table")))
    if unclear.height:
        pair = unclear.row(0, named=True)
        message = (
            f'the id "{pair["id"]}" may be "{pair["id_table"]}" of {name}, and other ids could be too: they are the '
            "same number written in another way (leading zeros lost?); write the ids alike"
        )
        raise TableError(located(rows.name, message, column="id"))
    renamed = labels.join(pairs.select(*key, "id_table"), on=key, how="left", maintain_order="left")
    first = pairs.row(0, named=True)
    note = (
        f"{pairs.height} ids of {rows.name} are the same numbers as ids of {name} written in another way, such as "
        f'"{first["id"]}" and "{first["id_table"]}", and were joined'
    )
    return renamed.with_columns(id=pl.coalesce("id_table", "id")).drop("id_table"), (note,)


def _plain(column: str) -> pl.Expr:
    """Return an expression for ids without what is lost when they are read as numbers."""
    text = pl.col(column).str.normalize("NFC")
    number = text.str.extract(r"^(\d\.?\d*[eE]\+\d+)$").cast(pl.Float64, strict=False)
    whole = pl.when((number < 2**53) & (number == number.floor())).then(number.cast(pl.Int64, strict=False))
    digits = text.str.extract(r"^0*(\d+)(?:\.0*)?$")
    return pl.coalesce(digits, whole.cast(pl.String), text)


def _near_misses(unlabelled: pl.Series, unread: pl.Series) -> tuple[str, ...]:
    """Return a note where ids of both sides differ only in upper and lower case or in blanks."""
    folded = {"".join(text.casefold().split()): text for text in unlabelled}
    pairs = [(folded[plain], text) for text in unread if (plain := "".join(text.casefold().split())) in folded]
    if not pairs:
        return ()
    shown = f'such as "{pairs[0][1]}" and "{pairs[0][0]}"'
    return (f"{len(pairs)} ids differ only in upper case or blanks and were not joined, {shown}",)


def _nothing_common(ids: pl.DataFrame, labels: pl.DataFrame, key: list[str], source: str, name: str) -> str:
    first, second = (frame.get_column("id").drop_nulls().sort() for frame in (ids, labels))
    shown = f'the table has "{first[0] if len(first) else ""}", the labels have "{second[0] if len(second) else ""}"'
    if len(key) == len(("id", "dataset")) and ids.join(labels, on="id", how="semi").height:
        datasets = ", ".join(map(str, labels.get_column("dataset").unique().sort()[:5]))
        shown = f"the ids agree but the datasets do not (labels: {datasets}); rename them or leave the column out"
    return located(source, f"no id in common with {name}: {shown}", column="id")
