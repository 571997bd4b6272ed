"""Compiling C once: what is kept, and that nothing is lost where there is no compiler or no room."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from foretell.reading.signals import plain, strips
from foretell.reading.signals.plain import Plain
from foretell.reading.signals.shared_library import shared_library
from tests.optional import missing

compiled = shared_library.__wrapped__
"""Without what it remembers."""
SOURCE = "int twice(int number) { return 2 * number; }\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder on a machine with a compiler."""
    if shutil.which("cc") is None:
        missing("a compiler for C")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("FORETELL_COMPILE", raising=False)
    monkeypatch.setenv("FORETELL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def in_cache(folder: Path) -> list[str]:
    cache = folder / "cache"
    return sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []


def test_a_source_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder / "twice.c"
    source.write_text(SOURCE, encoding="utf-8")
    library = compiled(source)
    assert isinstance(library, ctypes.CDLL)
    assert library.twice(21) == 42
    (name,) = in_cache(folder)
    assert name.startswith("twice-")
    assert name.endswith(".so")
    made = (folder / "cache" / name).stat().st_mtime_ns
    monkeypatch.setenv("PATH", "")
    assert compiled(source) is not None
    assert (folder / "cache" / name).stat().st_mtime_ns == made
    source.write_text(SOURCE.replace("2 *", "3 *"), encoding="utf-8")
    assert compiled(source) is None, "another source is another library"


@pytest.mark.parametrize("text", ["this is no C", "#error never\n", ""])
def test_a_source_that_does_not_compile_leaves_nothing(text: str, folder: Path) -> None:
    source = folder / "broken.c"
    source.write_text(text, encoding="utf-8")
    assert (compiled(source) is None) == bool(text)
    assert len(in_cache(folder)) == (0 if text else 1)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", '"unfinished'])
def test_without_a_compiler_there_is_none(compiler: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder / "twice.c"
    source.write_text(SOURCE, encoding="utf-8")
    monkeypatch.setenv("CC", compiler)
    assert compiled(source) is None
    assert in_cache(folder) == []


def test_it_can_be_forbidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder / "twice.c"
    source.write_text(SOURCE, encoding="utf-8")
    monkeypatch.setenv("FORETELL_COMPILE", "0")
    assert compiled(source) is None
    assert in_cache(folder) == []


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder / "twice.c"
    source.write_text(SOURCE, encoding="utf-8")
    (folder / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("FORETELL_CACHE", str(folder / "file" / "cache"))
    assert compiled(source) is None


def test_a_spoilt_library_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder / "twice.c"
    source.write_text(SOURCE, encoding="utf-8")
    assert compiled(source) is not None
    (name,) = in_cache(folder)
    monkeypatch.setenv("FORETELL_CACHE", str(folder))
    (folder / name).write_bytes(b"not a library")
    assert compiled(source) is None


@pytest.mark.parametrize("place", ["folder", "file"])
def test_what_others_may_write_to_is_not_loaded(place: str, folder: Path) -> None:
    source = folder / "twice.c"
    source.write_text(SOURCE, encoding="utf-8")
    assert compiled(source) is not None
    (name,) = in_cache(folder)
    open_to_all = folder / "cache" if place == "folder" else folder / "cache" / name
    open_to_all.chmod(open_to_all.stat().st_mode | 0o002)
    assert compiled(source) is None


def test_the_strips_compile_without_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -Wall -Wextra -Wconversion -Werror")
    assert compiled(Path(strips.__file__).with_suffix(".c")) is not None


def test_without_compiled_code_rows_are_weighed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "shared_library", lambda source: None)
    monkeypatch.setattr(plain, "strip_library", strips.strip_library.__wrapped__)
    assert Plain(most_bytes=1 << 20, entropy=False)._strips is None


def test_strips_do_not_bring_threads_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another compiler's would, whose library for threads has the same names."""
    source = folder / "own_threads.c"
    own = Path(strips.__file__).with_suffix(".c").read_text(encoding="utf-8")
    for added, is_taken in (("", True), ("int omp_get_thread_num(void) { return 0; }\n", False)):
        source.write_text(own + added, encoding="utf-8")
        made = compiled(source)
        assert made is not None
        monkeypatch.setattr(strips, "shared_library", lambda _, made=made: made)
        assert (strips.strip_library.__wrapped__() is not None) == is_taken
