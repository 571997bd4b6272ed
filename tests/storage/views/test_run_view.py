"""A run's tables turned over: arrays and pandas frames with the same numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import foretell
from foretell.errors import InputError
from foretell.storage.runs import Run
from tests.storage.synthetic import N_HEADS, N_LAYERS, copied


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return copied(tmp_path_factory.mktemp("made") / "run", 3)


@pytest.mark.parametrize("column", ["PAM_norm", "PAM", "lookback"])
def test_a_column_of_attention_is_an_array_of_sample_layer_head(run: Run, column: str) -> None:
    found = run.to_numpy(column)
    assert found.axes == ("sample", "layer", "head")
    assert found.values.shape == (9, N_LAYERS, N_HEADS)
    assert found.ids == run.samples["id"].to_list()
    expected = run.attention[column].cast(pl.Float64).fill_null(np.nan).to_numpy().reshape(found.values.shape)
    np.testing.assert_array_equal(found.values, expected)


def test_activity_is_an_array_of_sample_layer_and_answer_position(run: Run) -> None:
    found = run.to_numpy("activity", concept="c")
    lengths = run.samples["n_tokens_generated"].to_list()
    assert found.axes == ("sample", "layer", "answer_position")
    assert np.isfinite(found.values[:, 0]).sum(axis=1).tolist() == lengths
    row = run.activity.row(5, named=True)
    place = found.ids.index(row["id"]), row["layer"], row["answer_position"]
    assert found.values[place] == row["activity"]
    np.testing.assert_array_equal(run.to_numpy("activity").values, found.values)


def test_what_is_no_column_or_concept_is_refused_with_those_there_are(run: Run) -> None:
    with pytest.raises(InputError, match=r"no column of numbers 'id': choose among SAM, PAM, .*activity"):
        run.to_numpy("id")
    with pytest.raises(InputError, match="concept is 'x': choose among 'c'"):
        run.to_numpy("activity", concept="x")


@pytest.mark.parametrize("table", ["samples", "attention", "checkpoints", "rows", "tokens", "activity", "hidden"])
def test_every_table_can_be_had_in_pandas(run: Run, table: str) -> None:
    found, expected = run.to_pandas(table), run.table_named(table)
    assert list(found.columns) == expected.columns
    assert len(found) == expected.height > 0
    if table == "attention":
        np.testing.assert_array_equal(found["PAM"].to_numpy(), expected["PAM"].to_numpy())


def test_an_unknown_table_is_refused_with_those_there_are(run: Run) -> None:
    with pytest.raises(InputError, match="no table 'x': choose among samples, attention"):
        run.to_pandas("x")


def test_without_pandas_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: pl.DataFrame) -> None:
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr(pl.DataFrame, "to_pandas", refuse)
    with pytest.raises(InputError, match="to_pandas needs pandas: pip install pandas pyarrow"):
        run.to_pandas()


def test_a_run_at_a_url_says_where_it_is_without_being_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    url = f"memory://{tmp_path.name}/run"
    shown = Run.at(url)
    monkeypatch.setattr(Run, "fetch", lambda *_words, **_options: sys.exit("the network was asked"))
    assert repr(shown) == f"Run {shown.location}"
    assert shown.location in shown._repr_html_()


def test_a_table_of_many_files_is_not_read_for_showing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretell.storage.views.run_view._MOST_PARTS", 2)
    monkeypatch.setattr(Run, "sample_columns", lambda *_words: sys.exit("labels were read"))
    assert "finished" in foretell.open_run(run.path)._repr_html_()
