"""What is found on disk, and that nothing else can be named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from foretell.errors import InputError
from foretell.reading.models.load import Model
from foretell.serving.catalogue import Catalogue
from foretell.serving.request_bounds import RefusedError
from tests.reading.tiny import tiny_model


def test_named_files_come_first_and_once(folder: Path) -> None:
    found = Catalogue.found({}, directions=[folder / "lying.safetensors"], folder=folder)
    assert [name for name, _ in found.directions.values()] == ["lying"]
    assert [name for name, _ in found.monitors.values()] == ["alarming", "monitor"]


def test_a_named_file_must_be_what_it_is_named_as(folder: Path) -> None:
    with pytest.raises(InputError, match='no "foretell direction'):
        Catalogue.found({}, directions=[folder / "monitor.safetensors"])
    with pytest.raises(InputError, match='no "foretell monitor'):
        Catalogue.found({}, monitors=[folder / "lying.safetensors"])


def test_links_hidden_and_foreign_files_are_left_out_and_damaged_ones_are_named(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    (place / ".hidden").mkdir(parents=True)
    shutil.copy(folder / "lying.safetensors", place / ".hidden" / "a.safetensors")
    (place / "linked.safetensors").symlink_to(folder / "lying.safetensors")
    (place / "linked").symlink_to(folder / "results")
    (place / "weights.safetensors").write_bytes(b"no safetensors at all")
    content = bytearray((folder / "lying.safetensors").read_bytes())
    content[-3] ^= 1
    (place / "damaged.safetensors").write_bytes(content)
    found = Catalogue.found({}, folder=place)
    assert (found.directions, found.monitors, found.runs, found.reports) == ({}, {}, {}, {})
    assert len(found.skipped) == 1
    assert "damaged.safetensors" in found.skipped[0]


def test_a_model_is_loaded_once_and_what_does_not_fit_is_refused(folder: Path, tiny: Model) -> None:
    n_loaded = 0

    def load() -> Model:
        nonlocal n_loaded
        n_loaded += 1
        return tiny_model("qwen2")

    found = Catalogue.found({"other": load, "tiny": lambda: tiny}, folder=folder)
    assert not found.is_loaded("other")
    assert found.model("other") is found.model("other")
    assert n_loaded == 1
    with pytest.raises(InputError, match="fit a direction on this model"):
        found.fitting("other", "direction-1", None)
    with pytest.raises(InputError, match="fit a monitor"):
        found.fitting("other", None, "monitor-1")
    direction, monitor, notes = found.fitting("tiny", "direction-1", "monitor-2")
    assert direction is found.direction("direction-1")
    assert monitor is found.monitor("monitor-2")
    assert notes == ()


@pytest.mark.parametrize("name", ["", "direction-0", "lying", "../lying.safetensors", "direction-1\n"])
def test_unknown_ids_are_refused(folder: Path, name: str) -> None:
    found = Catalogue.found({}, folder=folder)
    for known in (found.model, found.direction, found.monitor, found.run, found.report):
        with pytest.raises(RefusedError, match="there is no such"):
            known(name)
