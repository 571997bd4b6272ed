"""Rounded shares are kept: the tolerance follows the digits or the float type they came in, and is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.cli.main import main
from foretell.errors import InputError
from foretell.stats.heads.out_of_core import stream_association
from foretell.stats.study import study
from foretell.stats.table.joined import read_table
from foretell.stats.table.share_tolerance import EXACT, rounding_tolerance
from tests.stats.tables import METRICS, head_table

TABLE = head_table()


def written(form: str) -> pl.DataFrame:
    """Return the table with its shares as text in a printf form."""
    texts = [pl.Series(name, [form % value for value in TABLE.get_column(name)]) for name in METRICS]
    return TABLE.with_columns(texts)


def bfloat16(values: Any) -> Any:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def cast(change: Any) -> pl.DataFrame:
    return TABLE.with_columns(pl.Series(name, change(TABLE.get_column(name).to_numpy())) for name in METRICS)


TEXTS = ["%.2f", "%.3f", "%.4f", "%.5f", "%.6f", "%.7f", "%.3g", "%.4g", "%.3e", "%.12f"]
FRAMES = {
    "rounded": lambda values: values.round(4),
    "float32": lambda values: values.astype(np.float32),
    "float16": lambda values: values.astype(np.float16),
    "float16 as float32": lambda values: values.astype(np.float16).astype(np.float32),
    "float16 as float64": lambda values: values.astype(np.float16).astype(np.float64),
    "bfloat16 as float32": bfloat16,
}


@pytest.mark.parametrize("frame", [*map(written, TEXTS), *map(cast, FRAMES.values())], ids=[*TEXTS, *FRAMES])
@pytest.mark.parametrize("kind", ["frame", "csv", "parquet", "pandas"])
def test_no_row_is_lost_to_rounding(frame: pl.DataFrame, kind: str, tmp_path: Path) -> None:
    source: Any = frame
    if kind == "pandas":
        source = frame.to_pandas()
    elif kind != "frame":
        source = tmp_path / f"table.{kind}"
        (frame.write_csv if kind == "csv" else frame.write_parquet)(source)
    found = read_table(source)
    assert found.ledger.n_dropped == 0
    assert found.validity.max_deviation is not None
    assert found.validity.max_deviation <= found.validity.tolerance


@pytest.mark.parametrize(
    ("form", "tolerance"),
    [("%.2f", 0.015), ("%.4f", 1.5e-4), ("%.5f", 1.5e-5), ("%.4g", 1.5e-4), ("%.3e", 1.5e-4), ("%.9f", EXACT)],
)
def test_the_tolerance_is_half_of_the_last_digit_of_each_share(form: str, tolerance: float) -> None:
    assert rounding_tolerance(written(form), METRICS).tolerance == pytest.approx(tolerance, rel=1e-3)


@pytest.mark.parametrize("form", ["%.3f", "%.4f", "%.4g"])
def test_a_row_that_rounding_does_not_explain_is_dropped_and_counted(form: str) -> None:
    frame = written(form)
    wrong = pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("0.9")).otherwise("PAM_norm").alias("PAM_norm")
    found = read_table(frame.with_columns(wrong))
    assert found.ledger.entries["sum off"] == found.ledger.n_dropped == 1
    assert "rows whose sum is within" in found.ledger.notes[0]


def test_whole_numbers_and_tenths_are_not_taken_for_rounded_shares() -> None:
    for shares in (["1", "1", "0"], ["0.3", "0.3", "0.3"], ["1.0", "0.5", "0.0"]):
        frame = TABLE.with_columns(pl.lit(share).alias(name) for name, share in zip(METRICS, shares, strict=True))
        assert read_table(frame, may_be_empty=True).ledger.entries["sum off"] == TABLE.height


def test_row_order_and_zeros_at_the_end_change_nothing() -> None:
    short = cast(lambda values: values.round(3)).with_columns(pl.col(METRICS).cast(pl.String))
    assert read_table(short).ledger.n_dropped == 0
    reverse = read_table(short.reverse())
    assert read_table(short).validity == reverse.validity
    ones = pl.DataFrame({"PAM_norm": [0.5] * 2000, "QAM_norm": [0.5] * 2000, "SAM_norm": [0.0] * 2000})
    exact = pl.concat([ones, TABLE.select(METRICS)])
    assert rounding_tolerance(exact, METRICS) == rounding_tolerance(exact.reverse(), METRICS)
    assert rounding_tolerance(exact, METRICS).tolerance == EXACT


def test_the_tolerance_is_a_setting_and_said() -> None:
    options: dict[str, Any] = {"compute": False, "n_permutations": 0}
    assert study(written("%.4f"), **options).ledger.notes == (
        "the shares came with 4 decimals: rows whose sum is within 0.00015 of 1 were kept; the setting sum_tolerance "
        "changes this",
    )
    strict = study(written("%.4f"), sum_tolerance=1e-6, **options)
    assert strict.ledger.entries["sum off"] > 40
    assert (strict.validity.tolerance, strict.settings.sum_tolerance) == (1e-6, 1e-6)
    assert study(TABLE, **options).ledger.notes == ()
    with pytest.raises(InputError, match="sum_tolerance is 2: it must be at least 0"):
        study(TABLE, sum_tolerance=2, **options)


@pytest.mark.slow
def test_the_terminal_says_what_was_kept_and_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.csv"
    written("%.4f").write_csv(path)
    options = ["study", str(path), "--to", str(tmp_path / "results"), "--quiet"]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "240 rows read, 240 kept" in printed
    assert "the shares came with 4 decimals" in printed


@pytest.mark.parametrize("n_rows", [1, 50, 10_000])
@pytest.mark.parametrize("kind", ["rounded", "float16 as float32"])
def test_a_streamed_file_is_held_against_the_same_tolerance(kind: str, n_rows: int, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    cast(FRAMES[kind]).sort("dataset", "layer", "head", "id").write_parquet(path)
    found = stream_association(path, n_permutations=0, n_rows=n_rows, progress=False)
    expected = read_table(path)
    assert found.ledger == expected.ledger
    assert found.validity.tolerance == expected.validity.tolerance
    assert found.sorted_parquet or n_rows < 20
