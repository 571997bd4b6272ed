"""Runs of the format before are read, others are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from foretell.errors import FolderTakenError, RunError
from foretell.schema.tables import POOLS
from foretell.storage.commits.manifest import Manifest
from foretell.storage.runs import Run, open_run
from tests.storage.synthetic import contents, copied, job


def listed(run: Run) -> None:
    """Turn a run into one of format 2: its manifest lists the parts, and nothing else does."""
    parts = []
    for part in run.parts:
        files: dict[str, dict[str, object]] = {}
        for file in part.files:
            if file.is_shard:
                files["hidden"].setdefault("shards", {})[file.name] = file.sha256  # type: ignore[index]
            else:
                files[file.table] = {"rows": file.n_rows, "sha256": file.sha256}
        parts.append({"name": part.name, "files": files})
        (run.path / part.place).unlink()
    content = {"format": 2, "foretell": "0.0.9", "job": run.job, "parts": parts, "finished": True}
    (run.path / "manifest.json").write_text(json.dumps(content, indent=2))
    (run.path / "job.json").unlink()


def test_a_run_of_the_format_before_is_read_and_checked(tmp_path: Path) -> None:
    expected = contents(copied(tmp_path / "run", 3))
    listed(Run(tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert run.finished
    assert run.manifest["format"] == 2
    assert all(frame.equals(expected[name]) for name, frame in contents(run).items())
    assert run.check() == []
    shard = run.path / "hidden" / "part-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    assert [damage.file for damage in run.check()] == ["hidden/part-00001.safetensors"]


def test_it_is_continued_in_this_format_or_refused(tmp_path: Path) -> None:
    copied(tmp_path / "run", 3)
    listed(Run(tmp_path / "run"))
    with pytest.raises(FolderTakenError, match="older format, which can be opened but not continued"):
        Run.create(tmp_path / "run", job(3))
    run = open_run(tmp_path / "run")
    run.add_hidden(7, POOLS[1], run.samples["id"].to_list(), np.ones((9, 2)))
    assert run.manifest["format"] == 3
    assert len(run.parts) == 4
    assert run.check() == []


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": null}', '{"format": "3"}', '{"format": 2}', '{"format": 2, "parts": 3}']
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Manifest.of(text, "manifest.json")


def test_a_path_in_an_older_manifest_is_refused() -> None:
    parts = [{"name": "../a", "files": {"samples": {"rows": 1, "sha256": ""}}}]
    with pytest.raises(ValueError, match="not the name of a part"):
        Manifest.of(json.dumps({"format": 2, "job": {}, "parts": parts, "finished": True}), "manifest.json")
    parts = [{"name": "a", "files": {"hidden": {"rows": 1, "sha256": "", "shards": {"../b.safetensors": ""}}}}]
    with pytest.raises(ValueError, match="not the name of a file"):
        Manifest.of(json.dumps({"format": 2, "job": {}, "parts": parts, "finished": True}), "manifest.json")


def test_a_manifest_of_a_later_format_names_the_version() -> None:
    with pytest.raises(RunError, match=r"newer version of foretell \(9\.0, run format 4"):
        Manifest.of(json.dumps({"format": 4, "foretell": "9.0"}), "manifest.json")
