"""What the system refuses to write is said with its file, and nothing that was complete is lost."""

from __future__ import annotations

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
from tests.storage.synthetic import append_part, made
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = made(sys.argv[1], 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try: append_part(run, 2)
except RunError as error: print(error); sys.exit(error.exit_code)
"""
FULL = """
import sys
from foretell.errors import RunError
from foretell.storage.runs import Run
from tests.storage.synthetic import append_part, job
run = Run.create(sys.argv[1], job(400))
try:
    for number in range(400): append_part(run, number)
except RunError as error: print(error); sys.exit(error.exit_code)
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts are made otherwise there")
def test_a_full_disk_ends_the_call_and_the_run_goes_on_elsewhere(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    script = (
        f"mount -t tmpfs -o size=1m none {mounted} || exit 77; "
        f"'{sys.executable}' -c '{FULL}' {mounted}/run; code=$?; cp -r {mounted}/run {tmp_path}/run; exit $code"
    )
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        missing("the right to mount a file system")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot be written (No space left on device)" in done.stdout
    run = Run(tmp_path / "run")
    assert run.check() == []
    n_parts = len(run.parts)
    assert 2 < n_parts < 400
    expected = contents(made(tmp_path / "whole", 4))
    assert all(
        frame.filter(frame["id"].is_in(expected["samples"]["id"].to_list())).equals(expected[name])
        for name, frame in contents(run).items()
        if name == "attention"
    )
    assert not run.finished


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder that nobody can write")
def test_a_folder_that_nobody_can_write_is_refused() -> None:
    with pytest.raises(RunError, match="cannot be written"):
        RunFiles(Path("/proc/self")).write("manifest.json", b"{}")
    with pytest.raises((RunError, OSError)):
        Run.create(Path("/proc/self/run"), job(1))
