"""What reading must equal, computed the slow way from the model library's own outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from foretell.reading.capture.listen import listen
from foretell.reading.hooks.residual_stream import residual_hooks
from foretell.reading.models.load import Model


@dataclass(frozen=True)
class Text:
    """A batch of token ids with segments."""

    token_ids: Tensor
    segments: np.ndarray

    @property
    def attention_mask(self) -> Tensor:
        return torch.from_numpy((self.segments >= 0).astype(np.int64))

    @property
    def inputs(self) -> dict[str, Tensor]:
        positions = (self.attention_mask.cumsum(1) - 1).clamp_min(0)
        return {"input_ids": self.token_ids, "attention_mask": self.attention_mask, "position_ids": positions}

    @property
    def prompts(self) -> dict[str, Tensor]:
        """What `generate` takes; it finds the positions itself."""
        return {"input_ids": self.token_ids, "attention_mask": self.attention_mask}

    def alone(self, sample: int) -> Text:
        """One sample without its padding."""
        real = self.segments[sample] >= 0
        return Text(
            self.token_ids[sample : sample + 1, torch.from_numpy(real)], self.segments[sample : sample + 1, real]
        )


def text(
    generator: np.random.Generator,
    lengths: tuple[tuple[int, int], ...],
    *,
    side: str = "left",
    n_tokens: int = 260,
) -> Text:
    """Random samples of `(prompt, answer)` tokens whose prompt has all four segments, padded on one side."""
    rows = []
    for n_prompt, n_answer in lengths:
        inner = np.sort(generator.integers(0, 3, size=n_prompt - 2))
        rows.append(np.concatenate([[3], inner, [3], np.full(n_answer, 4)]))
    width = max(len(row) for row in rows)
    segments = np.full((len(rows), width), -1)
    for sample, row in enumerate(rows):
        segments[sample, slice(width - len(row), width) if side == "left" else slice(0, len(row))] = row
    token_ids = generator.integers(4, n_tokens, size=segments.shape)
    token_ids[segments < 0] = 0
    return Text(torch.from_numpy(token_ids), segments)


def eager_masses(model: PreTrainedModel, given: Text) -> np.ndarray:
    """`(sample, layer, head, segment)` from whole attention matrices of a model loaded with eager attention."""
    assert model.config._attn_implementation == "eager"
    with torch.no_grad():
        attentions = model(**given.inputs, output_attentions=True, use_cache=False).attentions
    samples = []
    for sample, codes in enumerate(given.segments):
        weights = np.stack([one[sample].float().numpy() for one in attentions])[:, :, codes == 4]
        samples.append(np.stack([weights[..., codes == code].sum(-1).mean(-1) for code in range(5)], axis=-1))
    return np.stack(samples)


def activity(model: PreTrainedModel, given: Text, direction: object) -> np.ndarray:
    """`(sample, layer, token)` by projecting whole hidden states."""
    hidden = capture_residual(model, **given.inputs).numpy()
    vectors, mean, deviation = (getattr(direction, name) for name in ("vectors", "mean", "standard_deviation"))
    scores = np.einsum("lstw,lw->slt", hidden, vectors)
    scores = (scores - mean[None, :, None]) / deviation[None, :, None]
    return np.where((given.segments == 4)[:, None], scores, np.nan)


def logprobs(model: PreTrainedModel, given: Text) -> np.ndarray:
    """`(sample, token)` from log_softmax over all logits."""
    with torch.no_grad():
        scores = model(**given.inputs, use_cache=False).logits.float().log_softmax(-1)
    values = np.full(given.segments.shape, np.nan, dtype=np.float32)
    for sample, column in zip(*np.nonzero(given.segments == 4), strict=True):
        values[sample, column] = scores[sample, column - 1, given.token_ids[sample, column]]
    return values


def assert_read_exactly(model: Model, given: Text) -> None:
    """Fail unless listening to a real model changes no logit and hears what eager attention says."""
    with torch.no_grad():
        before = model.model(**given.inputs).logits
        with listen(model, given.segments) as capture:
            during = model.model(**given.inputs).logits
    assert torch.equal(before, during)
    model.model.set_attn_implementation("eager")
    try:
        expected = eager_masses(model.model, given)
    finally:
        model.model.set_attn_implementation("sdpa")
    assert np.abs(capture.mass - expected).max() < 1e-5
    assert np.abs(capture.mass.sum(-1) - 1).max() < 1e-5


def capture_residual(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """The residual stream after every block of one pass, in float32, `(layer, sample, token, width)`."""
    captured: dict[int, Tensor] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        captured[layer] = hidden.detach().float().cpu()

    with torch.no_grad(), residual_hooks(model, keep):
        model(**inputs)
    return torch.stack([captured[layer] for layer in sorted(captured)])
