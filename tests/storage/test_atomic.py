"""Files that are written whole: who may read them, and what a failure leaves."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from foretell.errors import RunError
from foretell.storage import atomic
from foretell.storage.atomic import saving, written_whole
from foretell.storage.cache_folder import cache_folder, chosen_cache_folder


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_for_whom_the_umask_allows(tmp_path: Path, umask: int, mode: int) -> None:
    path = tmp_path / "made" / "lying.safetensors"
    before = os.umask(umask)
    try:
        with written_whole(path) as draft:
            save_file({"vectors": np.zeros(3)}, draft)  # which writes a file for this user alone
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old", encoding="utf-8")

    def fail(draft: Path) -> None:
        draft.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), written_whole(path) as draft:
        fail(draft)
    assert [each.name for each in tmp_path.iterdir()] == ["note.txt"]
    assert path.read_text(encoding="utf-8") == "old"


def test_the_folder_for_what_can_be_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORETELL_CACHE", str(tmp_path))
    assert cache_folder() == chosen_cache_folder() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FORETELL_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"
    monkeypatch.setenv("FORETELL_CACHE", "")
    assert chosen_cache_folder() is None
    assert cache_folder().is_absolute()


def test_a_durable_file_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    replace = Path.replace
    monkeypatch.setattr(atomic, "_sync", lambda path: steps.append("folder" if path.is_dir() else "file"))

    def renamed(path: Path, target: Path) -> Path:
        steps.append("name")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", renamed)
    with written_whole(tmp_path / "a", durable=True) as draft:
        draft.write_text("a")
    assert steps == ["file", "name", "folder"]
    with written_whole(tmp_path / "b") as draft:
        draft.write_text("b")
    assert steps == ["file", "name", "folder", "name"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), "Disk quota exceeded"),
        (ValueError("I/O error: Read-only file system (os error 30)"), "Read-only file system"),
    ],
)
def test_what_the_system_refuses_names_the_file(error: Exception, reason: str) -> None:
    said = rf"run/a\.parquet: cannot be written \({reason}\); what was complete before is kept"
    with pytest.raises(RunError, match=said), saving("run/a.parquet"):
        raise error


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(ValueError, match="another"), saving("a"):
        raise ValueError("another")
