from __future__ import annotations

from pathlib import Path

import pytest

from foretell.errors import TableError
from foretell.stats.heads.out_of_core import stream_association
from foretell.stats.table import memory_limit
from foretell.stats.table.joined import read_table
from foretell.stats.table.memory_limit import BYTES_PER_ROW, physical_memory, require_memory
from tests.stats.tables import head_table


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_table_too_large_for_the_machine_is_refused_before_it_is_read(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, frame = tmp_path / f"table.{ending}", head_table()
    frame.write_parquet(path) if ending == "parquet" else frame.write_csv(path)
    monkeypatch.setattr(memory_limit, "physical_memory", lambda: frame.height * BYTES_PER_ROW // 2)
    with pytest.raises(TableError, match=rf"table\.{ending}: would take about .*foretell\.stream_association"):
        read_table(path)
    streamed = stream_association(path, n_permutations=0, n_rows=1, progress=False)
    assert streamed.ledger.n_kept == frame.height
    monkeypatch.setattr(memory_limit, "physical_memory", lambda: None)
    assert read_table(path).frame.height == frame.height


def test_parts_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = head_table()
    for index, part in enumerate(frame.iter_slices(40)):
        part.write_parquet(tmp_path / f"part-{index}.parquet")
    monkeypatch.setattr(memory_limit, "physical_memory", lambda: frame.height * BYTES_PER_ROW)
    with pytest.raises(TableError, match="would take about"):
        require_memory(tmp_path)
    monkeypatch.setattr(memory_limit, "physical_memory", lambda: 2 * frame.height * BYTES_PER_ROW)
    require_memory(tmp_path)


def test_what_is_no_table_is_left_to_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "physical_memory", lambda: 1)
    require_memory(tmp_path)
    require_memory(tmp_path / "nothing.csv")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    require_memory(broken)


def test_a_machine_has_memory() -> None:
    found = physical_memory()
    assert found is None or found > 2**28
