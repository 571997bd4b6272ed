"""Reading, joining and cleaning: what a table is worth must not depend on how it was written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from foretell.errors import TableError
from foretell.records.cells import parse_integer, parse_label
from foretell.schema.tables import MASSES
from foretell.stats.table.cleaning import REASONS
from foretell.stats.table.contents import in_order
from foretell.stats.table.dense import dense_dataset
from foretell.stats.table.joined import StudyTable, read_table
from foretell.storage.runs import Run as RunOnDisk
from tests.stats.tables import METRICS, head_table


def dropped(table: StudyTable) -> dict[str, int]:
    return {reason: n_rows for reason, n_rows in table.ledger.entries.items() if n_rows}


def same(first: StudyTable, second: StudyTable) -> bool:
    return first.frame.equals(second.frame) and first.samples.equals(second.samples)


class Run:
    """Stands for a run: something whose `table()` is the frame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def table(self) -> pl.DataFrame:
        return self.frame


def _folder(frame: pl.DataFrame, path: Path) -> None:
    path.mkdir()
    for index, part in enumerate(frame.iter_slices(50)):
        part.write_parquet(path / f"part-{index:03d}.parquet")


WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "csv": lambda frame, path: frame.write_csv(path),
    "csv.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.write_csv().encode())),
    "tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "parquet": lambda frame, path: frame.write_parquet(path),
    "arrow": lambda frame, path: frame.write_ipc(path),
    "jsonl": lambda frame, path: frame.write_ndjson(path),
    "json": lambda frame, path: frame.write_json(path),
    "folder": _folder,
}
MAKERS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "pandas": lambda frame: frame.to_pandas(),
    "pandas objects": lambda frame: frame.to_pandas().astype(object),
    "pyarrow": lambda frame: frame.to_arrow(),
    "run": Run,
}


def written(frame: pl.DataFrame, folder: Path, kind: str) -> Any:
    """Return the frame as a file or object of a kind."""
    if kind in MAKERS:
        return MAKERS[kind](frame)
    path = folder / f"table.{kind}"
    WRITERS[kind](frame, path)
    return path


@pytest.mark.parametrize("kind", [*WRITERS, *MAKERS])
def test_every_way_of_writing_a_table_gives_the_same_one(kind: str, tmp_path: Path) -> None:
    frame = head_table()
    expected = read_table(frame)
    found = read_table(written(frame, tmp_path, kind))
    assert same(found, expected)
    assert found.ledger.entries == expected.ledger.entries
    assert found.ledger.n_dropped == 0
    assert found.validity == expected.validity


@pytest.mark.parametrize("kind", ["csv", "parquet", "pandas"])
def test_the_troubles_of_the_source_change_nothing_but_the_ledger(kind: str, tmp_path: Path) -> None:
    frame = head_table()
    clean = read_table(frame)
    text = frame.with_columns(
        pl.col("layer").cast(pl.String), pl.col("head").cast(pl.String), pl.col("behavior_label").cast(pl.Float64)
    )
    first = text.head(12)
    troubles = pl.concat(
        [
            first.with_columns(behavior_label=pl.lit(None, dtype=pl.Float64), id=pl.lit("unlabelled")),
            first.head(5).with_columns(layer=pl.lit("avg")),
            first.head(4).with_columns(layer=pl.lit("-1")),
            first.head(3).with_columns(head=pl.lit("h3")),
            first.head(2).with_columns(layer=pl.lit("first")),
            first.head(6),
            first.slice(6, 2).with_columns(PAM_norm=pl.lit(float("nan")), head=pl.lit("90")),
            first.slice(6, 1).with_columns(PAM_norm=pl.lit(float("inf")), head=pl.lit("91")),
            first.slice(6, 1).with_columns(PAM_norm=pl.lit(-0.5), head=pl.lit("92")),
            first.slice(6, 1).with_columns(PAM_norm=pl.lit(0.9), QAM_norm=pl.lit(0.9), head=pl.lit("93")),
        ]
    )
    spoilt = text.with_columns(head=pl.col("head") + ".0", layer=pl.lit(" ") + pl.col("layer") + " ")
    table = pl.concat([troubles, spoilt]).sample(fraction=1, shuffle=True, seed=2)
    found = read_table(written(table, tmp_path, kind))
    assert same(found, clean)
    assert dropped(found) == {
        "label null": 12,
        "layer average": 9,
        "layer not an integer": 2,
        "head not an integer": 3,
        "not finite": 3,
        "negative": 1,
        "sum off": 1,
        "duplicate key": 6,
    }
    assert found.ledger.n_read - found.ledger.n_kept == found.ledger.n_dropped == 37
    assert found.validity.max_deviation == clean.validity.max_deviation
    assert found.validity.max_deviation_read == pytest.approx(0.8 + first["SAM_norm"][6], abs=0.5)


