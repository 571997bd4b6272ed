"""Streamed or in memory, straight or split: the numbers are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.errors import InputError, TableError
from foretell.stats.heads.association import association
from foretell.stats.heads.out_of_core import StreamedAssociation, stream_association
from foretell.stats.heads.sorted_parquet import NotSortedError, sorted_blocks
from foretell.stats.table.joined import read_table
from tests.jobs.test_ray_pool import by_script
from tests.stats.tables import METRICS, head_table

ORDER = ("dataset", "layer", "head", "id")


def assert_same(found: StreamedAssociation, source: Any, *, n_permutations: int = 49, **options: Any) -> None:
    table = read_table(source, **options)
    expected = association(table, n_permutations=n_permutations, progress=False)
    assert found.frame.schema == expected.schema
    for name in expected.columns:
        first, second = found.frame.get_column(name), expected.get_column(name)
        if first.dtype == pl.Float64:
            assert first.is_null().equals(second.is_null())
            np.testing.assert_allclose(first.drop_nulls(), second.drop_nulls(), rtol=1e-10, atol=1e-12)
        else:
            assert first.equals(second, null_equal=True)
    assert found.ledger == table.ledger
    assert found.validity == table.validity


def sorted_table(**options: Any) -> pl.DataFrame:
    return head_table(n_samples=12, n_layers=3, effect=1.0, **options).sort(ORDER)


@pytest.mark.parametrize("n_rows", [1, 7, 12, 50, 10_000])
def test_a_sorted_file_is_read_in_one_pass_whatever_the_chunk_size(n_rows: int, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = sorted_table()
    frame.write_parquet(path)
    found = stream_association(path, n_permutations=49, n_rows=n_rows, progress=False)
    assert_same(found, frame)
    assert found.sorted_parquet or n_rows < 12


def test_samples_may_be_in_any_order_that_is_the_same_for_all_heads(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = sorted_table().sort("dataset", "layer", "head", pl.col("id").str.reverse())
    frame.write_parquet(path)
    found = stream_association(path, n_permutations=49, progress=False)
    assert found.sorted_parquet
    assert_same(found, frame)


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    frame = sorted_table()
    for index, part in enumerate(frame.iter_slices(31)):
        part.write_parquet(tmp_path / f"part-{index:03d}.parquet")
    found = stream_association(tmp_path, n_permutations=49, progress=False)
    assert found.sorted_parquet
    assert_same(found, frame)


def test_labels_groups_and_float32_go_straight_too(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = sorted_table(datasets=("alpaca",)).with_columns(pl.col(METRICS).cast(pl.Float32))
    frame.drop("behavior_label").write_parquet(path)
    labels = frame.group_by("id").agg(pl.col("behavior_label").first()).with_columns(group=pl.col("id").str.tail(1))
    labels = pl.concat([labels, labels.head(1).with_columns(id=pl.lit("stranger"))])
    found = stream_association(path, labels=labels, n_permutations=49, progress=False)
    assert found.sorted_parquet
    assert found.ledger.unmatched_label_ids == ("stranger",)
    assert_same(found, frame.drop("behavior_label"), labels=labels)


@pytest.mark.parametrize("sorted_parquet", [True, False])
def test_labels_are_permuted_within_strata_sorted_or_not(sorted_parquet: bool, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = sorted_table().with_columns(stratum=pl.col("id").str.tail(1).str.replace_all("[3-9]", "odd"))
    frame = frame if sorted_parquet else frame.sort("layer", "id", "head", "dataset")
    frame.write_parquet(path)
    found = stream_association(path, n_permutations=49, n_rows=100, progress=False)
    assert found.sorted_parquet == sorted_parquet
    assert_same(found, frame)
    mapping = {str(name): "one kind" for name in frame.get_column("id").unique()}
    constant = stream_association(path, stratum=mapping, n_permutations=49, progress=False)
    assert_same(constant, frame, stratum=mapping)
    assert not constant.frame.get_column("p_max").equals(found.frame.get_column("p_max"))


def broken(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    row = pl.int_range(pl.len())
    match kind:
        case "shuffled":
            return frame.sample(fraction=1, shuffle=True, seed=3)
        case "by sample":
            return frame.sort("dataset", "id", "layer", "head")
        case "gap":
            return frame.filter(row != 40)
        case "missing value":
            return frame.with_columns(PAM_norm=pl.when(row != 40).then("PAM_norm"))
        case "missing label":
            return frame.with_columns(behavior_label=pl.when(pl.col("id") != "flan-003").then("behavior_label"))
        case "averages":
            text = frame.with_columns(pl.col("layer").cast(pl.String))
            return pl.concat([text, text.head(12).with_columns(layer=pl.lit("avg"))])
        case "text heads":
            return frame.with_columns(head=pl.col("head").cast(pl.String) + ".0")
        case "twice":
            return pl.concat([frame, frame.slice(5, 3)])
        case _:
            return frame.with_columns(PAM_norm=pl.when(row == 7).then(5.0).otherwise("PAM_norm"))


KINDS = ("shuffled", "by sample", "gap", "missing value", "missing label", "averages", "text heads", "twice", "sum off")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ending", "n_rows"), [("parquet", 1), ("csv", 1), ("csv", 2_000_000)])
def test_any_other_file_is_split_if_it_is_large_and_cleaned(
    kind: str, ending: str, n_rows: int, tmp_path: Path
) -> None:
    path = tmp_path / f"table.{ending}"
    frame = broken(sorted_table(), kind)
    if ending == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    found = stream_association(path, n_permutations=49, n_rows=n_rows, progress=False)
    assert not found.sorted_parquet
    assert_same(found, frame)


def test_metrics_that_are_no_shares_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    gap = pl.int_range(pl.len()) % 7 == 0
    frame = sorted_table().with_columns(lift=pl.when(~gap).then(pl.col("PAM_norm") - 0.3))
    frame.write_parquet(path)
    found = stream_association(path, metrics=("lift", "QAM_norm"), n_permutations=49, progress=False)
    assert found.sorted_parquet
    assert_same(found, frame, metrics=("lift", "QAM_norm"))


@pytest.mark.parametrize("sorted_parquet", [True, False])
@pytest.mark.parametrize("n_permutations", [0, 49])
def test_copies_and_missing_heads_are_found_in_files_too(
    sorted_parquet: bool, n_permutations: int, tmp_path: Path
) -> None:
    path = tmp_path / "table.parquet"
    frame = sorted_table()
    again = frame.filter(pl.col("id").str.tail(1).is_in(["1", "2"])).with_columns(id="z" + pl.col("id"))
    moved = again.filter(dataset="flan", id="zflan-001").with_columns(dataset=pl.lit("alpaca"), id=pl.lit("zz"))
    frame = pl.concat([frame, again, moved]).sort(ORDER)
    frame = frame if sorted_parquet else frame.tail(-1)
    frame.write_parquet(path)
    found = stream_association(path, n_permutations=n_permutations, n_rows=200, progress=False)
    assert found.sorted_parquet == sorted_parquet
    assert sum("exact copies" in note for note in found.ledger.notes) == 3
    assert sum("lack values" in note for note in found.ledger.notes) == (0 if sorted_parquet else 1)
    assert_same(found, frame, n_permutations=n_permutations)


def test_without_permutations_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = sorted_table()
    frame.write_parquet(path)
    found = stream_association(path, n_permutations=0, progress=False)
    expected = association(read_table(frame), n_permutations=0, progress=False)
    assert found.frame.drop("auc_lower").equals(expected.drop("auc_lower"))
    shuffled = tmp_path / "shuffled.parquet"
    broken(frame, "shuffled").write_parquet(shuffled)
    again = stream_association(shuffled, n_permutations=0, n_rows=1, progress=False)
    assert again.frame.get_column("p_max").null_count() == again.frame.height


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("PAM_norm"), r'table.parquet.*column "PAM_norm": the column is missing'),
        (
            lambda f: f.with_columns(behavior_label=None),
            "no row is left after cleaning .216 read: 216 label null.; give labels",
        ),
        (lambda f: f.with_columns(behavior_label=pl.col("layer") % 2), "has both labels"),
        (lambda f: f.with_columns(behavior_label=pl.lit("maybe")), "'maybe' is no label"),
        (lambda f: f.clear(), "table.parquet: the table has no rows"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(change: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    change(sorted_table()).write_parquet(path)
    with pytest.raises(TableError, match=message) as caught:
        stream_association(path, n_rows=1, progress=False)
    assert "\n" not in str(caught.value)


def test_broken_files_and_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file"):
        stream_association(tmp_path / "absent.parquet")
    path = tmp_path / "table.csv"
    path.write_text("id,layer\n1,2\n1,2,3\n")
    with pytest.raises(TableError, match="row 2: cannot be read as CSV"):
        stream_association(path, progress=False)
    with pytest.raises(InputError, match="out of range"):
        stream_association(path, level=2.0)


def test_blocks_are_whole_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = sorted_table()
    frame.write_parquet(path)
    options: dict[str, Any] = {"columns": ["behavior_label"], "metrics": METRICS, "compositional": True}
    for block in sorted_blocks([path], n_rows=30, **options):
        assert all(values.shape == (block.layer.size, 12) for values in block.values)
        part = frame.filter(dataset=block.dataset, layer=int(block.layer[0]), head=int(block.head[0]))
        np.testing.assert_array_equal(block.values[1][0], part["QAM_norm"].to_numpy())
    broken(frame, "gap").write_parquet(path)
    with pytest.raises(NotSortedError, match=r"lacks samples|differs between heads|head by head"):
        list(sorted_blocks([path], **options))


BY_WORKERS = """
import json, sys
import foretell
found = {}
for path in sys.argv[1:]:
    options = dict(n_permutations=49, n_rows=10, progress=False)
    one, many = (foretell.stream_association(path, workers=workers, **options) for workers in (None, 2))
    found[path] = [many.frame.equals(one.frame, null_equal=True), many.ledger == one.ledger, many.frame.height]
    try:
        foretell.stream_association(path, metrics=["none"], workers=1, **options)
    except foretell.errors.TableError as error:
        found[path].append(path in str(error) and "none" in str(error))
print("FOUND" + json.dumps(found))
"""


@pytest.mark.slow
def test_workers_give_the_numbers_of_one_process(tmp_path: Path) -> None:
    frame = broken(sorted_table(), "shuffled")
    copies = frame.filter(pl.col("id").str.ends_with("3")).with_columns(pl.col("id") + "-copy")
    frame.write_csv(tmp_path / "plain.csv")
    pl.concat([frame, copies]).write_parquet(tmp_path / "copies.parquet")
    found, printed = by_script(BY_WORKERS, tmp_path / "plain.csv", tmp_path / "copies.parquet")
    assert [one[:2] + one[3:] for one in found.values()] == [[True, True, True]] * 2
    assert all(one[2] > 20 for one in found.values())
    assert printed == ""
