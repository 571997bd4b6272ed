"""Ways in which a table gets broken, drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from tests.stats.tables import METRICS

Damage = Callable[[pl.DataFrame, np.random.Generator, Path], Path]


def _csv(frame: pl.DataFrame, folder: Path) -> Path:
    path = folder / "table.csv"
    frame.write_csv(path)
    return path


def _parquet(frame: pl.DataFrame, folder: Path) -> Path:
    path = folder / "table.parquet"
    frame.write_parquet(path)
    return path


def _cells(frame: pl.DataFrame) -> list[list[str]]:
    text = frame.select(pl.all().cast(pl.String)).fill_null("")
    return [list(text.columns), *[list(row) for row in text.iter_rows()]]


def _lines(cells: list[list[str]], folder: Path) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(",".join(row) for row in cells) + "\n", encoding="utf-8")
    return path


def strange_cell(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    strange = ["", "NaN", "inf", "-inf", "1e400", "abc", "h3", "9" * 40, "-1", "0x10", "1,5", "\0", "💥", "3.7", "{}"]
    cells = _cells(frame)
    for _ in range(int(generator.integers(1, 30))):
        row, column = int(generator.integers(1, len(cells))), int(generator.integers(len(cells[0])))
        cells[row][column] = f'"{generator.choice(strange)}"'
    return _lines(cells, folder)


def ragged_rows(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    cells = _cells(frame)
    for _ in range(int(generator.integers(1, 6))):
        row = cells[int(generator.integers(1, len(cells)))]
        row.extend(["7"] * int(generator.integers(1, 4))) if generator.random() < 0.5 else row.pop()
    return _lines(cells, folder)


def other_encoding(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    cells = _cells(frame)
    cells[1][0] = "é" * 3
    encoding = str(generator.choice(["utf-16", "utf-16-le", "latin-1", "cp1252", "utf-32", "utf-8-sig"]))
    path = folder / "table.csv"
    path.write_bytes("\n".join(",".join(row) for row in cells).encode(encoding))
    return path


def mixed_encoding(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    path = _csv(frame, folder)
    lines = path.read_bytes().split(b"\n")
    at = int(generator.integers(1, len(lines) - 1))
    lines[at] = b"caf\xe9" + lines[at]
    path.write_bytes(b"\n".join(lines))
    return path


def huge_integers(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    column = str(generator.choice(["layer", "head", "behavior_label", "id"]))
    number = int(generator.choice(np.array([2**31, 2**53 + 1, 2**63 - 1])))
    huge = frame.with_columns(pl.when(pl.int_range(pl.len()) % 7 == 3).then(number).otherwise(column).alias(column))
    return _parquet(huge, folder)


def doubled_rows(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    extra = frame.sample(int(generator.integers(1, 20)), with_replacement=True, seed=int(generator.integers(99)))
    if generator.random() < 0.5:
        extra = extra.with_columns(PAM_norm=pl.col("QAM_norm"), QAM_norm=pl.col("PAM_norm"))
    return _csv(pl.concat([frame, extra]), folder)


def infinite_values(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    metric = str(generator.choice(METRICS))
    value = float(generator.choice(np.array([np.inf, -np.inf, np.nan, -0.2, 7.0])))
    share = int(generator.integers(1, 5))
    return _parquet(
        frame.with_columns(pl.when(pl.int_range(pl.len()) % share == 0).then(value).otherwise(metric).alias(metric)),
        folder,
    )


def empty_parts(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    kind = int(generator.integers(5))
    path = folder / "table.csv"
    if kind == 0:
        path.touch()
    elif kind == 1:
        path.write_text(",".join(frame.columns) + "\n")
    elif kind == 2:
        path.write_text("\n\n\n")
    elif kind == 3:
        return _parquet(frame.clear(), folder)
    else:
        label = pl.when(pl.col("dataset") == "flan").then(None).otherwise("behavior_label").alias("behavior_label")
        return _csv(frame.with_columns(label), folder)
    return path


def thousand_columns(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    wide = frame.with_columns(pl.lit(index).alias(f"noise_{index}") for index in range(1000))
    columns = [str(name) for name in generator.permutation(wide.columns)]
    dropped = columns[1:] if generator.random() < 0.5 else columns
    return (_csv if generator.random() < 0.5 else _parquet)(wide.select(dropped), folder)


def truncated_parquet(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    path = _parquet(frame, folder)
    content = bytearray(path.read_bytes())
    if generator.random() < 0.5:
        path.write_bytes(content[: int(generator.integers(1, len(content)))])
    else:
        for _ in range(20):
            content[int(generator.integers(len(content)))] ^= int(generator.integers(1, 256))
        path.write_bytes(content)
    return path


def wrong_types(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    column = str(generator.choice(frame.columns))
    kinds: list[pl.Expr] = [
        pl.lit(True),
        pl.lit(None),
        pl.lit("text"),
        pl.lit(b"bytes"),
        pl.lit(b"\xff\xfe"),
        pl.concat_list(pl.lit(1), pl.lit(2)),
        pl.struct(pl.lit(1).alias("x")),
        pl.date(2020, 1, 1),
        pl.lit(0.5),
        pl.lit("7", dtype=pl.Categorical),
        pl.lit(3, dtype=pl.Decimal(10, 2)),
        pl.lit(2**64 - 1, dtype=pl.UInt64),
    ]
    return _parquet(frame.with_columns(kinds[int(generator.integers(len(kinds)))].alias(column)), folder)


def renamed_columns(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    column = str(generator.choice(frame.columns))
    new = str(generator.choice(np.array([column.upper(), f" {column}", f"{column}s", "x", column[::-1]])))
    if new in frame.columns:
        return _csv(frame.drop(column), folder)
    return _csv(frame.rename({column: new}), folder)


def noise(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    suffix = str(generator.choice([".csv", ".parquet", ".jsonl", ".json", ".arrow", ".tsv", ".csv.gz", ".xlsx"]))
    path = folder / f"table{suffix}"
    path.write_bytes(generator.bytes(int(generator.integers(1, 4000))))
    return path


def broken_json(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    path = folder / "table.jsonl"
    frame.write_ndjson(path)
    lines = path.read_text().splitlines()
    at = int(generator.integers(len(lines)))
    lines[at] = str(generator.choice(["{", "[1, 2]", "null", '{"id": [1]}', lines[at][:-3], '"text"', "[" * 5000]))
    path.write_text("\n".join(lines))
    return path


def conflicting_labels(frame: pl.DataFrame, generator: np.random.Generator, folder: Path) -> Path:
    at = int(generator.integers(frame.height))
    flipped = pl.when(pl.int_range(pl.len()) == at).then(1 - pl.col("behavior_label")).otherwise("behavior_label")
    return _csv(frame.with_columns(flipped.alias("behavior_label")), folder)


DAMAGES: tuple[Damage, ...] = (
    strange_cell,
    ragged_rows,
    other_encoding,
    mixed_encoding,
    huge_integers,
    doubled_rows,
    infinite_values,
    empty_parts,
    thousand_columns,
    truncated_parquet,
    wrong_types,
    renamed_columns,
    noise,
    broken_json,
    conflicting_labels,
)
