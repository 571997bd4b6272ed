"""A disk that cannot hold a run is refused before the work; what is estimated is never more than what is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from foretell.errors import InputError
from foretell.storage.location.disk_space import require_space, run_bytes


class _Usage(NamedTuple):
    free: int


def test_a_disk_without_space_is_refused_with_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(3 << 20))
    require_space(tmp_path / "not" / "there", 3 << 20)
    with pytest.raises(InputError, match=r"disk has 3\.0 MiB free, .* takes at least 2\.0 GiB; make space"):
        require_space(tmp_path / "not" / "there", 2 << 30)


def test_the_bound_grows_with_what_is_kept() -> None:
    sizes: dict[str, Any] = {"n_layers": 30, "n_heads": 9}
    bare = run_bytes([100] * 10, [20] * 10, **sizes)
    more: list[dict[str, Any]] = [{"detail": True}, {"rows": True}, {"n_directions": 2}]
    assert all(run_bytes([100] * 10, [20] * 10, **sizes, **one) > bare for one in more)
    assert run_bytes([100] * 20, [20] * 20, **sizes) == 2 * bare
    assert run_bytes([], [], **sizes) == 0
