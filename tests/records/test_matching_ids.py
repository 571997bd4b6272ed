"""Labels go to the sample they are of: by dataset where ids are shared, however ids are written where it is certain."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from foretell.errors import TableError
from foretell.stats.heads.out_of_core import stream_association
from foretell.stats.table.joined import StudyTable, read_table
from tests.stats.tables import head_table


def with_ids(ids: list[Any], *, datasets: tuple[str, ...] = ("a",)) -> pl.DataFrame:
    """Return a table without labels whose samples have these ids in every dataset."""
    frame = head_table(n_samples=len(ids), datasets=datasets).drop("behavior_label")
    place = frame.get_column("id").str.tail(3).cast(pl.Int64).to_list()
    return frame.with_columns(pl.Series("id", [ids[index] for index in place]))


def labelled(found: StudyTable) -> dict[str, int]:
    return dict(found.samples.select("id", "behavior_label").iter_rows())


def test_a_label_of_an_id_that_datasets_share_needs_the_dataset(tmp_path: Any) -> None:
    table = with_ids(["0", "1"], datasets=("x", "y"))
    labels = tmp_path / "labels.csv"
    labels.write_text("id,behavior_label\n0,0\n1,1\n")
    message = r'labels.csv, column "dataset": the id "0" is in several datasets \(x, y\): the column dataset is needed'
    with pytest.raises(TableError, match=message):
        read_table(table, labels=labels)
    path = tmp_path / "table.parquet"
    table.sort("dataset", "layer", "head", "id").write_parquet(path)
    for n_rows in (1, 10_000):
        with pytest.raises(TableError, match="is in several datasets"):
            stream_association(path, labels=labels, n_permutations=0, n_rows=n_rows, progress=False)
    labels.write_text("id,dataset,behavior_label\n0,x,0\n1,x,1\n0,y,1\n1,y,0\n")
    assert read_table(table, labels=labels).samples.get_column("behavior_label").to_list() == [0, 1, 1, 0]
    pairs = {("x", "0"): 0, ("x", "1"): 1, ("y", "0"): 1, ("y", "1"): 0}
    assert read_table(table, labels=pairs).samples.get_column("behavior_label").to_list() == [0, 1, 1, 0]


def test_a_table_without_datasets_needs_them_where_its_labels_share_ids() -> None:
    labels = pl.DataFrame({"id": ["0", "1"] * 2, "dataset": ["x"] * 2 + ["y"] * 2, "behavior_label": [0, 1, 1, 0]})
    with pytest.raises(TableError, match=r'column "dataset": the id "0" is in several datasets \(x, y\)'):
        read_table(with_ids(["0", "1"]).drop("dataset"), labels=labels)


def test_ids_that_datasets_share_are_no_trouble_where_no_label_has_them() -> None:
    table = with_ids(["0", "1", "2"], datasets=("x", "y")).filter((pl.col("dataset") == "x") | (pl.col("id") == "2"))
    assert labelled(read_table(table, labels={"0": 0, "1": 1})) == {"0": 0, "1": 1}


@pytest.mark.parametrize(
    ("table", "labels"),
    [
        (["007", "008", "100"], [7, 8, 100]),
        ([7, 8, 100], ["007", "008", "100"]),
        (["7", "8", "9"], ["7.0", "8.0", "9.0"]),
        ([7.0, 8.0, 9.0], ["07", "08", "09"]),
        ([7, 8, 9], [7.0, 8.0, 9.0]),
        ([100000, 200000], ["1e+05", "2e+05"]),
        (["caf\u00e9", "x"], ["cafe\u0301", "x"]),
        ([" a", "b "], ["a", "b"]),
    ],
)
def test_ids_written_in_another_way_are_joined_where_it_is_certain(table: list[Any], labels: list[Any]) -> None:
    frame = pl.DataFrame({"id": labels, "behavior_label": [index % 2 for index in range(len(labels))]}, strict=False)
    found = read_table(with_ids(table), labels=frame)
    assert found.ledger.unmatched_table_ids == found.ledger.unmatched_label_ids == ()
    assert sorted(labelled(found).values()) == sorted(frame.get_column("behavior_label").to_list())
    same = all(isinstance(one, str) for one in table) and {str(one).strip() for one in table} == set(map(str, labels))
    plain = [str(int(one)) if isinstance(one, float) else str(one).strip() for one in (*table, *labels)]
    if not same and set(plain[: len(table)]) != set(plain[len(table) :]):
        assert any("written in another way" in note for note in found.ledger.notes)


def test_half_of_the_ids_with_lost_zeros_are_not_lost() -> None:
    found = read_table(with_ids(["001", "002", "100", "101"]), labels={"1": 0, "2": 1, "100": 0, "101": 1})
    assert labelled(found) == {"001": 0, "002": 1, "100": 0, "101": 1}
    assert any("2 ids of <DataFrame> are the same numbers" in note for note in found.ledger.notes)


@pytest.mark.parametrize(
    ("table", "labels"),
    [(["7", "07", "8"], ["007", "8"]), (["07", "8"], ["7", "007", "8"]), (["7", "07"], ["7", "007"])],
)
def test_ids_that_could_match_in_two_ways_are_refused(table: list[str], labels: list[str]) -> None:
    with pytest.raises(TableError, match=r'column "id": the id "0*7" may be "0*7" of .*leading zeros lost'):
        read_table(with_ids(table), labels={name: index % 2 for index, name in enumerate(labels)})


def test_equal_texts_match_whatever_else_is_there() -> None:
    assert labelled(read_table(with_ids(["7", "07"]), labels={"7": 0, "07": 1})) == {"7": 0, "07": 1}


def test_ids_that_differ_in_case_are_not_joined_but_named() -> None:
    found = read_table(with_ids(["A1", "b"]), labels={"a1": 0, "b": 1})
    assert found.ledger.unmatched_label_ids == ("a1",)
    assert any('differ only in upper case or blanks and were not joined, such as "a1" and "A1"' in note
               for note in found.ledger.notes)  # fmt: skip


LONG = 2**53 + 2


@pytest.mark.parametrize(
    "ids", [[float(LONG), float(LONG + 2)], ["9.007199254740994e+15", "9.007199254740996e+15"]], ids=["numbers", "text"]
)
def test_ids_that_a_float_has_rounded_are_refused_on_either_side(ids: list[Any]) -> None:
    exact = [str(LONG), str(LONG + 2)]
    with pytest.raises(TableError, match=r'row 1, column "id": .*lost digits as a float; write ids as text'):
        read_table(with_ids(ids), labels=dict.fromkeys(exact, 1))
    with pytest.raises(TableError, match=r'row 1, column "id": .*lost digits as a float; write ids as text'):
        read_table(with_ids(exact), labels=pl.DataFrame({"id": ids, "behavior_label": [0, 1]}))
    assert read_table(with_ids([LONG, LONG + 1]), labels={LONG: 0, LONG + 1: 1}).samples.height == 2


def test_float32_ids_are_exact_up_to_2_to_the_24() -> None:
    frame = with_ids([1, 2**24 + 1]).with_columns(pl.col("id").cast(pl.Float32))
    with pytest.raises(TableError, match="lost digits as a float"):
        read_table(frame, labels={"1": 0, str(2**24 + 1): 1})
