"""`compare`: tables, figures and one printed row per comparison."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from foretell.cli.main import main
from tests.stats.tables import head_table


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "before.csv", tmp_path / "after\x1b[31m.csv"
    for effect, path in zip((0.0, 4.0), paths, strict=True):
        head_table(n_samples=40, effect=effect, datasets=("alpaca",), seed=1).write_csv(path)
    return paths


def test_what_differs_is_printed_and_written(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "out"
    assert main(["compare", *map(str, tables), "--to", str(to)]) == 0
    printed = capsys.readouterr().out
    assert "layer 1, head 2, PAM_norm (largest of 18)" in printed
    assert "\x1b" not in printed
    assert "after␛[31m.csv" in printed
    assert printed.rstrip().endswith(str(to / "comparison.json"))
    names = {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()}
    figures = {f"figures/{name}.{kind}" for name in ("differences", "attention", "head-auc") for kind in ("png", "svg")}
    assert names == {"comparison.json", "comparison.parquet", "comparison_heads.parquet", *figures}
    assert json.loads((to / "comparison.json").read_text())["first"] == str(tables[0])
    first = (to / "comparison.parquet").read_bytes()
    assert main(["compare", *map(str, tables), "--to", str(to)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["compare", *map(str, tables), "--to", str(to), "--overwrite"]) == 0
    assert (to / "comparison.parquet").read_bytes() == first


def test_what_cannot_be_compared_ends_with_2_and_writes_nothing(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.parquet"
    pl.concat([head_table(n_samples=8, datasets=("flan", "own"))]).write_parquet(other)
    assert main(["compare", str(tables[0]), str(other), "--to", str(tmp_path / "out")]) == 2
    assert "nothing is comparable" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
