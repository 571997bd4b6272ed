"""Runs in an object store that speaks S3, served on this machine by moto, where moto and s3fs are installed.

They are in no extra, because their dependencies have other versions than those that are pinned. Into an environment of
its own: `pip install s3fs 'moto[server]'` (see docs/howto/cluster.md for what was tried).
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.cli.main import main
from foretell.errors import FolderTakenError
from foretell.schema.tables import POOLS
from foretell.storage.location.remote import remote_of
from foretell.storage.runs import is_run, open_run
from foretell.storage.writer_lock import writing_alone
from tests.storage.synthetic import contents, copied, made

pytestmark = pytest.mark.slow
N_PARTS = 3
WHY = "needs s3fs and moto[server], which are in no extra"
WRITE = """
import sys
from foretell.storage.writer_lock import writing_alone
from tests.storage.synthetic import append_part, job
from foretell.storage.runs import Run
with writing_alone(sys.argv[1]):
    append_part(Run.create(sys.argv[1], job(3)), 1)
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An empty bucket of a server that is there for this file only."""
    pytest.importorskip("s3fs", reason=WHY, exc_type=ImportError)
    moto = pytest.importorskip("moto.server", reason=WHY, exc_type=ImportError)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.setenv(f"AWS_{name}", "local")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        other_client().mkdir("runs")
        yield "s3://runs"
    server.stop()


@pytest.fixture
def url(bucket: str, tmp_path: Path) -> str:
    """A place where nothing is."""
    return f"{bucket}/{tmp_path.name}/run"


def other_client() -> Any:
    """As another process sees the store: without what this one has listed."""
    fsspec = pytest.importorskip("fsspec")
    return fsspec.filesystem("s3", skip_instance_cache=True)


def test_a_run_is_written_read_shown_and_compacted_there(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = contents(copied(tmp_path / "run", N_PARTS))
    run = made(url, N_PARTS)
    ids = run.samples["id"].to_list()
    assert all(frame.equals(expected[name]) for name, frame in contents(open_run(url)).items())
    run.write_labels(pl.DataFrame({"id": ids, "behavior_label": 1, "label_source": "file"}))
    run.add_hidden(7, POOLS[1], ids, np.ones((len(ids), 2)))
    assert (main(["check", url, "--compact"]), main(["show", url])) == (0, 0)
    assert f"whole: {len(ids)} samples" in capsys.readouterr().out
    compacted = open_run(url)
    assert len(compacted.parts) == 1
    assert compacted.samples["behavior_label"].sum() == len(ids)
    assert compacted.hidden(7, POOLS[1])[0] == ids
    assert compacted.attention.equals(expected["attention"])
    assert compacted.check() == []


@pytest.mark.parametrize("compacted", [False, True])
def test_what_is_damaged_or_gone_there_is_named_and_read_again(url: str, tmp_path: Path, compacted: bool) -> None:
    expected = contents(made(url, N_PARTS))
    if compacted:
        open_run(url).compact()
    store, place = other_client(), url.removeprefix("s3://")
    names = sorted(store.find(place))
    damaged = {next(name for name in names if f"/{table}/" in name) for table in ("tokens", "hidden")}
    damaged |= {name for name in names if name.endswith(".safetensors")}
    for number, name in enumerate(sorted(damaged)):
        if number == 0:
            store.rm_file(name)
        else:
            data = bytearray(store.cat_file(name))
            data[len(data) // 2] ^= 1
            store.pipe_file(name, bytes(data))
    assert {f"{place}/{damage.file}" for damage in open_run(url).check()} == damaged
    assert main(["check", url]) == 1
    assert main(["check", url, "--repair"]) == 0
    again = made(url, N_PARTS)
    assert again.finished
    assert again.check() == []
    assert all(frame.equals(expected[name]) for name, frame in contents(again).items())


def test_a_second_writer_is_refused_and_one_that_was_killed_is_followed(url: str, tmp_path: Path) -> None:
    expected = contents(copied(tmp_path / "run", N_PARTS))
    command = [sys.executable, "-c", WRITE, url]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        for _ in range(3):
            with pytest.raises(FolderTakenError, match=f"process {first.pid} on .* is writing"), writing_alone(url):
                pass
        assert main(["check", url, "--repair"]) == 2
    finally:
        first.kill()
        first.communicate()
    with writing_alone(url):
        run = made(url, N_PARTS)
    assert run.check() == []
    assert all(frame.equals(expected[name]) for name, frame in contents(run).items())
    assert ".writer.json" not in remote_of(url).names()


def test_what_others_write_is_seen_though_the_folder_was_listed_before(url: str, tmp_path: Path) -> None:
    remote, store = remote_of(url), other_client()
    copied(tmp_path / "run", 1)
    store.pipe_file(f"{url}/notes.txt", b"mine")
    assert remote.names() == ["notes.txt"]
    assert not is_run(url)
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            store.put_file(str(path), f"{url}/{path.relative_to(tmp_path / 'run')}")
    assert is_run(url)
    assert remote.names("parts") == ["part-00000.json"]
    store.rm_file(f"{url}/manifest.json")
    assert not is_run(url)
