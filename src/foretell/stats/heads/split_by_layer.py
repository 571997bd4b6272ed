"""A file in any order split into one folder per dataset and layer, with bounded memory.

Nothing is cleaned here: rows whose layer is not an integer, such as averages, get a folder of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from foretell.errors import TableError
from foretell.records.binary_tables import is_parquet
from foretell.records.cells import parse_integer, parse_text
from foretell.records.content import open_content
from foretell.records.delimited import dialect_of, require_whole_rows
from foretell.stats.heads.sorted_parquet import NotSortedError

__all__ = ["split_by_layer"]


def split_by_layer(files: Sequence[Path], folder: Path, *, wanted: Collection[str]) -> list[list[Path]]:
    """Write the rows of files into Parquet files per dataset and layer, and return one list of files for each.

    Args:
        files: CSV or Parquet files that together are a table.
        folder: Where to write; must be empty.
        wanted: Columns to keep.

    Raises:
        NotSortedError: A file is neither Parquet nor a text table with a column layer, or is malformed.
        TableError: A text table has a row with too few cells.
    """
    groups: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for index, file in enumerate(files):
        target = folder / f"{index:06d}"
        target.mkdir()
        try:
            scan = pl.scan_parquet(file, glob=False) if is_parquet(file) else _scan_text(file, wanted)
            columns = [column for column in scan.collect_schema().names() if column in wanted]
            if "layer" not in columns:
                raise NotSortedError("there is no column layer to split by")
            frame = scan.select(columns)
            probe = frame.head(0).collect()
            keys = [parse_integer(probe, "layer").cast(pl.String).fill_null("none").alias("_layer")]
            if "dataset" in columns:
                keys.insert(0, parse_text(probe, "dataset").fill_null("").alias("_dataset"))
            split = pl.PartitionBy(target, key=keys, include_key=False)
            frame.sink_parquet(split, mkdir=True)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise NotSortedError("cannot be split by layer") from error
        for path in sorted(target.rglob("*.parquet")):
            groups[path.relative_to(target).parent.parts].append(path)
    return [groups[key] for key in sorted(groups)]


def _scan_text(file: Path, wanted: Collection[str]) -> pl.LazyFrame:
    """Return a text table whose rows are known to be whole, with the names of its columns trimmed."""
    content = open_content(file, error=TableError)
    if content.container != "csv" or content.unpacked is not None:
        raise NotSortedError("is no text table that can be read in parts")
    dialect = dialect_of(content, wanted, error=TableError)
    names = [name or f" {place}" for place, name in enumerate(dialect.columns)]
    scan = pl.scan_csv(
        file,
        infer_schema=False,
        separator=dialect.separator,
        skip_lines=dialect.skip_lines,
        with_column_names=lambda _: names,
    )
    if scan.select(pl.col(names[-1]).is_null().any()).collect(engine="streaming").item():
        require_whole_rows(content, dialect, error=TableError)
    return scan
