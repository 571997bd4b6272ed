"""Other ways to get attention weights out of the embedded model, each as one run of a text that sums the masses."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from foretell.reading.hooks.attention_interface import eager_attention
from foretell.reading.models.embedded import smollm2_folder
from foretell.reading.models.load import Model, load_model
from foretell.reading.models.quiet import quiet

__all__ = ["other_tools"]

Run = Callable[[], object]


def other_tools(model: Model, token_ids: torch.Tensor, codes: np.ndarray) -> dict[str, Run]:
    """Return eager attention and the tools that are installed, by name."""
    rows = torch.from_numpy(codes[0] == 4)
    inside = torch.from_numpy((codes[0][:, None] == np.arange(5)).astype(np.float32))
    found = {"eager": eager(model, token_ids, rows, inside)}
    if importlib.util.find_spec("transformer_lens"):
        found["transformer-lens"] = transformer_lens(token_ids, rows, inside)
    if importlib.util.find_spec("nnsight"):
        found["nnsight"] = nnsight(token_ids, rows, inside)
    return found


def eager(model: Model, token_ids: torch.Tensor, rows: torch.Tensor, inside: torch.Tensor) -> Run:
    """The model library itself: every layer's weights, collected until the pass is over."""

    def run() -> list[torch.Tensor]:
        with torch.inference_mode(), eager_attention(model.model):
            attentions = model.model(token_ids, output_attentions=True, use_cache=False, logits_to_keep=1).attentions
        return [(one[0, :, rows] @ inside).mean(1) for one in attentions]

    return run


def transformer_lens(token_ids: torch.Tensor, rows: torch.Tensor, inside: torch.Tensor) -> Run:
    """Attention patterns by `run_with_cache`."""
    from transformer_lens import TransformerBridge  # type: ignore[import-not-found,unused-ignore]

    with quiet():
        lens = TransformerBridge.boot_transformers(str(smollm2_folder()), device="cpu", dtype=torch.float32)

    def run() -> list[torch.Tensor]:
        with torch.no_grad():
            _, cache = lens.run_with_cache(
                token_ids, names_filter=lambda name: name.endswith("hook_pattern"), return_type=None
            )
        return [(cache[name][0, :, rows] @ inside).mean(1) for name in cache]

    return run


def nnsight(token_ids: torch.Tensor, rows: torch.Tensor, inside: torch.Tensor) -> Run:
    """Attention weights of each block, reduced inside a trace."""
    from nnsight import LanguageModel  # type: ignore[import-not-found,unused-ignore]

    traced = load_model("smollm2")
    traced.model.set_attn_implementation("eager")
    wrapped = LanguageModel(traced.model, tokenizer=traced.tokenizer)

    def run() -> list[Any]:
        kept = []
        with torch.no_grad(), wrapped.trace(token_ids):
            for block in wrapped.model.layers:
                kept.append((block.self_attn.output[1][0, :, rows] @ inside).mean(1).save())
        return kept

    return run
