"""Workers: what is refused before they start, and what they do with tasks, errors and losses.

Ray runs in processes of its own, started by a script, so that nothing of it stays in the process of the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from foretell.errors import InputError, MissingExtraError
from foretell.jobs.ray_pool import Workers, on_workers
from tests.optional import missing

SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from foretell.errors import ForetellError, InputError
from foretell.jobs.ray_pool import Workers, connected, on_workers
folder = Path(sys.argv[1])

def squares():
    (folder / f"worker-{os.getpid()}").touch()
    def work(task):
        number, kind = task["number"], task["kind"]
        if kind == "lost once" and not (folder / "lost").exists():
            (folder / "lost").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "lost always":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "refused":
            raise InputError("not this one")
        if kind == "broken":
            raise ZeroDivisionError("by zero")
        return {"square": number**2, "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
    return work

def reachable():
    # addresses other than this machine's own at which a process that was started here listens
    parents, inodes = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[stat.parent.name] = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
    def is_ours(pid):
        while pid in parents and pid != str(os.getpid()):
            pid = parents[pid]
        return pid == str(os.getpid())
    ours = set()
    for pid in filter(is_ours, parents):
        try:
            ours |= {os.readlink(one) for one in Path("/proc", pid, "fd").iterdir()}
        except OSError:
            continue
    found = []
    for kind in ("tcp", "tcp6"):
        for line in Path("/proc/net", kind).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in ours and not words[1].startswith("0100007F"):
                found.append(words[1])
    return [one for one in found if not one.startswith("0000000000000000FFFF00000100007F")]

def broken():
    raise InputError("there is no such model")

def outcome(n_workers, kinds, make=squares):
    tasks = [{"number": number, "kind": kind} for number, kind in enumerate(kinds)]
    try:
        found = list(on_workers(Workers(n_workers), make, tasks))
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "__notes__", [])]
    return sorted(one["square"] for one in found), len({one["pid"] for one in found})

found = {}
with connected(Workers(2)):
    found["all"] = outcome(2, [""] * 7)
    found["lost"] = outcome(2, ["", "lost once", "", ""])
    found["refused"] = outcome(1, ["", "refused"])
    found["broken"] = outcome(1, ["broken"])
    found["nowhere"] = outcome(2, ["", ""], broken)
    found["poison"] = outcome(1, ["lost always"])
    import ray
    found["session stays"] = ray.is_initialized()
    found["reachable"] = reachable()
found["session ends"] = not ray.is_initialized()
found["warned"] = os.environ["RAY_USAGE_STATS_ENABLED"]
print("FOUND" + json.dumps(found))
"""


def by_script(script: str, *words: object) -> tuple[dict[str, Any], str]:
    """Run a script that uses Ray; return what it found, and all else that was printed."""
    if find_spec("ray") is None:
        missing("ray")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    command = [sys.executable, "-c", script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    printed, _, found = done.stdout.partition("FOUND")
    # that a worker was lost is said by Ray, once
    kept = [line for line in (printed + done.stderr).splitlines() if "(raylet)" not in line]
    return json.loads(found), "\n".join(kept)


@pytest.mark.slow
def test_workers_do_every_task_whatever_happens_to_them(tmp_path: Path) -> None:
    found, printed = by_script(SCRIPT, tmp_path)
    assert found["all"][0] == [number**2 for number in range(7)]
    assert 1 <= found["all"][1] <= 2
    assert found["lost"][0] == [number**2 for number in range(4)]
    assert found["refused"] == ["InputError", "not this one", []]
    name, message, notes = found["broken"]
    assert (name, message) == ("ZeroDivisionError", "by zero")
    assert "in a worker" in notes[0]
    assert found["nowhere"] == ["InputError", "there is no such model", []]
    assert found["poison"][0] == "UnfinishedError"
    assert "0 of 1 tasks are done" in found["poison"][1]
    assert found["session stays"]
    assert found["reachable"] == []
    assert found["session ends"]
    assert printed == ""


@pytest.fixture
def as_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused before Ray is imported needs none."""
    monkeypatch.setattr("foretell.jobs.ray_pool.find_spec", lambda name: name)


@pytest.mark.usefixtures("as_if_installed")
def test_no_tasks_need_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert list(on_workers(Workers(2), lambda: abs, [])) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_workers": 0}, "at least 1 is needed, not 0"),
        ({"n_workers": -3}, "at least 1"),
        ({"n_workers": True}, "not True"),
        ({"n_workers": 1, "gpus_per_worker": -0.5}, "gpus_per_worker must be 0 or above"),
        ({"n_workers": 1, "gpus_per_worker": float("nan")}, "not nan"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Workers(**options)


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretell.jobs.ray_pool.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"reading with workers needs .* pip install 'foretell\[ray\]'"):
        Workers(2)
