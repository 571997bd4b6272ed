"""Every causal language model that the installed library knows: read exactly, or refused by name with a reason.

Masses are compared with whole eager attention matrices, what blocks hand on with the library's hidden states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from foretell.errors import NotReadableError
from foretell.reading.capture.listen import listen
from foretell.reading.hooks.attention_interface import eager_attention
from foretell.reading.models.blocks import decoder_of
from tests.reading import by_hand
from tests.reading.by_hand import capture_residual
from tests.reading.every_architecture import build

pytestmark = [
    pytest.mark.slow,
    # What architectures warn of while they are built is theirs.
    pytest.mark.filterwarnings("ignore"),
]

KINDS = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
REFUSED = frozenset({"cpmant", "deepseek_v4", "hrm_text", "longcat_flash"})
"""Masses of these are refused, for reasons that the error names; of at most five they may be."""
FEWEST_READ = 160
LENGTHS = ((13, 7), (8, 4))

RESIDUALS_REFUSED = frozenset({"cpmant", "deepseek_v4", "gemma3n_text", "hrm_text", "hy_v4", "xlnet"})
FEWEST_RESIDUALS_READ = 160

outcomes: dict[str, str] = {}
"""Model type to "read", "refused: ..." or "not compared: ..."."""
residuals: dict[str, str] = {}
"""The same of what its blocks hand on."""


def text() -> tuple[np.ndarray, dict[str, Any]]:
    """Segments and inputs of two texts, the second one padded."""
    given = by_hand.text(np.random.default_rng(3), LENGTHS, side="left")
    return given.segments, {**given.prompts, "use_cache": False}


def attention_of(model: PreTrainedModel) -> list[torch.Tensor]:
    """The model's own attention weights per layer that has weights over the tokens."""
    segments, inputs = text()
    with torch.no_grad(), eager_attention(model):
        attentions = getattr(model(**inputs, output_attentions=True), "attentions", None)
    n_tokens = segments.shape[1]
    found = [one for one in attentions or () if isinstance(one, torch.Tensor)]
    return [one for one in found if one.ndim == 4 and one.shape[2:] == (n_tokens, n_tokens)]


def attends(model: PreTrainedModel) -> None:
    """Fail for a model that returns no attention."""
    if not attention_of(model):
        raise LookupError("it returns no attention weights over the tokens")


@pytest.mark.parametrize("kind", KINDS)
def test_masses_are_exact_or_refused(kind: str) -> None:
    model, reason = build(kind, runs=attends)
    if model is None:
        outcomes[kind] = f"not compared: {reason}"
        pytest.skip(outcomes[kind])
    try:
        deviation = largest_deviation(model)
        if deviation >= 1e-5:
            # Many random layers amplify rounding, and then two ways of attending differ without either being wrong.
            deviation = largest_deviation(model.to(torch.float64))  # type: ignore[arg-type]
    except NotReadableError as error:
        outcomes[kind] = f"refused: {error}"
        if kind not in REFUSED or type(model).__name__ not in str(error):
            raise
        return
    assert kind not in REFUSED
    assert deviation < 1e-5
    outcomes[kind] = "read"


def largest_deviation(model: PreTrainedModel) -> float:
    """Of any mass that is read from the model's own eager attention."""
    segments, inputs = text()
    attentions = attention_of(model)
    with torch.no_grad():
        before = model(**inputs).logits
        with listen(model, segments, logprob=False) as capture:
            during = model(**inputs).logits
    assert torch.equal(before, during), "logits changed"
    assert len(capture.layers) == len(attentions)
    assert set(capture.layers) | set(capture.without_attention) == set(
        range(len(capture.layers) + len(capture.without_attention))
    )
    deviations = []
    for place, weights in enumerate(attentions):
        expected = masses(weights.float().numpy(), segments)
        deviations.append(float(np.abs(capture.mass[:, place, : expected.shape[1]] - expected).max()))
    return max(deviations)


def masses(weights: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """`(sample, head, segment)` by adding up the weights of every generated row."""
    samples = []
    for sample, codes in enumerate(segments):
        rows = weights[sample][:, codes == 4, : segments.shape[1]]
        samples.append(np.stack([rows[..., codes == code].sum(-1).mean(-1) for code in range(5)], axis=-1))
    return np.stack(samples)


def states_of(model: PreTrainedModel) -> list[torch.Tensor]:
    """The model's own hidden states: after the embedding (most models) and after each block, the last one normed."""
    with torch.no_grad():
        return list(model(**text()[1], output_hidden_states=True).hidden_states)


def gives_states(model: PreTrainedModel) -> None:
    """Fail for a model that returns no hidden states."""
    if not states_of(model):
        raise LookupError("it returns no hidden states")


def given_to_parts(model: PreTrainedModel) -> list[torch.Tensor]:
    """What the parts of the decoder are given in a pass; the final norm is one of them."""
    given: list[torch.Tensor] = []

    def keep(_module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        tensors = [one for one in (*arguments, *options.values()) if isinstance(one, torch.Tensor)]
        given.extend(one.detach().clone() for one in tensors if one.ndim == 3)

    handles = [part.register_forward_pre_hook(keep, with_kwargs=True) for part in decoder_of(model).modules()]
    states_of(model)
    for handle in handles:
        handle.remove()
    return given


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_hand_on_the_hidden_states_or_are_refused(kind: str) -> None:
    model, reason = build(kind, runs=gives_states)
    if model is None:
        residuals[kind] = f"not compared: {reason}"
        pytest.skip(residuals[kind])
    segments, inputs = text()
    states = states_of(model)
    try:
        captured = capture_residual(model, **inputs)
    except NotReadableError as error:
        residuals[kind] = f"refused: {error}"
        if kind not in RESIDUALS_REFUSED or type(model).__name__ not in str(error):
            raise
        return
    assert kind not in RESIDUALS_REFUSED
    n_tokens = segments.shape[1]
    real = torch.from_numpy(segments >= 0)
    assert len(states) == len(captured) + 1
    own = [one[:, :n_tokens][real] for one in captured]
    after = states[1:] if not torch.equal(states[0][real], own[0]) else states
    for layer in range(len(own) - 1):
        assert torch.equal(own[layer], after[layer][:, :n_tokens][real]), layer
    ends = [states[-1], *given_to_parts(model)]
    begins = [one[:, :n_tokens] for one in ends if one.shape[:1] + one.shape[2:] == captured.shape[1::2]]
    assert any(one.shape[1] == n_tokens and torch.equal(one[real], own[-1]) for one in begins)
    residuals[kind] = "read"


@pytest.mark.parametrize(
    ("found", "fewest_read"),
    [
        pytest.param(outcomes, FEWEST_READ, id="masses"),
        pytest.param(residuals, FEWEST_RESIDUALS_READ, id="hidden states"),
    ],
)
def test_nearly_all_are_read(found: dict[str, str], fewest_read: int) -> None:
    missing = [kind for kind in KINDS if kind not in found]
    if missing:
        pytest.skip(f"{len(missing)} architectures did not run in this process")
    assert sum(outcome == "read" for outcome in found.values()) >= fewest_read, found
