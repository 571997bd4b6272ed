"""What the system refuses to write is said with its file, and nothing that was complete is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foretell.errors import RunError
from foretell.storage.location.run_files import RunFiles
from foretell.storage.runs import Run
from tests.optional import missing
from tests.storage.synthetic import contents, job, made

LIMITED = """
import resource, signal, sys
from foretell.errors import RunError
from foretell.storage.runs import Run
from tests.storage.synthetic import append_part, job
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = Run.create(sys.argv[1], job(3))
for number in range(2): append_part(run, number)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try: append_part(run, 2)
except RunError as error: print(error); sys.exit(error.exit_code)
"""
DISK = """
import json, subprocess, sys
from pathlib import Path
import numpy as np, polars as pl
from foretell.cli.main import main
from foretell.errors import RunError
from foretell.storage.runs import open_run
from foretell.storage.atomic import written_whole
from tests.storage.synthetic import append_part, contents, made
small, elsewhere = map(Path, sys.argv[1:])

def mounted(*options):
    if subprocess.run(["mount", *options, small]).returncode: sys.exit(77)

def said(call):
    try:
        call()
    except RunError as error:
        return error.exit_code, str(error).replace(str(small), "")
    return 0, ""

def written():
    with written_whole(small / "results" / "table") as draft: draft.write_bytes(b"x" * 9000)

def tried():
    run = open_run(small / "run")
    ids = run.samples["id"]
    labels = pl.DataFrame({"id": ids, "behavior_label": 1, "label_source": "file"})
    calls = {
        "go on": lambda: made(run.path, 40),
        "label": lambda: run.write_labels(labels),
        "compact": run.compact,
        "add": lambda: run.add_hidden(9, "mean over answer", ids, np.ones((len(ids), 4))),
        "repair": run.repair,
        "results": written,
    }
    return {name: said(call) for name, call in calls.items()} | {"check": main(["check", str(run.path)])}

mounted("-t", "tmpfs", "-o", "size=1m", "none")
found = {"written": said(lambda: made(small / "run", 40)), "parts": len(open_run(small / "run").parts)}
with (small / "filler").open("wb", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)): pass
    except OSError: pass
found["full"] = tried()
mounted("-o", "remount,ro")
found["read-only"] = tried()
found["before"] = main(["study", str(small / "run"), "--to", str(small / "out")])
mounted("-o", "remount,rw,size=64m")
run, expected = made(small / "run", 40), contents(made(elsewhere, 40))
found["equal"] = all(frame.equals(expected[name]) for name, frame in contents(run).items())
found["checked"] = [str(damage) for damage in run.check()]
run.compact()
found["left"] = sorted(path.name for path in small.rglob("*") if path.name.startswith("."))
print("FOUND" + json.dumps(found))
"""


def test_files_are_named_in_order_and_drafts_are_none(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    for name in ("b", "a", ".draft"):
        files.write(f"tokens/{name}.parquet", b"x")
    assert files.names("tokens", ".parquet") == ["a", "b"]
    assert files.names("none", ".parquet") == []
    files.remove(["tokens/a.parquet", "tokens/never.parquet"])
    assert files.names("tokens", ".parquet") == ["b"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize("limit", [0, 600, 3000])
def test_a_quota_ends_the_call_with_the_file_and_the_run_goes_on_later(tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "run"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot be written (File too large); what was complete before is kept" in done.stdout
    run = Run(tmp_path / "run")
    assert run.check() == []
    assert [part.name for part in run.parts] == ["part-00000", "part-00001"]
    assert not [path for path in run.path.rglob("*") if path.name.endswith(".part")]
    expected = contents(made(tmp_path / "whole", 3))
    assert all(frame.equals(expected[name]) for name, frame in contents(made(run.path, 3)).items())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts are made otherwise there")
def test_a_disk_that_is_full_or_becomes_read_only_ends_each_call_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    script = [sys.executable, "-c", DISK, str(tmp_path / "small"), str(tmp_path / "whole")]
    command = ["unshare", "--mount", "--map-root-user", *script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        missing("the right to mount a file system")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.partition("FOUND")[2])
    assert found["written"][0] == 1
    assert "cannot be written (No space left on device); what was complete before is kept" in found["written"][1]
    assert 2 < found["parts"] < 40
    for state, reason in (("full", "No space left on device"), ("read-only", "Read-only file system")):
        assert found[state].pop("check") == 0
        for call, (code, message) in found[state].items():
            assert (code, f"cannot be written ({reason})" in message) == (1, True), (state, call, message)
    assert found["before"] == 2
    assert (found["equal"], found["checked"], found["left"]) == (True, [], [])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder that nobody can write")
def test_a_folder_that_nobody_can_write_is_refused() -> None:
    with pytest.raises(RunError, match="cannot be written"):
        RunFiles(Path("/proc/self")).write("manifest.json", b"{}")
    with pytest.raises((RunError, OSError)):
        Run.create(Path("/proc/self/run"), job(1))
