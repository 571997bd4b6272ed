"""One writer per folder: the second is told who holds it, and a process that is gone holds nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from foretell.errors import FolderTakenError
from foretell.storage import writer_lock
from foretell.storage.writer_lock import break_lock, refuse_second_writer, writing_alone

HOLD = """
import sys, time
from foretell.storage.writer_lock import writing_alone
with writing_alone(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_message_names_who_holds_the_folder(tmp_path: Path) -> None:
    process = holding(tmp_path / "run")
    try:
        who = re.escape(f"process {process.pid} on {socket.gethostname()}")
        for _ in range(2):
            with (
                pytest.raises(
                    FolderTakenError, match=rf"run: {who} \(since \d{{4}}-\d\d-\d\d .* UTC\) is writing into it"
                ),
                writing_alone(tmp_path / "run"),
            ):
                pass
            with pytest.raises(FolderTakenError, match=who):
                refuse_second_writer(tmp_path / "run")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_gone_holds_nothing(tmp_path: Path, end: signal.Signals) -> None:
    process = holding(tmp_path)
    process.send_signal(end)
    process.communicate()
    assert list(tmp_path.iterdir())  # what it said of itself is still there
    refuse_second_writer(tmp_path)
    with writing_alone(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "host": "elsewhere", "since": "once"}'])
def test_a_file_that_nobody_locks_is_taken_whatever_it_says(tmp_path: Path, text: str) -> None:
    (tmp_path / ".writer.json").write_text(text)
    with writing_alone(tmp_path):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".writer.json").read_text()


def test_a_second_thread_is_refused_at_once(tmp_path: Path) -> None:
    said: list[str] = []

    def second() -> None:
        try:
            with writing_alone(tmp_path):
                said.append("written")
        except FolderTakenError as error:
            said.append(str(error))

    with writing_alone(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
    assert len(said) == 1
    assert f"process {os.getpid()}" in said[0]


def test_a_folder_is_made_and_left_only_where_something_was_written(tmp_path: Path) -> None:
    with writing_alone(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with writing_alone(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "note").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["note"]


def test_many_at_once_are_one_at_a_time(tmp_path: Path) -> None:
    """The lock's file is removed by whoever ends; those who just opened it must not go on with the removed one."""
    counter, refused = tmp_path / "counter", 0
    counter.write_text("0")
    lock = threading.Lock()
    inside: list[int] = []

    def work() -> None:
        nonlocal refused
        for _ in range(200):
            try:
                with writing_alone(tmp_path):
                    inside.append(1)
                    assert len(inside) == 1
                    counter.write_text(str(int(counter.read_text()) + 1))
                    inside.pop()
            except FolderTakenError:
                with lock:
                    refused += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(counter.read_text()) + refused == 800
    assert not inside


@pytest.fixture(params=["locks", "no locks"])
def any_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system that locks files, and one that does not know how."""
    if request.param == "no locks":

        def missing(descriptor: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(writer_lock, "_lock", missing)
    return str(request.param)


def left(folder: Path, **other: object) -> None:
    """Leave the file of a writer that did not say that it ended."""
    known = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-01-01 00:00:00 UTC"}
    (folder / ".writer.json").write_text(json.dumps({**known, **other}))


@pytest.mark.usefixtures("any_lock")
def test_a_writer_of_another_host_is_believed_until_somebody_says_that_it_is_gone(tmp_path: Path) -> None:
    left(tmp_path, pid=7, host="node-3", machine="another")
    for _ in range(2):
        with (
            pytest.raises(
                FolderTakenError,
                match=r"process 7 on node-3 \(since 2026-.*gone, delete .*writer.json .*--break-lock",
            ),
            writing_alone(tmp_path),
        ):
            pass
        with pytest.raises(FolderTakenError, match="process 7 on node-3"):
            refuse_second_writer(tmp_path)
    break_lock(tmp_path)
    with writing_alone(tmp_path):
        pass
    break_lock(tmp_path)


@pytest.mark.usefixtures("any_lock")
@pytest.mark.parametrize("gone", ["process", "number taken by another", "machine started again"])
def test_a_writer_of_this_host_that_is_gone_holds_nothing(tmp_path: Path, gone: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    if gone == "process":
        left(tmp_path, pid=ended.pid)
    elif gone == "machine started again":
        left(tmp_path, machine="before")
    else:
        left(tmp_path, start="1")
    with writing_alone(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_container_of_this_machine_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    """Containers have names of their own, and one system, which knows all their locks."""
    if writer_lock._machine() is None:
        pytest.skip("the system does not name itself")
    left(tmp_path, pid=1, host="container-1", machine=writer_lock._machine())
    with writing_alone(tmp_path):
        pass


@pytest.mark.usefixtures("any_lock")
def test_one_holds_it_at_a_time_and_breaking_does_not_help_against_the_living(tmp_path: Path) -> None:
    with writing_alone(tmp_path):
        break_lock(tmp_path)
        with pytest.raises(FolderTakenError, match=f"process {os.getpid()} on"), writing_alone(tmp_path):
            pass
        with pytest.raises(FolderTakenError, match=f"process {os.getpid()} on"):
            refuse_second_writer(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_locks_many_threads_are_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(descriptor: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(writer_lock, "_lock", missing)
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            try:
                with writing_alone(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except FolderTakenError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_links_has_a_file_that_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(writer_lock, "_lock", lambda _: missing())
    monkeypatch.setattr(writer_lock, "_WITHOUT_LOCKS", {errno.EPERM})
    monkeypatch.setattr(os, "link", missing)
    with writing_alone(tmp_path), pytest.raises(FolderTakenError), writing_alone(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
