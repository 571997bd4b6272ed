"""Reading and compacting that is killed at random moments goes on to the tables of a call that nobody disturbed.

Rounds are forked from one process that has imported everything and computed nothing, so that each takes little more
than its reading.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = int(os.environ.get("FORETELL_TEST_ROUNDS", "3"))
SCRIPT = """
import json, os, random, signal, sys, time, traceback
from pathlib import Path
from polars.testing import assert_frame_equal
import foretell
from foretell.storage.runs import open_run
from foretell.storage.upkeep.check import check_run
from tests.reading.tiny import tiny_model

folder, n_rounds, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(0)
TABLES = ("samples", "attention", "checkpoints", "tokens", "rows")

def work(to):
    samples = foretell.builtin_conversations("alpaca")[:8]
    options = dict(answers="generate", max_new_tokens=6, batch_tokens=200, hidden="all", rows=True, detail=True)
    run = foretell.read(tiny_model("llama"), samples, to=to, progress=False, **options)
    run.compact()
    return run

def whole_after(to):
    if (to / "manifest.json").exists():
        assert check_run(open_run(to)).damages == (), "damaged by the kill"
    run, other = work(to), open_run(folder / "whole")
    assert run.finished and run.check() == []
    for table in TABLES:
        assert_frame_equal(getattr(run, table), getattr(other, table), check_exact=True)
    for layer in (0, 2):
        (ids, states), (same, expected) = (one.hidden(layer, "mean over answer") for one in (run, other))
        assert ids == same and (states == expected).all()

def forked(do, to, seconds=None):
    pid = os.fork()
    if pid == 0:
        try:
            do(to)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

begun = time.monotonic()
assert forked(work, folder / "whole") == 0
seconds = time.monotonic() - begun
ends, parts = [], []
for number in range(n_rounds):
    to = folder / f"run-{number}"
    for _ in range(2):
        ends.append(forked(work, to, chance.random() * seconds))
        parts.append(len(list(to.glob("parts/*.json"))))
    assert forked(whole_after, to) == 0, number
print("FOUND" + json.dumps({"ends": ends, "parts": parts}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="rounds are forked")
def test_reading_that_is_killed_anywhere_goes_on_to_equal_tables(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(ROUNDS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.partition("FOUND")[2])
    assert -9 in found["ends"]
    if ROUNDS > 10:  # kills fell before, between and after parts
        assert len(set(found["parts"])) > 3
