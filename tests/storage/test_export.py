"""Labels and scores of a run as one flat table, and the tools that read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from foretell.errors import InputError
from foretell.schema.tables import MASSES, SAMPLES, SCORES, SHARES, conform
from foretell.storage.export import export, write_results
from foretell.storage.runs import Run

IDS = {"a": "a", "a-epoch-2": "a", "b-epoch-2": "b-epoch-2", "c": "several"}
"""Id and group of each sample."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "run", {"model": "m"})
    samples = [
        {
            "id": name,
            "dataset": "d",
            "group": group,
            "messages": "[]",
            "model": "m",
            "behavior_label": 1,
            "writer": "w",
            "reason": "no answer" if name == "c" else None,
        }
        for name, group in IDS.items()
    ]
    heads = [
        {"id": name, "dataset": "d", "layer": 0, "head": head, **dict.fromkeys((*MASSES, *SHARES), 0.25 + head / 2)}
        for name in IDS
        if name != "c"
        for head in (0, 1)
    ]
    made.append("part", {"samples": conform(pl.DataFrame(samples), SAMPLES), "attention": pl.DataFrame(heads)})
    made.finish()
    return made


def test_samples_are_named_as_their_log_names_them(run: Run) -> None:
    found = export(run)
    assert found.select("sample", "id", "epoch").rows() == [
        ("a", "a", 1),
        ("a-epoch-2", "a", 2),
        ("b-epoch-2", "b-epoch-2", 1),
        ("c", "c", 1),
    ]
    assert found["PAM"].to_list() == [0.5, 0.5, 0.5, None]
    assert found["reason"].to_list() == [None, None, None, "no answer"]
    assert dict(found.schema) == SCORES.dtypes


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_every_kind_of_file_holds_the_same(run: Run, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"scores.{kind}"
    written = export(run.path, path)
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        "parquet": pl.read_parquet,
        "jsonl": pl.read_ndjson,
        "csv": pl.read_csv,
    }
    read = readers[kind](path)
    assert conform(read, SCORES).equals(written)
    with pytest.raises(InputError, match=f"scores.{kind}: exists"):
        export(run, path)
    assert export(run, path, overwrite=True).equals(written)


def test_what_is_no_run_or_no_kind_of_file_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run"):
        export(tmp_path)
    with pytest.raises(InputError, match=r"the name of the file must end with .parquet, .jsonl or .csv"):
        export(run, tmp_path / "scores.xlsx")


def test_datasets_load_it_as_it_is(run: Run, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    export(run, tmp_path / "scores.parquet")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "scores.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == list(SCORES.dtypes)
    assert loaded["behavior_label"][:] == [1, 1, 1, 1]


def test_results_are_tables_and_texts_that_replace_those_of_before(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "results"
    for content in ("é\ud7ff", "second"):
        frame = pl.DataFrame({"value": [content, None]})
        files = write_results(folder, {"values": frame, "none": frame.clear()}, {"study.json": content})
        assert files == [folder / name for name in ("values.parquet", "none.parquet", "study.json")]
        assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in files)
        assert pl.read_parquet(files[0]).equals(frame)
        assert pl.read_parquet(files[1]).schema == frame.schema
        assert files[2].read_text(encoding="utf-8") == content
