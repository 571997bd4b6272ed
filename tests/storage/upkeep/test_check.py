"""A check finds nothing wrong in what was written, and names each thing that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from foretell.storage.commits.part_commit import RunTable
from foretell.storage.runs import Run
from foretell.storage.upkeep.check import check_run
from tests.storage.synthetic import append_part, copied, frames, job


def said(run: Run) -> list[tuple[str, str]]:
    return [(damage.file, damage.what) for damage in run.check()]


def rewritten(run: Run, table: RunTable, change: Callable[[pl.DataFrame], pl.DataFrame], part: int = 1) -> str:
    """Change the rows of one file as a wrong writer would: with a checksum that fits."""
    name = f"part-{part:05d}"
    frame = pl.read_parquet(run.path / table / f"{name}.parquet")
    file = run.write_rows(table, f"{name}.parquet", change(frame))
    (known,) = (part for part in run.parts if part.name == name)
    files = tuple(file if (one.table, one.name) == (table, file.name) else one for one in known.files)
    run.commit(dataclasses.replace(known, files=files))
    return file.place


@pytest.mark.parametrize("n_parts", [1, 4])
def test_a_whole_run_has_no_damage_and_nothing_left_over(tmp_path: Path, n_parts: int) -> None:
    found = check_run(copied(tmp_path / "run", n_parts))
    assert (found.damages, found.leftovers) == ((), ())
    assert (found.n_parts, found.n_samples, found.finished) == (n_parts, 3 * n_parts, True)


def test_an_unfinished_run_is_whole(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", job(4))
    assert said(run) == []
    append_part(run, 2)
    assert said(run) == []


def test_drafts_and_files_of_others_are_named_and_are_no_damage(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 2)
    for name in ("samples/.part-00001.parquet.1-ab.part", "tokens/mine.csv", "parts/notes.txt", "samples/x.parquet"):
        (run.path / name).write_text("mine")
    found = check_run(run)
    assert found.damages == ()
    assert set(found.leftovers) == {
        "samples/.part-00001.parquet.1-ab.part", "tokens/mine.csv", "parts/notes.txt", "samples/x.parquet"
    }  # fmt: skip


FILES = ("samples", "attention", "checkpoints", "rows", "tokens", "activity", "hidden")


@pytest.mark.parametrize(
    "place", [*(f"{table}/part-00001.parquet" for table in FILES), "hidden/part-00001.safetensors"]
)
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "has 0 bytes; "),
        (lambda path: path.write_bytes(path.read_bytes() + b"!"), "were written"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "was changed since it was written"),
    ],
)
def test_a_changed_file_is_named(tmp_path: Path, place: str, change: Callable[[Path], Any], what: str) -> None:
    run = copied(tmp_path / "run", 3)
    change(run.path / place)
    ((file, message),) = said(run)
    assert file == place
    assert what in message


@pytest.mark.parametrize(
    ("place", "what"),
    [("manifest.json", "is damaged"), ("job.json", "is damaged"), ("parts/part-00002.json", "is damaged")],
)
def test_a_changed_file_of_the_run_itself_is_named(tmp_path: Path, place: str, what: str) -> None:
    run = copied(tmp_path / "run", 3)
    path = run.path / place
    path.write_bytes(path.read_bytes().replace(b'"', b"'", 1))
    assert [(file, message.partition(" (")[0]) for file, message in said(run)] == [(place, what)]
    path.unlink()
    assert [file for file, _ in said(run)] == [place]


WRONG: list[tuple[RunTable, Callable[[pl.DataFrame], pl.DataFrame], str]] = [
    ("attention", lambda rows: rows.slice(1), "1 samples that are not complete, such as .*: 5 of 6 rows of attention"),
    ("attention", lambda rows: pl.concat([rows, rows.head(1)]), "1?2 rows with a key .id, layer, head. that another"),
    ("attention", lambda rows: rows.with_columns(PAM=pl.col("PAM") + 0.2), "18 rows whose masses sum to more than 1"),
    ("attention", lambda rows: rows.with_columns(PAM=pl.col("PAM") / 2), "18 rows whose masses sum to less than 1"),
    ("attention", lambda rows: rows.with_columns(PAM=-pl.col("PAM")), 'in the column "PAM", which is beyond 0'),
    ("attention", lambda rows: rows.drop("PAM").with_columns(PAM=pl.lit("x")), 'has the column "PAM" as String'),
    ("attention", lambda rows: rows.drop("dataset"), 'lacks the column "dataset"'),
    ("checkpoints", lambda rows: rows.filter(pl.col("n_generated") > 1), "not complete"),
    ("rows", lambda rows: rows.head(7), "not complete"),
    ("tokens", lambda rows: rows.filter(pl.col("position") != 4), "3 samples that are not complete"),
    ("tokens", lambda rows: rows.with_columns(pl.col("position") + 1), "3 samples that are not complete"),
    ("activity", lambda rows: rows.filter(pl.col("layer") == 0), "not complete"),
    ("hidden", lambda rows: rows.slice(1), "not complete"),
    ("hidden", lambda rows: rows.with_columns(pl.col("row") + 100), "which does not have it"),
    ("hidden", lambda rows: rows.with_columns(shard=pl.lit("part-00000.safetensors")), "which the part does not have"),
    ("samples", lambda rows: rows.with_columns(dataset=pl.lit(None, dtype=pl.String)), "without a value in the column"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "change", "what"), WRONG)
def test_rows_that_do_not_belong_together_are_named(
    tmp_path: Path, table: RunTable, change: Callable[[pl.DataFrame], pl.DataFrame], what: str
) -> None:
    run = copied(tmp_path / "run", 3)
    place = rewritten(run, table, change)
    found = said(run)
    assert {file for file, _ in found} == {place}
    assert pl.Series([message for _, message in found]).str.contains(what).any(), found


def test_one_sample_in_two_parts_is_named(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 2)
    run.append("other", frames(0))
    found = run.check()
    assert "has 3 samples that another part has as well" in " ".join(damage.what for damage in found)
    assert "part-00000" in {damage.part for damage in found}


def test_masses_below_1_are_right_where_sinks_take_a_share(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 2)
    halved = [pl.col(name) / 2 for name in ("SAM", "PAM", "QAM", "TAM", "GAM")]
    for table in ("attention", "checkpoints", "rows"):
        for part in (0, 1):
            rewritten(run, table, lambda rows: rows.with_columns(halved), part)
    assert said(run) == []


def test_a_sample_that_was_not_read_needs_no_rows(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", job(1))
    found = frames(0)
    own = found["samples"]["id"][0]
    found = {table: frame.filter(pl.col("id") != own) for table, frame in found.items()}
    unread = pl.DataFrame(
        {"id": [own], "dataset": "d", "group": own, "messages": "[]", "model": "toy", "reason": "too long"}
    )
    found["samples"] = pl.concat([found["samples"], unread], how="diagonal")
    run.append("part-00000", found)
    run.finish()
    assert [what for _, what in said(run) if "hidden" not in what] == []


def test_labels_are_checked_and_their_replacement_is_never_taken_for_damage(tmp_path: Path) -> None:
    run = copied(tmp_path / "run", 2)
    ids = run.samples["id"]
    labels = pl.DataFrame({"id": ids, "behavior_label": 1, "label_source": "file"})
    run.write_labels(labels)
    before = (run.path / "labels.parquet").read_bytes()
    assert said(run) == []
    run.write_labels(labels.with_columns(behavior_label=0))
    assert said(run) == []
    (run.path / "labels.parquet").write_bytes(before)  # as a crash between its two files leaves it
    assert said(run) == []
    (run.path / "labels.parquet").write_bytes(before[:-1] + b"?")
    assert said(run) == [("labels.parquet", "was changed since it was written (its checksum is another)")]
    assert run.repair()
    assert run.samples.equals(copied(tmp_path / "other", 2).samples)
    assert run.finished
