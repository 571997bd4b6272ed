"""Runs at URLs are written, resumed, read, checked, repaired and compacted like those in folders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretell.errors import FolderTakenError, InputError, MissingExtraError, RunError
from foretell.schema.tables import POOLS
from foretell.storage.location.remote import is_url, remote_of
from foretell.storage.runs import Run, is_run, open_run
from foretell.storage.targets import check_folder, next_free
from foretell.storage.writer_lock import break_lock, refuse_second_writer, writing_alone
from tests.optional import missing
from tests.storage.synthetic import append_part, contents, job, made

try:
    import fsspec
except ModuleNotFoundError:  # pragma: no cover
    fsspec = None


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A place in the memory of this process, empty before and after."""
    if fsspec is None:
        missing("fsspec")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield f"memory://bucket/{tmp_path.name}"
    memory.store.clear()


def test_a_run_at_a_url_is_the_run_in_a_folder(url: str, tmp_path: Path) -> None:
    expected = contents(made(tmp_path / "run", 3))
    run = made(url, 3)
    assert run.location == url
    assert run.finished
    found = contents(open_run(url))
    assert all(frame.equals(expected[name]) for name, frame in found.items())
    files = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    remote = fsspec.filesystem("memory")
    assert {name.partition(f"{tmp_path.name}/")[2] for name in remote.find(url)} == files
    assert open_run(url).check() == []


def test_only_what_is_asked_for_is_fetched(url: str) -> None:
    made(url, 3)
    run = open_run(url)
    assert run.samples.height == 9
    kept = {path.parent.name for path in run.path.rglob("*") if path.is_file()} - {run.path.name}
    assert kept == {"parts", "samples"}
    path = run.path
    del run
    assert not path.exists()


def test_it_is_resumed_and_another_job_is_refused(url: str) -> None:
    run = Run.create(url, job(3))
    append_part(run, 1)
    again = made(url, 3)
    assert {part.name for part in again.parts} == {"part-00000", "part-00001", "part-00002"}
    with pytest.raises(FolderTakenError, match=f"{url}: holds a run of another job .differs in dtype"):
        Run.create(url, job(3, dtype="bfloat16"))
    assert made(url, 2) if Run.create(url, job(2), overwrite=True) else None
    assert open_run(url).samples.height == 6


def test_labels_states_repair_and_compaction_work_there(url: str) -> None:
    run = made(url, 3)
    expected = contents(run)
    ids = run.samples["id"].to_list()
    run.write_labels(pl.DataFrame({"id": ids, "behavior_label": 1, "label_source": "file"}))
    assert open_run(url).samples["behavior_label"].sum() == 9
    run.add_hidden(7, POOLS[1], ids, np.ones((9, 2)))
    assert open_run(url).hidden(7, POOLS[1])[0] == ids
    remote = remote_of(url)
    remote.remove(["tokens/part-00001.parquet", "labels.parquet", "labels.json"])
    with pytest.raises(RunError, match=r"tokens/part-00001\.parquet: is missing"):
        _ = open_run(url).tokens
    assert [damage.file for damage in open_run(url).repair()] == ["tokens/part-00001.parquet"]
    assert "samples/part-00001.parquet" not in {f"samples/{name}" for name in remote.names("samples")}
    made(url, 3).compact()
    found = open_run(url)
    assert [part.name for part in found.parts] == ["compact-00000"]
    assert all(frame.equals(expected[name]) for name, frame in contents(found).items() if name != "hidden")
    assert found.check() == []
    assert remote.names("samples") == ["compact-00000.000000.parquet"]


def test_the_second_writer_is_refused_where_an_object_can_be_made_once(url: str) -> None:
    with writing_alone(url):
        with pytest.raises(FolderTakenError, match="is writing into it"), writing_alone(url):
            pass
        with pytest.raises(FolderTakenError, match="is writing into it"):
            refuse_second_writer(url)
    refuse_second_writer(url)
    remote = remote_of(url)
    for host, process, refused in (("elsewhere", 1, True), (None, 2**22 + 1, False)):
        text = f'{{"pid": {process}, "host": "{host}", "since": "2026"}}'
        if host is None:
            import socket

            text = text.replace("None", socket.gethostname())
        remote.create(".writer.json", text.encode())
        if refused:
            with pytest.raises(FolderTakenError, match=r"process 1 on elsewhere.*--break-lock"), writing_alone(url):
                pass
            break_lock(url)
        else:
            with writing_alone(url):
                pass
    assert remote.names() == []


def test_what_is_there_is_seen_before_the_work(url: str) -> None:
    check_folder(url)
    assert not is_run(url)
    assert next_free(url) == url
    with pytest.raises(InputError, match=f"{url}: is no run"):
        open_run(url)
    made(url, 1)
    assert is_run(url)
    assert next_free(url) == f"{url}-2"
    check_folder(url, resumes="manifest.json")
    with pytest.raises(InputError, match="holds other files already"):
        check_folder(url)


@pytest.mark.parametrize("place", ["run", "/run", Path("s3:/run"), "C:\\run", None])
def test_folders_are_no_urls(place: object) -> None:
    assert not is_url(place)


def test_a_url_of_no_known_kind_is_refused() -> None:
    if fsspec is None:
        missing("fsspec")
    with pytest.raises(InputError, match="no file system is known for it"):
        remote_of("nothing-like-that://run")


def test_what_the_other_side_raises_names_the_file(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class _OwnError(Exception):
        pass

    def failing(*_: object, **__: object) -> None:
        raise _OwnError("the bucket is gone")

    run = Run.create(url, job(1))
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", failing)
    with pytest.raises(RunError, match=r"part-00000\.\w+: the bucket is gone \(_OwnError\)"):
        append_part(run, 0)


@pytest.mark.parametrize("call", ["info", "ls", "cat_file", "get_file"])
def test_a_store_that_cannot_be_reached_is_not_taken_for_one_without_the_run(
    url: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    made(url, 1)

    def failing(*_: object, **__: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), call, failing)
    with pytest.raises(RunError, match=r"nobody answers \(ConnectionError\)"), writing_alone(url):
        made(url, 1)


def test_without_fsspec_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['fsspec'] = None; sys.modules['fsspec.core'] = None\n"
        "from foretell.storage.location.remote import remote_of\n"
        "from foretell.errors import MissingExtraError\n"
        "try: remote_of('memory://run')\nexcept MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'foretell[remote]'" in done.stdout
    assert issubclass(MissingExtraError, InputError)
