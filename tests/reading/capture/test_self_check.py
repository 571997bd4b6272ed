"""Whether a model is read depends on what its attention is, not on how coarsely its eager function rounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretell.reading.capture import self_check
from foretell.reading.capture.listen import listen
from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.load import Model
from tests.reading import by_hand
from tests.reading.tiny import tiny_model


def with_large_scores(factor: float, dtype: torch.dtype, attention: str) -> Model:
    """Return a model in half precision whose scores are so many times larger; those of Qwen2.5 are some hundreds."""
    model = tiny_model("llama", dtype=dtype, attention=attention)
    for block in decoder_blocks(model.model):
        block.get_parameter("self_attn.q_proj.weight").data.mul_(factor)
    return model


@pytest.mark.parametrize("factor", [5, 10])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_scores_in_half_precision_are_no_reason_to_refuse(
    dtype: torch.dtype, factor: float, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "_CHECKED", {})
    given = by_hand.text(generator, ((13, 7), (8, 4), (20, 9)))
    model = with_large_scores(factor, dtype, "sdpa")
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    assert np.abs(capture.mass.sum(-1) - 1).max() < 1e-5
    coarse = by_hand.eager_masses(with_large_scores(factor, dtype, "eager").model, given)
    if dtype == torch.bfloat16:
        assert np.abs(capture.mass - coarse).max() > 0.05, "rounded scores would have been taken for other attention"
