"""Five hundred broken tables: each is one clear message or a ledger entry, never anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretell.cli.main import main
from foretell.errors import TableError
from foretell.showing.report import report
from foretell.stats.auc.roc import roc_curves
from foretell.stats.heads.association import association
from foretell.stats.heads.out_of_core import stream_association
from foretell.stats.study import study
from foretell.stats.table.joined import StudyTable, read_table
from tests.stats.damages import DAMAGES, Damage, empty_parts, infinite_values, strange_cell
from tests.stats.tables import head_table


def _studied(path: Path) -> StudyTable | str:
    """Return the table, or the message if it was refused."""
    try:
        table = read_table(path)
    except TableError as error:
        return str(error)
    association(table, n_permutations=9, progress=False)
    roc_curves(table)
    return table


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_broken_table_is_one_clear_message_or_a_ledger_entry(
    damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = head_table(n_samples=8)
    for seed in range(34):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = damage(whole, np.random.default_rng(seed), folder)
        outcome = _studied(path)
        if isinstance(outcome, str):
            assert path.name in outcome
            assert "\n" not in outcome
            assert len(outcome) < 1000
            assert main(["study", str(path), "--to", str(folder / "results"), "--quiet"]) == 2
            printed = capsys.readouterr()
            assert printed.out == ""
            assert printed.err.count("\n") == 1
            assert [each.name for each in folder.iterdir()] == [path.name]
        else:
            assert outcome.ledger.n_dropped == outcome.ledger.n_read - outcome.ledger.n_kept
            assert outcome.validity.max_deviation is not None
            assert outcome.validity.max_deviation <= outcome.validity.tolerance


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_streaming_refuses_and_drops_as_reading_at_once_does(damage: Damage, tmp_path: Path) -> None:
    whole = head_table(n_samples=8)
    for seed in range(0, 34, 3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = damage(whole, np.random.default_rng(seed), folder)
        outcome = _studied(path)
        if isinstance(outcome, str):
            with pytest.raises(TableError, match=path.name) as refusal:
                stream_association(path, n_permutations=0, n_rows=1, progress=False)
            assert "\n" not in str(refusal.value)
        else:
            streamed = stream_association(path, n_permutations=0, n_rows=1, progress=False)
            assert streamed.ledger == outcome.ledger


@pytest.mark.slow
@pytest.mark.parametrize("damage", [strange_cell, infinite_values, empty_parts], ids=lambda damage: damage.__name__)
def test_what_is_left_of_a_broken_table_becomes_a_whole_report(damage: Damage, tmp_path: Path) -> None:
    whole = head_table(n_samples=8)
    folders = (tmp_path / str(seed) for seed in range(34))
    for seed, folder in enumerate(folders):
        folder.mkdir()
        path = damage(whole, np.random.default_rng(seed), folder)
        if not isinstance(_studied(path), str):
            break
    found = study(path, n_trees=3, n_permutations=9, detector_repeats=1, progress=False)
    page = report(found, folder / "results", progress=False)
    tables = {each.stem: pl.read_parquet(each) for each in (folder / "results" / "tables").iterdir()}
    assert set(tables) == set(found.tables())
    assert found.ledger.n_dropped > 0 or damage is empty_parts
    assert set(tables["verdicts"]["verdict"]) == {"not enough data"}
    assert page.stat().st_size > 10_000
    assert not list(folder.glob("results/.report-*"))