def test_every_reason_is_in_the_ledger_even_when_nothing_was_dropped() -> None:
    assert read_table(head_table()).ledger.entries == dict.fromkeys(REASONS, 0)


def test_row_order_changes_nothing() -> None:
    frame = pl.concat([head_table(), head_table().head(7).with_columns(layer=7 - pl.col("layer"))])
    shuffled = frame.sample(fraction=1, shuffle=True, seed=5)
    first, second = (read_table(one.filter(pl.col("dataset") == "alpaca")) for one in (frame, shuffled))
    assert same(first, second)
    assert first.ledger == second.ledger


def test_duplicates_that_differ_are_all_dropped_because_nobody_knows_which_is_right() -> None:
    frame = head_table()
    other = frame.head(1).with_columns(PAM_norm=pl.col("QAM_norm"), QAM_norm=pl.col("PAM_norm"))
    found = read_table(pl.concat([frame, other, other, frame.slice(1, 1)]))
    assert dropped(found) == {"duplicate key": 1, "duplicate key, values differ": 3}
    assert found.ledger.n_kept == frame.height - 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), ("3.0", 3), (" 3 ", 3), ("+3", 3), ("3.", 3), ("h3", None), ("3.5", None), ("-1", None), ("", None),
     ("2147483647", 2147483647), ("2147483648", None), ("9" * 40, None), ("3e0", None), (3, 3), (3.0, 3), (3.5, None),
     (float("nan"), None), (float("inf"), None), (-1, None), (2**40, None), (True, None), (None, None)],
)  # fmt: skip
def test_integers_differ_from_what_only_looks_like_them(value: object, expected: int | None) -> None:
    frame = pl.DataFrame({"head": [value]})
    assert frame.select(parse_integer(frame, "head")).item() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, None], [0, 1, None]),
        ([0.0, 1.0, float("nan")], [0, 1, None]),
        ([True, False, None], [1, 0, None]),
        (["0", "1", ""], [0, 1, None]),
        (["0.0", "1.0", "NaN"], [0, 1, None]),
        (["True", "FALSE", "null"], [1, 0, None]),
        ([" Yes", "no ", "N/A"], [1, 0, None]),
    ],
)
def test_labels_are_understood(values: list[object], expected: list[int | None]) -> None:
    assert parse_label(pl.DataFrame({"y": values}), "y", name="t").to_list() == expected


@pytest.mark.parametrize("values", [[0, 2], [0.5], ["maybe"], ["1", "safe"], [[1]], [-1]])
def test_an_invalid_label_is_refused_with_its_row(values: list[object]) -> None:
    with pytest.raises(TableError, match=f'labels.csv, row {len(values)}, column "y"'):
        parse_label(pl.DataFrame({"y": values}), "y", name="labels.csv")


def test_labels_are_joined_by_id_and_both_sides_are_accounted_for(tmp_path: Path) -> None:
    frame = head_table(datasets=("alpaca",))
    labels = frame.select("id", "behavior_label").unique().sort("id")
    path = tmp_path / "labels.jsonl"
    extra = pl.DataFrame({"id": ["stranger"], "behavior_label": [1]}, schema=labels.schema)
    pl.concat([labels.tail(-2), extra]).write_ndjson(path)
    found = read_table(frame.drop("behavior_label"), labels=path)
    assert found.ledger.unmatched_table_ids == ("alpaca-000", "alpaca-001")
    assert found.ledger.unmatched_label_ids == ("stranger",)
    assert dropped(found) == {"label null": 12}
    expected = read_table(frame.filter(~pl.col("id").is_in(["alpaca-000", "alpaca-001"])))
    assert same(found, expected)


