"""Every causal language model that the installed library knows: read exactly, or refused by name with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from foretell.errors import NotReadableError
from foretell.reading.attention import attention_named
from foretell.reading.listening import listen
from tests.reading import by_hand
from tests.reading.every_architecture import build

pytestmark = [
    pytest.mark.slow,
    # What architectures warn of while they are built is theirs.
    pytest.mark.filterwarnings("ignore"),
]

KINDS = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
MOST_REFUSED = 5
FEWEST_READ = 120
LENGTHS = ((13, 7), (8, 4))

outcomes: dict[str, str] = {}
"""Model type to "read", "refused: ..." or "not compared: ..."."""


def text() -> tuple[np.ndarray, dict[str, Any]]:
    """Segments and inputs of two texts, the second one padded."""
    given = by_hand.text(np.random.default_rng(3), LENGTHS, side="left")
    return given.segments, {**given.prompts, "use_cache": False}


def attention_of(model: PreTrainedModel) -> list[torch.Tensor]:
    """The model's own attention weights per layer that has weights over the tokens."""
    segments, inputs = text()
    with torch.no_grad(), attention_named(model, lambda _: "eager"):
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
    segments, inputs = text()
    attentions = attention_of(model)
    try:
        with torch.no_grad():
            before = model(**inputs).logits
            with listen(model, segments, logprob=False) as heard:
                during = model(**inputs).logits
    except NotReadableError as error:
        outcomes[kind] = f"refused: {error}"
        named = type(model).__name__ in str(error)
        if not named:
            raise
        return
    assert torch.equal(before, during), "logits changed"
    assert len(heard.layers) == len(attentions)
    for place, weights in enumerate(attentions):
        expected = masses(weights.float().numpy(), segments)
        assert np.abs(heard.mass[:, place, : expected.shape[1]] - expected).max() < 1e-5
    assert set(heard.layers) | set(heard.unheard) == set(range(len(heard.layers) + len(heard.unheard)))
    outcomes[kind] = "read"


def masses(weights: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """`(sample, head, segment)` by adding up the weights of every generated row."""
    samples = []
    for sample, codes in enumerate(segments):
        rows = weights[sample][:, codes == 4, : segments.shape[1]]
        samples.append(np.stack([rows[..., codes == code].sum(-1).mean(-1) for code in range(5)], axis=-1))
    return np.stack(samples)


def test_nearly_all_are_read() -> None:
    missing = [kind for kind in KINDS if kind not in outcomes]
    if missing:
        pytest.skip(f"{len(missing)} architectures did not run in this process")
    refused = {kind: outcome for kind, outcome in outcomes.items() if outcome.startswith("refused")}
    n_read = sum(outcome == "read" for outcome in outcomes.values())
    assert len(refused) <= MOST_REFUSED, refused
    assert n_read >= FEWEST_READ, outcomes
