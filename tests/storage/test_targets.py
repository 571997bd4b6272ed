"""Where results may go: what is in the way is told before any work, and nothing is left behind by looking."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from foretell.errors import FolderTakenError, InputError
from foretell.storage.targets import MANIFEST, check_file, check_folder, held_folder, next_free


def test_what_is_new_or_empty_is_accepted_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".gitignore").touch()
    before = sorted(tmp_path.rglob("*"))
    for name in ("empty", "hidden", "new", "deep/er/new"):
        check_folder(tmp_path / name)
        check_folder(tmp_path / name, resumes=MANIFEST)
        check_file(tmp_path / name / "lying.safetensors")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("manifest.json", "a run"),
        ("study.json", "a study"),
        ("surface.json", "a surface"),
        ("steering.parquet", "a steering curve"),
        ("demo.json", "a demo"),
        ("report.html", "a report"),
        ("thesis.txt", r"other files \(thesis\.txt\)"),
    ],
)
def test_a_folder_that_holds_something_is_refused_by_what_it_holds(tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / file).write_text("mine")
    with pytest.raises(InputError, match=f"holds {said} already; choose another name, or .*--overwrite"):
        check_folder(tmp_path)
    check_folder(tmp_path, overwrite=True)
    check_folder(tmp_path, resumes=file)
    with pytest.raises(InputError, match=said):
        check_folder(tmp_path, resumes="absent.json")
    with pytest.raises(InputError, match=f"{file}: exists already"):
        check_file(tmp_path / file)
    check_file(tmp_path / file, overwrite=True)
    assert (tmp_path / file).read_text() == "mine"


@pytest.mark.parametrize("check", [check_folder, check_file])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_cannot_be_written_is_refused_even_to_overwrite(
    tmp_path: Path, check: Callable[..., None], overwrite: bool
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "absent" / "far")
    (tmp_path / "folder").mkdir()
    for path, said in (
        (tmp_path / "file" / "out", "file: is a file; name a folder"),
        (tmp_path / "file" / "deep" / "out", "file: is a file; name a folder"),
        (tmp_path / "link" / "out", "link: is a link to nothing"),
        (tmp_path / ("n" * 300) / "out", "cannot be written .*too long"),
        (Path("/proc/out/x"), "cannot be written"),
    ):
        with pytest.raises(InputError, match=said):
            check(path, overwrite=overwrite)
    with pytest.raises(InputError, match="folder: is a folder; name a file"):
        check_file(tmp_path / "folder", overwrite=overwrite)
    with pytest.raises(InputError, match=r"cannot be written .*too long"):
        check(tmp_path / ("n" * 300), overwrite=overwrite)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
            check_folder(tmp_path / "out")
    finally:
        tmp_path.chmod(0o755)


def test_the_next_free_name_is_the_first_that_holds_nothing(tmp_path: Path) -> None:
    assert next_free(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    assert next_free(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run" / "manifest.json").touch()
    (tmp_path / "run-2").write_text("a file")
    (tmp_path / "run-4").mkdir()
    assert next_free(f"{tmp_path}/run/") == tmp_path / "run-3"


def test_what_a_stopped_call_left_before_it_began_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{")
    check_folder(tmp_path)
    (tmp_path / "parts").mkdir()
    with pytest.raises(InputError, match=r"without its manifest \(`foretell check --repair` makes"):
        check_folder(tmp_path)


def test_calls_within_one_another_hold_a_folder_once_and_leave_none_that_is_empty(tmp_path: Path) -> None:
    with held_folder(tmp_path / "a" / "out"):
        with held_folder(tmp_path / "a" / ".." / "a" / "out"):
            pass
        assert (tmp_path / "a" / "out" / ".writer.json").exists()
    assert not list(tmp_path.iterdir())


def test_what_another_call_wrote_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find nothing at first; the other one is done when this one's turn comes."""
    checks: list[Path] = []

    def check(folder: Path, *, overwrite: bool) -> None:
        check_folder(folder, overwrite=overwrite)
        checks.append(folder)
        if len(checks) == 1:
            (folder / "study.json").write_text("{}")

    monkeypatch.setattr("foretell.storage.targets.check_folder", check)
    with pytest.raises(InputError, match="holds a study already"), held_folder(tmp_path):
        pytest.fail("held")


def test_files_of_calls_at_the_same_time_are_not_mixed(tmp_path: Path) -> None:
    refused: list[str] = []

    def write(number: int) -> None:
        try:
            with held_folder(tmp_path, overwrite=True):
                for name in "abcd":
                    (tmp_path / name).write_text(str(number))
                    threading.Event().wait(0.001)
        except FolderTakenError as error:
            refused.append(str(error))

    for first in range(0, 40, 4):
        threads = [threading.Thread(target=write, args=(number,)) for number in range(first, first + 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({(tmp_path / name).read_text() for name in "abcd"}) == 1
    assert refused
    assert all(f"process {os.getpid()} on" in said for said in refused)
