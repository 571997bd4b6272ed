"""A model in half precision in which one character passes what that holds."""

from __future__ import annotations

from typing import Any

import torch

from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.load import Model
from tests.reading.tiny import tiny_model


def overflowing_model() -> Model:
    """Return a model with a token ("~") of a dimension of its own, in which the first block overflows."""
    model = tiny_model("llama", dtype=torch.float16)
    embedding: Any = model.model.get_input_embeddings()
    block: Any = decoder_blocks(model.model)[0]
    with torch.no_grad():
        embedding.weight[:, 0] = block.self_attn.o_proj.weight[0] = 0.0
        embedding.weight[model.tokenizer.convert_tokens_to_ids("~")] = torch.eye(model.width)[0] * 50.0
        block.mlp.gate_proj.weight[:, 0] = block.mlp.up_proj.weight[:, 0] = 100.0
    return model