def test_labels_bring_groups_strata_and_baselines() -> None:
    frame = head_table(datasets=("alpaca",))
    labels = frame.group_by("id").agg(pl.col("behavior_label").first()).with_columns(
        group=pl.col("id").str.tail(1), stratum=pl.lit("list"), n_tokens_query=pl.lit(7), mean_logprob=pl.lit("-0.5")
    )  # fmt: skip
    data = dense_dataset(read_table(frame, labels=labels), "alpaca")
    assert np.unique(data.group).size == 10
    assert data.stratum is not None
    assert set(data.stratum) == {"list"}
    assert set(data.baselines) == {"n_tokens_query", "mean_logprob"}
    np.testing.assert_array_equal(data.baselines["mean_logprob"], np.full(20, -0.5))


ANSWERS = ["NA", ' two, "quoted"\nlines ', None, *(f"answer {index}" for index in range(17))]
"""One per sample; one is a word that elsewhere means missing, one has blanks at both ends."""


def _answered(frame: pl.DataFrame) -> pl.DataFrame:
    ids = frame.get_column("id").unique().sort()
    return pl.DataFrame({"id": ids, "answer": ANSWERS}, schema_overrides={"answer": pl.String})


@pytest.mark.parametrize("kind", [*WRITERS, *MAKERS])
def test_answers_come_through_as_they_are_written_one_per_sample(kind: str, tmp_path: Path) -> None:
    frame = head_table(datasets=("alpaca",))
    rows = frame.join(_answered(frame), on="id").sample(fraction=1, shuffle=True, seed=1)
    found = read_table(written(rows, tmp_path, kind))
    assert "answer" not in found.frame.columns
    assert found.samples.schema["answer"] == pl.String
    data = dense_dataset(found, "alpaca")
    assert data.answer == tuple(ANSWERS)
    order = np.arange(20)[::-1]
    assert in_order(data, order).answer == tuple(reversed(ANSWERS))


def test_an_answer_may_be_in_some_rows_of_its_sample_only() -> None:
    frame = head_table(datasets=("alpaca",))
    rows = frame.join(_answered(frame), on="id").with_columns(pl.when(head=0, layer=1).then("answer").alias("answer"))
    for one in (rows, rows.reverse()):
        assert dense_dataset(read_table(one), "alpaca").answer == tuple(ANSWERS)


def test_a_run_s_answers_are_those_of_its_samples_and_of_its_exported_table(tmp_path: Path) -> None:
    frame = head_table(datasets=("alpaca",))
    facts = _answered(frame).with_columns(dataset=pl.lit("alpaca"), messages=pl.lit("[]"), model=pl.lit("toy"))
    run = RunOnDisk.create(tmp_path / "run", {"model": "toy"})
    attention = frame.with_columns(pl.lit(0.2).alias(mass) for mass in MASSES)
    run.append("part", {"samples": facts.with_columns(group="id"), "attention": attention})
    run.write_labels(frame.group_by("id").agg(pl.col("behavior_label").first(), label_source=pl.lit("file")))
    run.table().write_csv(tmp_path / "table.csv")
    for source in (run, tmp_path / "run", tmp_path / "table.csv"):
        assert dense_dataset(read_table(source), "alpaca").answer == tuple(ANSWERS)


def test_answers_of_the_labels_go_before_those_of_the_table() -> None:
    frame = head_table(datasets=("alpaca",))
    labels = frame.group_by("id").agg(pl.col("behavior_label").first()).join(_answered(frame), on="id")
    others = frame.with_columns(answer=pl.lit("another"))
    for table in (frame, others):
        found = read_table(table, labels=labels)
        assert dense_dataset(found, "alpaca").answer == tuple(ANSWERS)
    assert '"answer" was taken from <DataFrame>, not from <DataFrame>' in found.ledger.notes
    kept = read_table(others, labels=labels.drop("answer"))
    assert set(kept.samples.get_column("answer")) == {"another"}


def test_a_column_of_answers_that_is_the_group_is_no_answer() -> None:
    frame = head_table(datasets=("alpaca",))
    found = read_table(frame.join(_answered(frame), on="id"), group="answer").samples
    assert found.get_column("group").head(4).to_list() == [
        "alpaca-000",
        'two, "quoted"\nlines',
        "alpaca-002",
        "answer 0",
    ]
    assert "answer" not in found.columns
    assert "answer" not in read_table(frame).samples.columns


