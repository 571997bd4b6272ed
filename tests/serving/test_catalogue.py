"""What is found on disk, and that nothing else can be named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from foretell.errors import InputError
from foretell.reading.models.load import Model, load_model
from foretell.serving.catalogue import Catalogue
from foretell.serving.request_bounds import RefusedError
from tests.reading.tiny import tiny_model


def test_named_files_come_first_and_once(folder: Path) -> None:
    found = Catalogue.found({}, directions=[folder / "lying.safetensors"], folder=folder)
    assert [one.name for one in found.directions.values()] == ["lying"]
    assert [one.name for one in found.monitors.values()] == ["alarming", "monitor"]


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
    described(place / "damaged.safetensors", concept=5)
    found = Catalogue.found({}, folder=place, load_folder=no_model)
    assert (found.loaders, found.directions, found.monitors, found.runs, found.reports) == ({}, {}, {}, {}, {})
    assert found.skipped == ("damaged: its header is damaged: 5 is no text",)


def described(path: Path, **changes: Any) -> None:
    """Write a file with the header of a direction."""
    known = {"concept": "lying", "source": {"model": "tiny"}, "reasons": [None]}
    metadata = {"format": "foretell direction 1", "foretell": json.dumps(known | changes)}
    save_file({"vectors": np.zeros(1)}, path, metadata=metadata)


def no_model(_path: Path) -> Model:
    raise AssertionError("nothing is loaded before it is chosen")


def test_a_direction_is_loaded_when_it_is_chosen_and_a_damaged_one_says_so_then(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "lying.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(content)
    shutil.copy(folder / "lying.safetensors", tmp_path / "whole.safetensors")
    found = Catalogue.found({}, folder=tmp_path)
    shown = found.as_json()["directions"]
    assert [(one["name"], one["concept"], one["n_layers"]) for one in shown] == [
        ("damaged", "lying", 3),
        ("whole", "lying", 3),
    ]
    with pytest.raises(InputError, match=r"damaged\.safetensors: holds no direction: its checksum"):
        found.direction("direction-1")
    assert found.direction("direction-2") is found.direction("direction-2")
    # What lies there later is not what was found.
    again = Catalogue.found({}, folder=tmp_path)
    (tmp_path / "whole.safetensors").unlink()
    (tmp_path / "whole.safetensors").symlink_to(folder / "lying.safetensors")
    with pytest.raises(InputError, match="whole: it leads out of the folder"):
        again.direction("direction-2")


def test_what_headers_say_can_always_be_sent(tmp_path: Path) -> None:
    described(tmp_path / "half.safetensors", concept="half \ud83d of it", source={"model": "\udcff"})
    sent = json.dumps(Catalogue.found({}, folder=tmp_path).as_json(), ensure_ascii=False, allow_nan=False)
    assert "half ? of it" in sent.encode("utf-8").decode()


def stored_model(place: Path) -> Path:
    """Save a tiny model as transformers does, with its tokenizer."""
    model = tiny_model()
    model.model.save_pretrained(place)
    model.tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_model(tmp_path_factory.mktemp("stored") / "tiny")


def test_models_of_the_folder_are_offered_and_loaded_when_they_are_chosen(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path / "deep" / "tiny")
    (tmp_path / "deep" / "tiny" / "pytorch_model.bin").write_bytes(b"a pickle that nobody opens")
    named = {"smollm2": lambda: no_model(tmp_path)}
    found = Catalogue.found(named, folder=tmp_path, load_folder=load_model)
    assert list(found.loaders) == ["smollm2", "deep/tiny"]
    assert [one["is_loaded"] for one in found.as_json()["models"]] == [False, False]
    loaded = found.model("deep/tiny")
    assert loaded.n_layers == 3
    assert [one["is_loaded"] for one in found.as_json()["models"]] == [False, True]
    # One that the user named is there once, under the user's name.
    own = Catalogue.found({str(tmp_path / "deep" / "tiny"): lambda: loaded}, folder=tmp_path, load_folder=load_model)
    assert len(own.loaders) == 1


def index_of(names: list[str]) -> str:
    return json.dumps({"weight_map": {f"w{place}": name for place, name in enumerate(names)}})


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("model.safetensors.index.json", index_of(["../../secret.safetensors"]), "names a file that is not beside it"),
        ("model.safetensors.index.json", index_of(["/etc/passwd"]), "names a file that is not beside it"),
        ("model.safetensors.index.json", index_of(["pytorch_model.bin"]), "names a file that is not beside it"),
        ("model.safetensors.index.json", "{", "cannot be read"),
        ("model.safetensors.index.json", "[]", "cannot be read"),
        ("adapter_config.json", '{"base_model_name_or_path": "/elsewhere"}', "merge the adapter first"),
        ("tokenizer.json", None, "tokenizer.json leads out of the folder"),
        ("model.safetensors", None, "model.safetensors leads out of the folder"),
        ("config.json", None, "config.json leads out of the folder"),
    ],
)
def test_a_model_that_leads_elsewhere_is_never_loaded(
    file: str, content: str | None, reason: str, stored: Path, tmp_path: Path
) -> None:
    place = tmp_path / "served"
    shutil.copytree(stored, place / "tiny")
    whole = Catalogue.found({}, folder=place, load_folder=no_model)
    assert list(whole.loaders) == ["tiny"]
    (place / "tiny" / file).unlink(missing_ok=True)
    if content is None:
        (place / "tiny" / file).symlink_to(stored / file)
    else:
        (place / "tiny" / file).write_text(content, encoding="utf-8")
    found = Catalogue.found({}, folder=place, load_folder=no_model)
    assert found.loaders == {}
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("tiny: ")
    assert reason in found.skipped[0]
    with pytest.raises(InputError, match="tiny: "):  # changed after it was found
        whole.model("tiny")


def test_weights_that_are_no_safetensors_and_linked_folders_are_not_offered(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(stored)
    (tmp_path / "pickled").mkdir()
    shutil.copy(stored / "config.json", tmp_path / "pickled")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"a pickle")
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    found = Catalogue.found({}, folder=tmp_path, load_folder=no_model)
    assert (found.loaders, found.skipped) == ({}, ())


def test_links_within_the_folder_are_those_of_a_cache_of_the_hub(stored: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    shutil.copytree(stored, blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    (blobs / "config.json").rename(blobs / "hash-of-it")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../blobs/hash-of-it")
    found = Catalogue.found({}, folder=tmp_path, load_folder=load_model)
    assert list(found.loaders) == ["snapshots/main"]
    assert found.model("snapshots/main").n_layers == 3


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
