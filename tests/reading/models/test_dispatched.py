"""Models spread over devices and disk, and those that look at an encoder: the same numbers, or a clear word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import dispatch_model  # type: ignore[import-untyped]
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel, T5Config

from foretell.errors import NotReadableError
from foretell.reading.capture import self_check
from foretell.reading.capture.listen import listen
from foretell.reading.capture.results import Capture
from foretell.reading.hooks import residual_place
from foretell.reading.models.load import Model
from tests.reading import by_hand
from tests.reading.capture.test_listen import made_up_direction
from tests.reading.tiny import tiny_model

LENGTHS = ((13, 7), (8, 4))
READ = ("mass", "contribution", "entropy", "activity", "logprob", "token_entropy")
PLACES: dict[str, dict[str, str]] = {
    "everything here": {"": "cpu"},
    "last blocks on disk": {
        **dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.norm", "lm_head"), "cpu"),
        **dict.fromkeys(("model.layers.1", "model.layers.2"), "disk"),
    },
    "nearly everything on disk": {
        "model.rotary_emb": "cpu",
        **dict.fromkeys(("model.embed_tokens", "model.layers", "model.norm", "lm_head"), "disk"),
    },
}


def captured(model: Model, given: by_hand.Text, generator: np.random.Generator) -> Capture:
    direction = made_up_direction(generator, model.n_layers, model.width)
    options: dict[str, Any] = {"contribution": True, "entropy": True, "directions": [direction]}
    with torch.no_grad(), listen(model, given.segments, **options) as capture:
        model.model(**{name: value.to(model.device) for name, value in given.inputs.items()})
    return capture


@pytest.mark.parametrize("places", list(PLACES))
def test_where_weights_wait_changes_nothing(
    places: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator
) -> None:
    given = by_hand.text(generator, LENGTHS)
    whole, spread = tiny_model(), tiny_model()
    expected = captured(whole, given, np.random.default_rng(1))
    # The check at load has to work on a spread model too.
    monkeypatch.setattr(self_check, "_CHECKED", {})
    monkeypatch.setattr(residual_place, "_PLACES", {})
    dispatch_model(
        spread.model, device_map=PLACES[places], main_device="cpu", offload_dir=str(tmp_path), force_hooks=True
    )
    assert spread.device.type == "cpu"
    found = captured(spread, given, np.random.default_rng(1))
    assert list(found.projected) == [0, 1, 2]
    for name in READ:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    with torch.no_grad(), listen(spread, given.segments, contribution=True) as generating:
        spread.model.generate(**given.prompts, max_new_tokens=3, do_sample=False)  # type: ignore[operator]
    assert np.isfinite(generating.contribution).all()


def test_an_encoder_decoder_is_refused_by_name() -> None:
    settings = T5Config(vocab_size=260, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0)
    network: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(settings)  # type: ignore[no-untyped-call]
    refused = pytest.raises(NotReadableError, match=r"T5ForConditionalGeneration: it attends to an encoder's states")
    with refused, listen(network, np.array([[0, 1, 4]])):
        pass


def test_a_decoder_is_read_until_it_is_given_an_encoders_states(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model("gpt2", add_cross_attention=True)
    eager = tiny_model("gpt2", add_cross_attention=True, attention="eager")
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert np.abs(capture.mass - by_hand.eager_masses(eager.model, given)).max() < 1e-5
    states = torch.zeros(2, 5, model.width)
    refused = pytest.raises(NotReadableError, match=r"GPT2Model: it attends to an encoder's states")
    with refused, torch.no_grad(), listen(model, given.segments):
        model.model(**given.inputs, encoder_hidden_states=states)
