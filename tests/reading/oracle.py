"""The numbers of one text by definition: the model alone, unpadded, in float64, eager, one forward pass.

expected = oracle(model, token_ids, codes)
expected.mass, expected.logprob
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foretell.reading.capture.results import Capture
from foretell.reading.models.load import Model


@dataclass(frozen=True)
class Expected:
    """Of one text."""

    mass: np.ndarray
    """`(layer, head, segment)`, averaged over the generated tokens."""
    logprob: np.ndarray
    """Of the generated tokens."""


def oracle(model: Model, token_ids: Tensor, codes: np.ndarray, *, embeddings: Tensor | None = None) -> Expected:
    """Return the numbers of one text from whole attention matrices and logits.

    Args:
        model: any model.
        token_ids: `(token,)`.
        codes: `(token,)` segment of each.
        embeddings: `(token, width)` what the first tokens were fed as instead of their ids.
    """
    network = copy.deepcopy(model.model).double()
    network.set_attn_implementation("eager")
    inputs: dict[str, Any] = {"input_ids": token_ids[None]}
    if embeddings is not None:
        later = network.get_input_embeddings()(token_ids[len(embeddings) :])
        inputs = {"inputs_embeds": torch.cat([embeddings.double(), later])[None]}
    with torch.no_grad():
        output = network(**inputs, output_attentions=True, use_cache=False)
    rows = np.flatnonzero(codes == 4)
    weights = np.stack([one[0].numpy() for one in output.attentions])[:, :, rows]
    mass = np.stack([weights[..., codes == code].sum(-1).mean(-1) for code in range(5)], axis=-1)
    scores = output.logits[0].log_softmax(-1).numpy()
    ids = token_ids.numpy()
    return Expected(mass, np.array([scores[row - 1, ids[row]] for row in rows]))


def assert_captured(
    capture: Capture, sample: int, model: Model, token_ids: Tensor, codes: np.ndarray, **options: Any
) -> None:
    """Fail unless one sample of a capture has the numbers of its text; padding (code -1) is left out of it."""
    real = codes >= 0
    n_pad = int((~real).argmin()) if not real[0] else 0
    kept = np.flatnonzero(real)
    expected = oracle(model, token_ids[torch.from_numpy(kept)], codes[kept], **options)
    assert capture.n_generated[sample] == len(expected.logprob)
    assert np.abs(capture.mass[sample] - expected.mass).max() < 1e-5
    found = capture.logprob[sample][capture.generated[sample]]
    np.testing.assert_allclose(found, expected.logprob, atol=2e-4)
    assert n_pad >= 0
