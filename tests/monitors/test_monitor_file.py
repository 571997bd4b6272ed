"""Saved monitors: bit for bit the same, and refused when any byte is another."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import foretell
from foretell.errors import InputError
from foretell.monitors.monitor import Monitor
from tests.stats.runs import RunOfStates, planted_run

N_FLIPS = int(os.environ.get("FORETELL_TEST_ROUNDS", "60"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunOfStates:
    return planted_run(tmp_path_factory.mktemp("made") / "run", planted=("hidden states",), n_samples=60)


@pytest.fixture(scope="module", params=["checkpoints", 8])
def monitor(run: RunOfStates, request: pytest.FixtureRequest) -> Monitor:
    return foretell.fit_monitor(run, scored_at=request.param, max_false_positive_rate=0.3, confidence=0.8)


@pytest.fixture
def saved(monitor: Monitor, tmp_path: Path) -> Path:
    monitor.save(tmp_path / "monitor.safetensors")
    return tmp_path / "monitor.safetensors"


def test_what_is_saved_is_loaded_bit_for_bit(monitor: Monitor, saved: Path, run: RunOfStates, tmp_path: Path) -> None:
    loaded = Monitor.load(saved)
    assert monitor.baseline is not None
    for name in ("columns", "threshold", "recall", "baseline", "made_from", "scored_at", "intercept", "slope", "shift"):
        assert getattr(loaded, name) == getattr(monitor, name)
    for name, values in asdict(monitor.directions).items():
        np.testing.assert_array_equal(getattr(loaded.directions, name), values)
    assert loaded.apply(run).equals(monitor.apply(run))
    second = planted_run(tmp_path / "second", n_samples=20, seed=9)
    assert loaded.apply(second).equals(monitor.apply(second))
    loaded.save(tmp_path / "again")
    assert Monitor.load(tmp_path / "again").apply(run).equals(monitor.apply(run))


def test_a_file_with_another_byte_is_refused(saved: Path, generator: np.random.Generator) -> None:
    content = saved.read_bytes()
    header = int.from_bytes(content[:8], "little")
    # The header is a few hundred bytes of many thousand, and every one of its bytes matters too.
    places = [
        *range(8),
        *generator.integers(8, 8 + header, N_FLIPS // 2),
        *generator.integers(0, len(content), N_FLIPS),
    ]
    for place in map(int, places):
        changed = bytearray(content)
        changed[place] ^= int(generator.integers(1, 256))
        saved.write_bytes(changed)
        with pytest.raises(InputError, match=r"holds no monitor|is safetensors, but no"):
            Monitor.load(saved)


def test_blanks_of_the_header_are_bytes_too(saved: Path) -> None:
    content = saved.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    for place in [index for index in range(end - 8, end) if content[index] == ord(" ")]:
        saved.write_bytes(content[:place] + b"\n" + content[place + 1 :])
        with pytest.raises(InputError, match="its checksum is another"):
            Monitor.load(saved)


@pytest.mark.parametrize("part", [0, 4, 8, 200, -1])
def test_a_file_that_was_cut_off_is_refused(saved: Path, part: int) -> None:
    saved.write_bytes(saved.read_bytes()[:part])
    with pytest.raises(InputError, match="holds no monitor"):
        Monitor.load(saved)


def test_other_files_are_refused(tmp_path: Path, saved: Path, monitor: Monitor) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(2)}, other, metadata={"format": "foretell direction 1"})
    with pytest.raises(InputError, match='is safetensors, but no "foretell monitor 1"'):
        Monitor.load(other)
    with pytest.raises(InputError, match="there is no such monitor file"):
        Monitor.load(tmp_path / "none")
    with pytest.raises(InputError, match="exists already"):
        monitor.save(saved)
    monitor.save(saved, overwrite=True)
