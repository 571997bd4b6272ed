"""Keeping directions: bit for bit, whole or not at all, and never on another model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from foretell.conversations.builtin import builtin_facts
from foretell.conversations.conversation import Conversation, Message
from foretell.conversations.pairs import pairs_from_facts
from foretell.directions.direction import Direction, DirectionSource
from foretell.directions.fit import fit_direction
from foretell.directions.fit_and_judge import steer
from foretell.directions.random_directions import RandomScale
from foretell.directions.surface import surface
from foretell.errors import InputError, RunError, TemplateWarning
from foretell.reading.chat.chat_template import template_fingerprint
from foretell.reading.models.fingerprints import weights_fingerprint
from foretell.reading.models.load import Model
from foretell.reading.runs.read import read
from tests.reading.tiny import CHATML, GEMMA, tiny_model, tiny_tokenizer


def direction_for(model: Model, generator: np.random.Generator, *, undefined: int | None = 1) -> Direction:
    vectors = generator.normal(size=(model.n_layers, model.width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean, deviation = generator.normal(size=model.n_layers), generator.uniform(0.5, 2, size=model.n_layers)
    reasons: list[str | None] = [None] * model.n_layers
    if undefined is not None:
        vectors[undefined], mean[undefined], deviation[undefined] = np.nan, np.nan, np.nan
        reasons[undefined] = "constant here"
    source = DirectionSource(
        method="mean-difference",
        tokens="mean",
        model=model.name,
        fingerprint=weights_fingerprint(model.model),
        n_pairs=7,
        topics=("a", "b\n<script>"),
        n_calibration_pairs=6,
        n_calibration_tokens=50,
        seed=3,
        version="0.1.0",
    )
    return Direction("lying", vectors, mean, deviation, tuple(reasons), source)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


def test_what_is_loaded_is_what_was_saved_bit_for_bit(
    model: Model, generator: np.random.Generator, tmp_path: Path
) -> None:
    direction = direction_for(model, generator)
    direction.save(tmp_path / "new" / "lying.safetensors")
    loaded = Direction.load(tmp_path / "new" / "lying.safetensors")
    for name in ("vectors", "mean", "standard_deviation"):
        saved, read = getattr(direction, name), getattr(loaded, name)
        assert saved.dtype == read.dtype
        assert saved.tobytes() == read.tobytes()
    assert (loaded.concept, loaded.reasons, loaded.source) == (direction.concept, direction.reasons, direction.source)
    loaded.check_fits(model)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lying.safetensors"]


def test_activity_is_the_calibrated_projection(model: Model, generator: np.random.Generator) -> None:
    direction = direction_for(model, generator)
    hidden = generator.normal(size=(4, model.n_layers, model.width)).astype(np.float32)
    activity = direction.activity(hidden)
    for row in range(4):
        for layer in (0, 2):
            projection = float(hidden[row, layer].astype(np.float64) @ direction.vectors[layer].astype(np.float64))
            expected = (projection - direction.mean[layer]) / direction.standard_deviation[layer]
            assert activity[row, layer] == pytest.approx(expected, abs=1e-10)
    assert np.isnan(activity[:, 1]).all()


def test_another_model_is_refused_by_name(model: Model, generator: np.random.Generator) -> None:
    direction = direction_for(model, generator)
    with pytest.raises(InputError, match=r"fitted on tiny-llama with 3 layers of width 32; tiny-llama has 2 layers"):
        direction.check_fits(tiny_model("llama", num_hidden_layers=2))
    with pytest.raises(InputError, match=r"tiny-llama has 3 layers of width 48"):
        direction.check_fits(tiny_model("llama", hidden_size=48))
    with pytest.raises(InputError, match=r"the weights of tiny-qwen2 are others"):
        direction.check_fits(tiny_model("qwen2"))


def test_a_small_change_of_one_weight_is_another_model(model: Model, generator: np.random.Generator) -> None:
    direction = direction_for(model, generator)
    changed = tiny_model("llama")
    direction.check_fits(changed)
    with torch.no_grad():
        next(changed.model.parameters())[17, 5] *= 1.02
    with pytest.raises(InputError, match="weights"):
        direction.check_fits(changed)


def test_swapped_rows_are_another_model() -> None:
    first, second = torch.nn.Linear(400, 10, bias=False), torch.nn.Linear(400, 10, bias=False)
    second.weight.data = first.weight.data[[1, 0, *range(2, 10)]].clone()
    assert weights_fingerprint(first) != weights_fingerprint(second)


def test_the_precision_weights_are_loaded_in_does_not_make_another_model() -> None:
    stored = tiny_model("llama", dtype=torch.bfloat16)
    wide: torch.nn.Module = tiny_model("llama", dtype=torch.bfloat16).model
    wide.to(torch.float32)
    assert weights_fingerprint(wide) == weights_fingerprint(stored.model)


def test_a_failing_save_leaves_the_old_file(
    model: Model, generator: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lying.safetensors"
    direction = direction_for(model, generator)
    direction.save(path)
    before = path.read_bytes()

    def broken(_arrays: object, draft: Path, **_options: object) -> None:
        draft.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("foretell.directions.direction.save_file", broken)
    with pytest.raises(InputError, match=r"lying\.safetensors: exists already; .*--overwrite"):
        direction.save(path)
    with pytest.raises(RunError, match=r"lying\.safetensors: cannot be written \(disk full\)"):
        direction.save(path, overwrite=True)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["lying.safetensors"]


def test_files_that_hold_no_direction_are_one_line(
    model: Model, generator: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="no such direction file"):
        Direction.load(path)
    path.write_bytes(b"\x80\x04not safetensors at all")
    with pytest.raises(InputError, match=r"x\.safetensors: holds no direction"):
        Direction.load(path)
    save_file({"vectors": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(InputError, match="is safetensors, but no"):
        Direction.load(path)


@pytest.mark.parametrize("damage", ["shape", "norm", "spread", "type", "missing", "dtype"])
def test_a_direction_whose_parts_do_not_fit_is_refused(
    model: Model, generator: np.random.Generator, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "x.safetensors"
    direction_for(model, generator).save(path)
    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.loads(metadata["foretell"])
    if damage == "shape":
        arrays["mean"] = arrays["mean"][:-1]
    elif damage == "norm":
        arrays["vectors"] = arrays["vectors"] * np.float32(2)
    elif damage == "spread":
        arrays["standard_deviation"] = arrays["standard_deviation"] * 0
    elif damage == "type":
        described["source"]["n_pairs"] = "seven"
    elif damage == "missing":
        del described["source"]["topics"]
    else:
        arrays["mean"] = arrays["mean"].astype(np.float32)
    save_file(arrays, path, metadata={**metadata, "foretell": json.dumps(described)})
    with pytest.raises(InputError, match="holds no direction"):
        Direction.load(path)


def changed(path: Path, change: Callable[[dict[str, np.ndarray], dict[str, Any]], object]) -> None:
    """Change the arrays, or what is said of them, of a saved direction."""
    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.loads(metadata["foretell"])
    change(arrays, described)
    save_file(arrays, path, metadata={**metadata, "foretell": json.dumps(described)})


def turned(arrays: dict[str, np.ndarray], _described: object) -> None:
    arrays["vectors"][2] *= -1.0


def exchanged(arrays: dict[str, np.ndarray], _described: object) -> None:
    arrays["vectors"] = arrays["vectors"][[2, 1, 0]]


def said(name: str, value: object) -> Callable[[object, dict[str, Any]], object]:
    return lambda _arrays, described: described["source"].__setitem__(name, value)


def array(name: str, value: float) -> Callable[[dict[str, np.ndarray], object], object]:
    return lambda arrays, _described: arrays[name].__setitem__(0, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turned, "checksum"),
        (exchanged, "checksum"),
        (lambda arrays, _: arrays["mean"].__setitem__(0, 0.5), "checksum"),
        (lambda _, described: described.__setitem__("concept", "honesty"), "checksum"),
        (array("standard_deviation", np.inf), "layer 0 needs a finite mean and a positive spread, not .* and inf"),
        (array("standard_deviation", np.nan), "positive spread"),
        (array("standard_deviation", -1.0), "positive spread"),
        (array("mean", np.inf), "finite mean"),
        (array("vectors", np.nan), "layer 0 has no vector of unit norm"),
        (lambda _, described: described.__setitem__("reasons", [None, None, None]), "layer 1 has no vector"),
        (
            lambda _, described: described.__setitem__("reasons", ["why", "why", None]),
            "layer 0 has a scale, and a reason",
        ),
        (lambda _, described: described.__setitem__("reasons", [None, 7, None]), "no text"),
        (said("n_pairs", -5), '"n_pairs" must be at least 1, not -5'),
        (said("n_pairs", 0), '"n_pairs" must be at least 1'),
        (said("n_pairs", True), '"n_pairs" is not of type int'),
        (said("n_calibration_pairs", 8), "more calibration pairs than pairs"),
        (said("n_calibration_tokens", -1), '"n_calibration_tokens" must be at least 0'),
        (said("seed", -3), '"seed" must be at least 0'),
        (said("topics", ["a", 3]), "is not of type"),
    ],
)
def test_what_was_changed_after_it_was_saved_is_refused(
    model: Model,
    generator: np.random.Generator,
    tmp_path: Path,
    change: Callable[[dict[str, np.ndarray], dict[str, Any]], object],
    message: str,
) -> None:
    path = tmp_path / "x.safetensors"
    direction_for(model, generator).save(path)
    changed(path, lambda _arrays, _described: None)
    Direction.load(path)
    changed(path, change)
    with pytest.raises(InputError, match=rf"x\.safetensors: holds no direction: .*{message}"):
        Direction.load(path)


def test_a_file_of_a_version_without_checksums_is_loaded(
    model: Model, generator: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    direction = direction_for(model, generator)
    direction.save(path)
    with safe_open(path, framework="numpy") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "sha256"}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(arrays, path, metadata=metadata)
    assert Direction.load(path).source == direction.source


def test_what_is_saved_can_be_loaded_and_what_cannot_is_not_saved(
    model: Model, generator: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    direction = direction_for(model, generator)
    scales = generator.uniform(1.0, 2.0, size=(2, 4, model.n_layers))
    scales[:, :, 1] = np.nan  # as the layer is, which has a reason
    direction = dataclasses.replace(direction, random=RandomScale(0, *scales))
    direction.save(path)
    loaded = Direction.load(path)
    assert loaded.random is not None
    np.testing.assert_array_equal(loaded.random.mean, scales[0])
    before = path.read_bytes()
    for wrong in (
        {"reasons": (None, None, None)},
        {"standard_deviation": np.full(3, np.inf)},
        {"source": dataclasses.replace(direction.source, n_pairs=0)},
        {"vectors": direction.vectors.astype(np.float64)},
    ):
        with pytest.raises(InputError, match=r"x\.safetensors: the direction cannot be saved: "):
            dataclasses.replace(direction, **wrong).save(path, overwrite=True)
    assert path.read_bytes() == before


def test_the_precision_of_a_model_is_no_other_weights(generator: np.random.Generator) -> None:
    direction = direction_for(tiny_model("llama"), generator)
    with pytest.raises(InputError, match=r"are loaded in float16.*load this model in float32"):
        direction.check_fits(tiny_model("llama", dtype=torch.float16))


def templated(model: Model, template: str | None, **tokens: str) -> Model:
    """The same model with another chat template or other special tokens."""
    tokenizer = tiny_tokenizer(template)
    for name, token in tokens.items():
        setattr(tokenizer, f"{name}_token", token)
    return dataclasses.replace(model, tokenizer=tokenizer)


def test_a_direction_knows_the_chat_template_it_was_fitted_with(model: Model, tmp_path: Path) -> None:
    pairs = pairs_from_facts(builtin_facts("capitals"))[:3]
    direction = fit_direction(model, pairs, progress=False)
    assert direction.source.template == template_fingerprint(model.tokenizer)
    direction.save(tmp_path / "x.safetensors")
    loaded = Direction.load(tmp_path / "x.safetensors")
    assert loaded.source == direction.source
    loaded.check_fits(model)
    for other in (templated(model, GEMMA), templated(model, None), templated(model, CHATML, eos="<bos>")):
        with pytest.warns(TemplateWarning, match=r'"lying" was fitted with another chat template'):
            loaded.check_fits(other)
        with pytest.warns(TemplateWarning):
            read(other, [Conversation("a", "b", (Message("user", "Hi"),), "Yes.")], directions=[loaded], progress=False)
        with pytest.warns(TemplateWarning):
            surface(other, loaded, "Hi?", ["Yes."])
        with pytest.warns(TemplateWarning):
            steer(other, loaded, pairs, layers=[1], doses=[1.0], n_random=0, fitted_topics=True, progress=False)
    loaded.check_fits(templated(model, CHATML, pad="<bos>"))


def test_nothing_is_said_of_a_direction_without_a_template(
    model: Model, generator: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    direction_for(model, generator).save(path)
    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.loads(metadata["foretell"])
    del described["source"]["template"]
    save_file(arrays, path, metadata={**metadata, "foretell": json.dumps(described)})
    loaded = Direction.load(path)
    assert loaded.source.template is None
    loaded.check_fits(templated(model, GEMMA))


def test_a_fingerprint_is_of_the_template_and_the_tokens_around_a_text() -> None:
    plain, begun = tiny_tokenizer(CHATML), tiny_tokenizer(CHATML, bos=True)
    names = {template_fingerprint(one) for one in (plain, begun, tiny_tokenizer(GEMMA), tiny_tokenizer(None))}
    assert len(names) == 4
    assert template_fingerprint(tiny_tokenizer(CHATML)) in names
