"""How many tokens a model has positions for, by the configurations that the library makes itself."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig, BloomConfig, GPT2Config, LlamaConfig, MambaConfig

from foretell.jobs.positions import n_positions, too_long


def rotary(n_positions: int, **rope: Any) -> LlamaConfig:
    return LlamaConfig(max_position_embeddings=n_positions, rope_parameters={"rope_theta": 1e4, **rope})


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (rotary(512, rope_type="default"), 512),
        (GPT2Config(n_positions=96), 96),
        (BloomConfig(), None),
        (MambaConfig(), None),
        (AutoConfig.for_model("gemma3_text", max_position_embeddings=2048), 2048),
        (rotary(4096, rope_type="linear", factor=4.0), 16384),
        (rotary(512, rope_type="dynamic", factor=2.0), None),
    ],
    ids=["rotary", "learned", "alibi", "recurrent", "two kinds of layers", "stretched", "stretched as it goes"],
)
def test_positions_are_those_of_the_configuration(config: Any, limit: int | None) -> None:
    assert n_positions(config) == limit


def test_a_stretched_model_has_its_original_positions_times_the_factor() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert n_positions(rotary(32768, **yarn)) == n_positions(rotary(131072, **yarn)) == 131072


@pytest.mark.parametrize("strange", [None, -1, "many", 0])
def test_a_configuration_that_says_nothing_sensible_limits_nothing(strange: object) -> None:
    assert n_positions(type("Config", (), {"max_position_embeddings": strange})()) is None


def test_what_is_too_long_says_by_how_much() -> None:
    assert too_long(512, 0, 512) is None
    assert too_long(9999, 64, None) is None
    assert too_long(513, 0, 512) == "too long: 513 tokens, and the model has 512 positions"
    assert too_long(500, 64, 512) == "too long: 500 tokens and up to 64 new ones, and the model has 512 positions"
