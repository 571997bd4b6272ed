"""Runs by several processes are those of one, row for row, also when a worker is lost or a machine comes late."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from foretell.errors import InputError
from foretell.jobs.ray_pool import Workers
from foretell.reading.runs.read import read
from tests.jobs.test_ray_pool import by_script
from tests.reading.runs.test_read import GIVEN
from tests.reading.tiny import tiny_model

THOROUGH = int(os.environ.get("FORETELL_TEST_ROUNDS", "1"))
"""Rounds of faults; above 1 also other numbers of workers."""

COMMON = """
import json, os, signal, sys, threading, time
from functools import partial
from pathlib import Path
import polars as pl
from polars.testing import assert_frame_equal
import foretell
folder, samples = Path(sys.argv[1]), foretell.builtin_conversations("alpaca")[:12]
TABLES = ("samples", "attention", "checkpoints", "tokens", "hidden_states", "rows")
options = dict(answers="generate", max_new_tokens=6, temperature=1.0, batch_tokens=200, hidden=[0, 2], rows=True)
options |= dict(progress=False, detail=True)

def load(dying=None, slow=0.0):
    model = foretell.load_model(folder / "model")
    def before(*_):
        time.sleep(slow)
        in_the_middle = dying and len(list((dying / "parts").glob("*.json"))) >= 2
        if in_the_middle and not (folder / "lost").exists():
            (folder / "lost").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    model.model.register_forward_pre_hook(before)
    return model

def compared(run, whole):
    for table in TABLES:
        assert_frame_equal(getattr(run, table), getattr(whole, table), check_exact=True)
    for layer in (0, 2):
        for one, other in zip(run.hidden(layer, "mean over answer"), whole.hidden(layer, "mean over answer")):
            assert (one == other if isinstance(one, list) else (one == other).all())
    assert run.part_names == whole.part_names and run.finished
    return len(run.part_names)

whole = foretell.read(foretell.load_model(folder / "model"), samples, **options)
found = {}
"""

LOST = """
for number in range(int(sys.argv[2])):
    for file in folder.glob("lost"): file.unlink()
    to = folder / f"lost-{number}"
    run = foretell.read(partial(load, dying=to), samples, to=to, workers=2, **options)
    found[f"lost {number}"] = [compared(run, whole), (folder / "lost").exists()]
print("FOUND" + json.dumps(found))
"""

COUNTS = """
found = {}
for n_workers in (1, 2, 4):
    run = foretell.read(folder / "model", samples, to=folder / f"by-{n_workers}", workers=n_workers, **options)
    found[n_workers] = compared(run, whole)
loaded = foretell.load_model(folder / "model")
found["loaded"] = compared(foretell.read(loaded, samples, workers=2, **options), whole)
os.chdir(folder)
named = foretell.read("model", samples, **options)
found["relative"] = compared(foretell.read("model", samples, to="here", workers=2, **options), named)
loaded.model.get_input_embeddings().weight.data[5] += 1.0
try:
    foretell.read(loaded, samples, workers=1, **options)
except foretell.errors.InputError as error:
    found["changed"] = str(error)
print("FOUND" + json.dumps(found))
"""

LATE = """
import dataclasses, logging
os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
to = folder / "late"

def load_here():
    # says on which machine it reads; after the first part it waits for the late one, so that there is work left
    model, node, begun = foretell.load_model(folder / "model"), ray.get_runtime_context().get_node_id(), time.time()
    def before(*_):
        (folder / f"read-by-{node}").touch()
        while list((to / "parts").glob("*.json")) and len(list(folder.glob("read-by-*"))) < 2:
            if time.time() - begun > 600: raise TimeoutError("no second machine")
            time.sleep(0.05)
    model.model.register_forward_pre_hook(before)
    return model

given, runs = dataclasses.replace(foretell.load_model(folder / "model"), loader=load_here), []
reading = threading.Thread(target=lambda: runs.append(foretell.read(given, samples, to=to, workers=2, **options)))
reading.start()
while reading.is_alive() and not list((to / "parts").glob("*.json")): time.sleep(0.05)
late = cluster.add_node(num_cpus=1)  # Ray wants to be in the main thread for it
reading.join()
found["late"] = compared(runs[0], whole)
found["readers"] = sorted(file.name[8:] for file in folder.glob("read-by-*"))
found["nodes"] = sorted(node["NodeID"] for node in ray.nodes())
found["late node"] = late.node_id
found["session stays"] = ray.is_initialized()
ray.shutdown()
cluster.shutdown()
print("FOUND" + json.dumps(found))
"""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a model in it."""
    model = tiny_model("llama")
    model.model.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_costs_nothing(saved: Path) -> None:
    found, printed = by_script(COMMON + LOST, saved, THOROUGH)
    assert all(n_parts > 3 and was_lost for n_parts, was_lost in found.values())
    assert printed == ""


@pytest.mark.slow
@pytest.mark.skipif(THOROUGH < 2, reason="FORETELL_TEST_ROUNDS is not above 1")
def test_any_number_of_workers_gives_the_same_tables(saved: Path) -> None:
    found, printed = by_script(COMMON + COUNTS, saved)
    assert "a worker has loaded other weights" in found.pop("changed")
    assert len(set(found.values())) == 1
    assert printed == ""


@pytest.mark.slow
def test_a_machine_that_comes_late_helps(saved: Path) -> None:
    found, _ = by_script(COMMON + LATE, saved)
    assert found["late"] > 3
    assert found["readers"] == found["nodes"]
    assert found["late node"] in found["readers"]
    assert found["session stays"]


@pytest.fixture
def as_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused before Ray is imported needs none."""
    monkeypatch.setattr("foretell.jobs.ray_pool.find_spec", lambda name: name)


@pytest.mark.usefixtures("as_if_installed")
def test_a_model_that_nobody_else_can_load_is_refused_before_ray_is_started() -> None:
    with pytest.raises(InputError, match="workers load the model themselves, and this one was not loaded by"):
        read(tiny_model("llama"), GIVEN, workers=2, progress=False)


@pytest.mark.usefixtures("as_if_installed")
def test_workers_elsewhere_need_a_folder_that_they_see() -> None:
    with pytest.raises(InputError, match="need a folder for the run that all of them see"):
        read("any", GIVEN, workers=Workers(2, address="auto"), progress=False)


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused(workers: int) -> None:
    options: dict[str, Any] = {"progress": False}
    with pytest.raises(InputError, match="at least 1 is needed"):
        read("any", GIVEN, workers=workers, **options)
