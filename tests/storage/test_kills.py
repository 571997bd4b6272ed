"""A run that is killed at random moments, while it is written and compacted, goes on to equal tables."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from foretell.storage.runs import Run
from foretell.storage.upkeep.check import check_run
from tests.storage.synthetic import contents, made

ROUNDS = int(os.environ.get("FORETELL_TEST_ROUNDS", "3"))
N_PARTS = 8


def started(folder: Path) -> subprocess.Popen[str]:
    """Start a process that writes a run and compacts it, and wait until it begins."""
    command = [sys.executable, "-m", "tests.storage.synthetic", str(folder), str(N_PARTS), "compact"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_that_is_killed_anywhere_goes_on_to_equal_tables(tmp_path: Path, generator: np.random.Generator) -> None:
    begun = time.perf_counter()
    process = started(tmp_path / "whole")
    assert process.wait(60) == 0
    seconds = time.perf_counter() - begun
    expected = contents(made(tmp_path / "expected", N_PARTS))
    outcomes = set()
    for number in range(ROUNDS):
        folder = tmp_path / f"run-{number}"
        for _ in range(2):
            process = started(folder)
            time.sleep(float(generator.random()) * seconds / 2)
            process.kill()
            outcomes.add(process.wait())
        if (folder / "manifest.json").exists():
            assert check_run(Run(folder)).damages == ()
        run = made(folder, N_PARTS)
        assert all(frame.equals(expected[name]) for name, frame in contents(run).items())
        assert run.check() == []
        run.compact()
        assert all(frame.equals(expected[name]) for name, frame in contents(run).items())
    assert -9 in outcomes
