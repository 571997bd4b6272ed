"""One reader: a file of labels gives the same labels to `study` and to `label`, however it is written."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from foretell.conversations.formats import read_conversations
from foretell.conversations.pairs import read_pairs
from foretell.errors import TableError
from foretell.labels.label import read_labels
from foretell.records.reader import read_records, read_source
from foretell.stats.table.joined import read_table
from tests.stats.tables import METRICS, head_table

TABLE = head_table(n_samples=8)
LABELS = TABLE.select("id", "behavior_label").unique().sort("id")


def _csv(separator: str = ",", **options: Any) -> bytes:
    text: str = LABELS.write_csv(separator=separator, **options)
    return text.encode()


def _ipc(stream: bool) -> bytes:
    file = io.BytesIO()
    (LABELS.write_ipc_stream if stream else LABELS.write_ipc)(file)
    return file.getvalue()


def _parquet() -> bytes:
    file = io.BytesIO()
    LABELS.write_parquet(file)
    return file.getvalue()


LINES = [json.dumps(row) for row in LABELS.to_dicts()]
FILES: dict[str, bytes] = {
    "comma": _csv(),
    "semicolon": _csv(";"),
    "tab": _csv("\t"),
    "bar": _csv("|"),
    "caret": _csv("^"),
    "blank": _csv(" "),
    "all cells quoted": _csv(quote_style="always"),
    "blanks in the header": _csv().replace(b"id,behavior_label", b" id , behavior_label "),
    "byte order mark": b"\xef\xbb\xbf" + _csv(),
    "windows line ends": _csv(line_terminator="\r\n"),
    "old line ends": _csv(line_terminator="\r"),
    "a line that names the separator": b"sep=;\n" + _csv(";"),
    "blank lines": _csv().replace(b"\n", b"\n\n"),
    "decimal commas": ("id;behavior_label\n" + "".join(f"{i};{y},0\n" for i, y in LABELS.iter_rows())).encode(),
    "gzip": gzip.compress(_csv()),
    "gzipped JSON lines": gzip.compress("\n".join(LINES).encode()),
    "JSON": json.dumps(LABELS.to_dicts()).encode(),
    "wrapped JSON": json.dumps({"data": LABELS.to_dicts()}).encode(),
    "indented JSON lines": "\n".join(json.dumps(row, indent=2) for row in LABELS.to_dicts()).encode(),
    **{f"JSON lines {end!r}": end.join(LINES).encode() for end in ("\n", "\r\n", "\r", "\u2028", "\x85", "\n\x1e")},
    "Parquet": _parquet(),
    "Arrow file": _ipc(stream=False),
    "Arrow stream": _ipc(stream=True),
}
OBJECTS: dict[str, Callable[[], Any]] = {
    "polars": lambda: LABELS,
    "lazy": LABELS.lazy,
    "pandas": LABELS.to_pandas,
    "pyarrow": LABELS.to_arrow,
    "dict of columns": lambda: LABELS.to_dict(as_series=False),
    "list of dicts": LABELS.to_dicts,
    "mapping": lambda: dict(LABELS.iter_rows()),
    "series": lambda: LABELS.to_pandas().set_index("id")["behavior_label"],
}


def _labels_of_both(source: Any) -> tuple[list[Any], list[Any]]:
    """Return (id, label) as `label` and as `study` read them."""
    samples = read_table(TABLE.drop("behavior_label"), labels=source).samples
    return read_labels(source).select("id", "behavior_label").rows(), samples.select("id", "behavior_label").rows()


@pytest.mark.parametrize("kind", FILES)
def test_study_and_label_agree_on_every_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.any"
    path.write_bytes(FILES[kind])
    by_label, by_study = _labels_of_both(path)
    assert by_label == by_study == LABELS.rows()


@pytest.mark.parametrize("kind", OBJECTS)
def test_study_and_label_agree_on_every_object(kind: str) -> None:
    by_label, by_study = _labels_of_both(OBJECTS[kind]())
    assert by_label == by_study == LABELS.rows()


BROKEN: dict[str, tuple[bytes, str]] = {
    "a cell too few": (b"id,behavior_label,n\nalpaca-000,1,x\nalpaca-001,0\n", "row 2: .*2 cells where"),
    "a cell too many": (b"id,behavior_label\nalpaca-000,1,x\n", "row 1: .*3 cells where the header has 2"),
    "cut in the last row": (b"id,behavior_label\nalpaca-000,1\nalpaca-0", "row 2: .*1 cells where the header has 2"),
    "columns of one name": (b"id,behavior_label,id\nalpaca-000,1,x\n", "two columns have the same name: id"),
    "fields of one name": (b'{"id": "a", "behavior_label": 1, "id": "b"}', "row 1: .*two fields have the same name"),
    "an open quote": (b'id,behavior_label\n"alpaca-000,1\nalpaca-001,0\n', "row 1: cannot be read as CSV"),
    "not UTF-8": (b"id,behavior_label\nalpaca-000,1\n\xe9,0\n", "row 2: .*not UTF-8"),
    "JSON that is not UTF-8": (b'{"id": "\xe9", "behavior_label": 1}', "row 1: is not UTF-8"),
    "UTF-16": ("id,behavior_label\na,1\n".encode("utf-16"), "UTF-16"),
    "a null byte": (b"id,behavior_label\na,1\n\0,0\n", "line 3 holds a null byte"),
    "a cut gzip file": (gzip.compress(_csv())[:-9], "not a complete gzip file"),
    "a cut Parquet file": (_parquet()[:-9], "damaged Parquet file"),
    "a cut Arrow file": (_ipc(stream=False)[:-9], "not a complete Arrow file"),
    "cut JSON lines": ("\n".join(LINES)[:-9].encode(), f"row {len(LINES)}: is no JSON object"),
    "cut JSON": (json.dumps(LABELS.to_dicts())[:-9].encode(), "is no JSON"),
    "a record that lacks a field": (b'{"id": "a", "behavior_label": 1}\n{"id": "b"}', 'row 2, column "behavior_label"'),
    "a record without an id": (b"id,behavior_label\n,1\n", 'row 1, column "id": is missing'),
    "a label that is none": (b"id,behavior_label\nalpaca-000,maybe\n", "row 1, column \"behavior_label\": 'maybe'"),
    "two labels": (b"id,behavior_label\nalpaca-000,1\nalpaca-000,0\n", 'row 2, column "behavior_label": id'),
    "an Excel file": (b"PK\x03\x04", "is a zip archive .*CSV, TSV, Parquet"),
    "nothing": (b"", "is empty"),
    "blanks": (b" \n\n", "is empty"),
    "a header": (b"id,behavior_label\n", "a header and no rows"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_study_and_label_refuse_the_same_files_in_the_same_words(kind: str, tmp_path: Path) -> None:
    content, message = BROKEN[kind]
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message) as by_label:
        read_labels(path)
    with pytest.raises(TableError) as by_study:
        read_table(TABLE.drop("behavior_label"), labels=path)
    assert str(by_label.value) == str(by_study.value)
    assert str(by_label.value).startswith(str(path))
    assert "\n" not in str(by_label.value)


@pytest.mark.parametrize(
    ("content", "kept", "skipped"),
    [
        (b"id,behavior_label\na,1\nb\nc,0,5\nd,maybe\n,1\nf,0\n", ["a", "f"], [2, 3, 4, 5]),
        (b'{"id": "a", "behavior_label": 1}\n{"id": \n[1]\n{"id": "d"}\n{"id": "e", "behavior_label": 0}\n',
         ["a", "e"], [2, 3, 4]),
        (b'[{"id": "a", "behavior_label": 1}, 7, {"id": "c", "behavior_label": 2}]', ["a"], [2, 3]),
    ],
)  # fmt: skip
def test_bad_records_are_left_out_and_listed_when_asked_for(
    content: bytes, kept: list[str], skipped: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "labels.any"
    path.write_bytes(content)
    assert read_labels(path, errors="skip").get_column("id").to_list() == kept
    frame = head_table(n_samples=6, datasets=("x",)).with_columns(pl.col("id").replace_strict(
        [f"x-{index:03d}" for index in range(6)], list("abcdef")
    ))  # fmt: skip
    ledger = read_table(frame.drop("behavior_label"), labels=path, errors="skip").ledger
    assert [int(line.split("row ")[1].split(":")[0].split(",")[0]) for line in ledger.malformed] == skipped
    with pytest.raises(TableError):
        read_table(frame.drop("behavior_label"), labels=path)


def test_a_file_without_a_good_record_is_refused_also_when_records_may_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,behavior_label\na\nb\n")
    with pytest.raises(TableError, match="none of 2 records can be used; row 1: "):
        read_labels(path, errors="skip")


def test_one_malformed_record_of_five_hundred(tmp_path: Path) -> None:
    frame = head_table(n_samples=42)
    lines = frame.write_csv().splitlines()
    lines[77] = lines[77].rsplit(",", 1)[0]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TableError, match=r"row 77: .*7 cells where the header has 8; the row is not whole"):
        read_table(path)
    ledger = read_table(path, errors="skip").ledger
    assert ledger.entries["malformed record"] == 1
    assert (ledger.n_read, ledger.n_kept) == (frame.height, frame.height - 1)
    assert "row 77" in ledger.malformed[0]


@pytest.mark.parametrize("column", ["behavior_label", "PAM_norm", "id"])
def test_a_part_that_lacks_a_column_is_named(column: str, tmp_path: Path) -> None:
    for index, part in enumerate(TABLE.iter_slices(32)):
        part.drop(column if index == 1 else []).write_parquet(tmp_path / f"part-{index}.parquet")
    with pytest.raises(TableError, match=rf'part-1.parquet, column "{column}": is lacking in this part'):
        read_table(tmp_path)
    TABLE.head(0).drop(column).write_parquet(tmp_path / "part-1.parquet")
    assert read_table(tmp_path).ledger.n_read == TABLE.height - 32


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_numbers_with_decimal_commas_are_the_same_table(separator: str, tmp_path: Path) -> None:
    commas = TABLE.with_columns(pl.col(METRICS).cast(pl.String).str.replace(".", ",", literal=True))
    path = tmp_path / "table.csv"
    commas.write_csv(path, separator=separator)
    assert read_table(path).frame.equals(read_table(TABLE).frame)


def test_a_number_that_may_be_thousands_is_refused_and_never_divided() -> None:
    frame = TABLE.with_columns(lift=pl.lit("1,234"))
    with pytest.raises(TableError, match='row 1, column "lift": "1,234" may be a decimal number or thousands'):
        read_table(frame, metrics=("lift",))
    mixed = TABLE.with_columns(lift=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("0,5")).otherwise(pl.lit("0.5")))
    assert read_table(mixed, metrics=("lift",)).ledger.entries["not finite"] == 1


def test_frames_with_columns_of_one_name_are_refused() -> None:
    doubled = pd.concat([LABELS.to_pandas(), LABELS.to_pandas()[["id"]]], axis=1)
    with pytest.raises(TableError, match="two columns of the same name: id"):
        read_labels(doubled)
    table = pa.table([["a"], [1], ["b"]], names=["id", "behavior_label", "id"])
    with pytest.raises(TableError, match="two columns of the same name: id"):
        read_labels(table)


def test_columns_of_a_dict_must_have_one_length() -> None:
    with pytest.raises(TableError, match="differ in length"):
        read_source({"id": ["a", "b"], "behavior_label": [1]})
    assert read_source({"id": ["a", "b"], "behavior_label": 1}).frame.rows() == [("a", 1), ("b", 1)]


def test_only_the_wanted_columns_are_read_and_nested_ones_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    pl.DataFrame({"id": ["a"], "nested": [[{"x": 1}]], "other": [2]}).write_parquet(path)
    source = read_source(path, wanted={"id"})
    assert (source.frame.columns, source.columns) == (["id"], ("id", "nested", "other"))
    assert read_records(path).entries == ({"id": "a", "nested": [{"x": 1}], "other": 2},)


@pytest.mark.parametrize("kind", ["semicolon", "gzip", "Arrow file", "JSON lines '\\u2028'"])
def test_conversations_and_pairs_are_read_from_the_same_kinds(kind: str, tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": ["a"], "question": ["Q?"], "positive": ["P"], "negative": ["N"]})
    file = io.BytesIO()
    rows.write_ipc(file)
    content = {
        "semicolon": rows.write_csv(separator=";").encode(),
        "gzip": gzip.compress(rows.write_csv().encode()),
        "Arrow file": file.getvalue(),
        "JSON lines '\\u2028'": json.dumps(rows.to_dicts()[0] | {"positive": "P\u2028"}, ensure_ascii=False).encode(),
    }[kind]
    path = tmp_path / "pairs.any"
    path.write_bytes(content)
    assert [(pair.id, pair.positive.strip()) for pair in read_pairs(path)] == [("a", "P")]
    (found,) = read_conversations(path, ignore=["positive", "negative"])
    assert (found.id, found.messages[0].content[-2:]) == ("a", "Q?")


def test_one_bad_pair_is_named_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("id,question,positive,negative\na,Q,P,N\nb,Q,P,\nc,Q,P,P\nd,Q,P,N\nd,Q,P,N\n")
    with pytest.raises(TableError, match='row 2, column "negative": is empty'):
        read_pairs(path)
    pairs = read_pairs(path, errors="skip")
    assert [pair.id for pair in pairs] == ["a", "d"]
    assert [one.row for one in pairs.skipped] == [2, 3, 5]
