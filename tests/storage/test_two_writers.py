"""Two writers on one run, again and again: one writes, the other is refused by name, and the run is unharmed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from foretell.cli.main import main
from foretell.errors import FolderTakenError
from foretell.storage import writer_lock
from foretell.storage.runs import Run
from foretell.storage.writer_lock import writing_alone
from tests.storage.synthetic import contents, copied, made

ROUNDS = int(os.environ.get("FORETELL_TEST_ROUNDS", "1"))
N_THREADS = 5
WRITE = """
import errno, socket, sys
from foretell.storage import writer_lock
from tests.storage.synthetic import made
folder, host, has_locks = sys.argv[1:]
if host != "this": socket.gethostname = lambda: host
def missing(descriptor): raise OSError(errno.ENOLCK, "no locks")
if has_locks == "no": writer_lock._lock = missing
with writer_lock.writing_alone(folder):
    print("held", flush=True)
    made(folder, 3)
    sys.stdin.readline()
"""


def writer(folder: Path, host: str = "this", has_locks: str = "yes") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(folder), host, has_locks]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "has_locks"), [("this", "yes"), ("elsewhere", "yes"), ("elsewhere", "no"), ("this", "no")]
)
def test_the_second_of_two_processes_is_refused(
    tmp_path: Path, host: str, has_locks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another host, and where the file system has no locks, as well."""
    expected = contents(made(tmp_path / "alone", 3))
    for number in range(ROUNDS):
        folder = tmp_path / f"run-{number}"
        first = writer(folder, host, has_locks)
        try:
            assert main(["check", str(folder), "--repair"]) == 2
            assert re.search("is no run|is writing into it", capsys.readouterr().err)
            with pytest.raises(FolderTakenError, match=f"process {first.pid} on "), writing_alone(folder):
                made(folder, 3)
            name = re.escape(socket.gethostname() if host == "this" else host)
            with (
                pytest.raises(FolderTakenError, match=f"process {first.pid} on {name} .since 2"),
                writing_alone(folder),
            ):
                pass
        finally:
            first.communicate("\n")
        assert first.returncode == 0
        run = made(folder, 3)
        assert run.check() == []
        assert all(frame.equals(expected[name]) for name, frame in contents(run).items())
        assert not (folder / ".writer.json").exists()


@pytest.mark.parametrize("has_locks", [True, False])
def test_of_many_threads_one_writes_at_a_time(tmp_path: Path, has_locks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_locks:
        monkeypatch.setattr(writer_lock, "_has_locks", lambda _: False)
    expected = contents(copied(tmp_path / "alone", 2))
    for number in range(ROUNDS):
        folder = tmp_path / f"run-{number}"
        refused: list[str] = []

        def write(folder: Path = folder, refused: list[str] = refused) -> None:
            try:
                with writing_alone(folder):
                    made(folder, 2)
            except FolderTakenError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=write) for _ in range(N_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) < N_THREADS
        assert all("is writing into it" in message for message in refused)
        run = Run(folder)
        assert run.check() == []
        assert run.finished
        assert all(frame.equals(expected[name]) for name, frame in contents(run).items())