def test_a_labels_file_goes_before_labels_in_the_table_and_says_so() -> None:
    frame = head_table(datasets=("alpaca",))
    flipped = frame.group_by("id").agg(behavior_label=1 - pl.col("behavior_label").first())
    found = read_table(frame, labels=flipped)
    assert (
        found.samples.get_column("behavior_label").to_list()
        == (1 - read_table(frame).samples.get_column("behavior_label")).to_list()
    )
    assert found.ledger.notes == ('"behavior_label" was taken from <DataFrame>, not from <DataFrame>',)


def test_the_same_id_in_two_datasets_is_two_samples() -> None:
    frame = head_table().with_columns(pl.col("id").str.tail(3))
    labels = frame.select("id", "dataset", "behavior_label").unique()
    found = read_table(frame.drop("behavior_label"), labels=labels)
    assert found.samples.height == 40
    assert same(found, read_table(frame))


def test_the_dataset_may_come_from_the_labels() -> None:
    frame = head_table()
    labels = frame.select("id", "dataset", "behavior_label").unique()
    assert same(read_table(frame.drop("behavior_label", "dataset"), labels=labels), read_table(frame))


@pytest.mark.parametrize("ids", [[7, 8, 9, 10], [7.0, 8.0, 9.0, 10.0], ["7", "8", "9", "10"]])
def test_ids_are_text_always(ids: list[Any]) -> None:
    frame = head_table(n_samples=4, datasets=("a",))
    names = frame.get_column("id").unique().sort().to_list()
    table = frame.with_columns(pl.col("id").replace_strict(names, ids))
    labels = pl.DataFrame({"id": ["7", "8", "9", "10"], "behavior_label": [0, 1, 0, 1]})
    found = read_table(table.drop("behavior_label"), labels=labels)
    assert found.samples.get_column("id").to_list() == ["10", "7", "8", "9"]
    assert found.samples.get_column("behavior_label").to_list() == [1, 0, 1, 0]


def test_groups_and_strata_by_column_or_mapping() -> None:
    frame = head_table(datasets=("alpaca",)).with_columns(topic=pl.col("id").str.tail(1))
    by_column = read_table(frame, group="topic", stratum="topic")
    mapping = {name: name[-1] for name in frame.get_column("id").unique()}
    assert same(by_column, read_table(frame, group=mapping, stratum=mapping))
    assert by_column.samples.get_column("group").n_unique() == 10
    assert read_table(frame).samples.get_column("group").n_unique() == 20
    assert read_table(frame).samples.get_column("stratum").null_count() == 20


def test_metrics_need_not_be_shares() -> None:
    frame = head_table().with_columns(
        lift=pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise(pl.col("PAM_norm") * 9 - 2)
    )
    found = read_table(frame, metrics=("lift", "PAM_norm"))
    assert found.validity.max_deviation is None
    assert not found.compositional
    assert found.frame.get_column("lift").null_count() == found.validity.n_not_finite == 48
    assert np.isnan(dense_dataset(found, "flan").values[..., 0]).sum() == 24
    alone = read_table(frame, metrics=("lift",))
    assert dropped(alone) == {"not finite": 48}


def test_the_sum_is_checked_to_the_tolerance_that_was_set() -> None:
    frame = head_table().with_columns(SAM_norm=pl.col("SAM_norm") + 1e-4)
    assert read_table(frame, sum_tolerance=1e-3).validity.max_deviation == pytest.approx(1e-4)
    assert read_table(frame, compositional=False).ledger.n_dropped == 0
    with pytest.raises(TableError, match=r"no row is left after cleaning \(240 read: 240 sum off"):
        read_table(frame)


def test_which_layers_are_averages_is_a_setting() -> None:
    frame = head_table().with_columns(layer=pl.when(pl.col("layer") == 1).then(pl.lit("all")).otherwise(pl.lit("0")))
    assert dropped(read_table(frame, layer_average=("ALL",))) == {"layer average": 120}
    assert dropped(read_table(frame)) == {"layer not an integer": 120}


