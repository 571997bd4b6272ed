"""One writer per folder: the second is told who holds it, and a process that is gone holds nothing."""

from __future__ import annotations

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
from foretell.storage.writer_lock import refuse_second_writer, writing_alone

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


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "host": "elsewhere", "since": "once"}'])
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