def one_label_flipped(frame: pl.DataFrame) -> pl.DataFrame:
    label = pl.col("behavior_label")
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 9).then(1 - label).otherwise(label).alias("behavior_label")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("PAM_norm"), r'column "PAM_norm": the column is missing.*columns there: id, dataset'),
        (lambda f: f.rename({"PAM_norm": "pam_norm"}), r'did you mean "pam_norm"'),
        (lambda f: f.rename({"behavior_label": "behaviour_label"}), r'column "behavior_label".*"behaviour_label"'),
        (lambda f: f.drop("dataset"), r'column "dataset": the column is missing'),
        (lambda f: f.clear(), "the table has no rows"),
        (one_label_flipped, r'column "behavior_label": id "alpaca-001" has both labels'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_in_one_line(change: Any, message: str, tmp_path: Path) -> None:
    for source in (change(head_table()), written(change(head_table()), tmp_path, "parquet")):
        with pytest.raises(TableError, match=message) as caught:
            read_table(source)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2


def test_no_id_in_common_shows_one_of_each_side() -> None:
    frame = head_table(datasets=("alpaca",))
    labels = pl.DataFrame({"id": ["x1"], "behavior_label": [1]})
    with pytest.raises(TableError, match=r'no id in common.*the table has "alpaca-000", the labels have "x1"'):
        read_table(frame, labels=labels)
    other = frame.select("id", "behavior_label", dataset=pl.lit("Alpaca")).unique()
    with pytest.raises(TableError, match=r"the ids agree but the datasets do not \(labels: Alpaca\)"):
        read_table(frame, labels=other)


def test_two_labels_of_one_id_in_the_labels_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,behavior_label\nalpaca-000,1\nalpaca-001,\nalpaca-000,0\n")
    with pytest.raises(TableError, match=r'labels.csv, row 3, column "behavior_label": id "alpaca-000" has both'):
        read_table(head_table(), labels=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"id,layer\n", "a header and no rows"),
        (b"id,layer\n1,2\n1,2,3\n", "row 2: cannot be read as CSV: 3 cells where the header has 2"),
        (b"id,layer\n1,2\n\xff,3\n", "row 2: cannot be read as CSV: not UTF-8"),
        ("id,layer\n1,2\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_broken_csv_file_says_where(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_table(path)


def test_missing_and_unknown_files_have_different_messages(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="there is no such file or folder"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(TableError, match=r"holds no .parquet file"):
        read_table(tmp_path)
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04x")
    with pytest.raises(
        TableError, match=r"table.xlsx: is a zip archive \(such as an Excel file\), which is not read: CSV"
    ):
        read_table(tmp_path / "table.xlsx")
    with pytest.raises(TableError, match="a int is not a table"):
        read_table(7)


def test_pandas_frames_of_mixed_objects_are_read() -> None:
    frame = head_table(n_samples=6)
    mixed = frame.to_pandas()
    mixed["head"] = [str(value) if index % 2 else float(value) for index, value in enumerate(mixed["head"])]
    mixed["layer"] = mixed["layer"].astype(object)
    mixed["behavior_label"] = mixed["behavior_label"].astype("Int64")
    mixed["dataset"] = pd.Categorical(mixed["dataset"])
    averages = mixed.head(3).assign(layer="avg")
    found = read_table(pd.concat([mixed, averages.astype(object)], ignore_index=True))
    assert same(found, read_table(frame))
    assert dropped(found) == {"layer average": 3}


def test_dense_has_one_order_and_nan_where_rows_are_missing() -> None:
    frame = head_table(datasets=("alpaca",)).filter(
        ~((pl.col("id") == "alpaca-003") & (pl.col("layer") == 1) & (pl.col("head") == 0))
    )
    table = read_table(frame.sample(fraction=1, shuffle=True, seed=1))
    data = dense_dataset(table, "alpaca")
    assert data.values.shape == (20, 2, 3, 3)
    assert np.isnan(data.values).sum() == 3
    assert np.isnan(data.values[3, 1, 0]).all()
    for row in frame.sample(30, seed=3).iter_rows(named=True):
        cell = data.values[data.ids.index(row["id"]), data.layers.index(row["layer"]), data.heads.index(row["head"])]
        assert cell.tolist() == [row[metric] for metric in METRICS]
        assert data.label[data.ids.index(row["id"])] == row["behavior_label"]
    index = data.column_index().row(10, named=True)
    place = (data.layers.index(index["layer"]), data.heads.index(index["head"]), METRICS.index(index["metric"]))
    np.testing.assert_array_equal(data.columns[:, 10], data.values[(slice(None), *place)])


def test_a_dataset_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(TableError, match='no dataset "x"; there are: alpaca, flan'):
        dense_dataset(read_table(head_table()), "x")
