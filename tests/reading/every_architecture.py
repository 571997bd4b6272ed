"""A tiny random model of any architecture of the model library, from one generic list of settings.

No architecture is named here. Every setting that a configuration knows by one of these names is made small, in the
configuration itself and in those it holds; what cannot be built that way is listed with the library's own words.

    model, reason = build("llama", runs=feed)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

N_LAYERS = 2
N_TOKENS = 260
WINDOW = 6
MAX_PARAMETERS = 30_000_000

SMALL: dict[str, Any] = {
    "vocab_size": N_TOKENS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "initializer_range": 0.3,
    "init_std": 0.3,
    "initializer_factor": 8.0,
    "tie_word_embeddings": False,
    "is_decoder": True,
    "max_position_embeddings": 512,
    "n_positions": 512,
    "max_target_positions": 512,
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "emb_dim": 32,
    "embedding_size": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "expert_ffn_hidden_size": 16,
    "ffn_hidden_size": 48,
    "dense_intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "n_layer": N_LAYERS,
    "n_layers": N_LAYERS,
    "num_layers": N_LAYERS,
    "decoder_layers": N_LAYERS,
    "num_decoder_layers": N_LAYERS,
    "encoder_layers": N_LAYERS,
    "num_encoder_layers": N_LAYERS,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "decoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "num_encoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_local_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "top_k_experts": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "sliding_window": WINDOW,
    "image_size": 28,
    "patch_size": 14,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_heads": 4,
    "linear_head_dim": 8,
    "mamba_d_state": 8,
    "ssm_state_size": 8,
    "state_size": 8,
    "mamba_chunk_size": 8,
    "chunk_size": 8,
    "vocab_size_per_layer_input": N_TOKENS,
    "hidden_size_per_layer_input": 8,
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
    "rotary_dim": 8,
    "attention_type": "original_full",
    "default_language": "en_XX",
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "attn_layer_indices": [1],
}
"""Every name of a size, with a small value for it."""

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"head_dim": None, "num_hidden_layers": 4, "n_layers": 4, "num_layers": 4},
    {"num_key_value_heads": 4, "initializer_range": None, "sliding_window": None},
    {"num_hidden_layers": None, "n_layers": None, "num_layers": None, "n_layer": None},
    {"hidden_size": 64, "head_dim": 16, "num_attention_heads": 4, "n_heads": 4},
    {"num_hidden_layers": 6, "n_layers": 6},
    {"head_dim": 4},
    {"head_dim": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "num_key_value_heads": 4},
    {"num_hidden_layers": 12, "n_layers": 12},
)
"""Changes tried one after the other until a model can be built; None leaves the configuration's own value."""


def build(kind: str, runs: Callable[[PreTrainedModel], object], **settings: Any) -> tuple[PreTrainedModel | None, str]:
    """Return a tiny model of the model type `kind`, or None and why there is none.

    Args:
        kind: a model type of the library.
        runs: feeds the model; what it raises makes the next variant be tried.
        settings: sizes that differ from the generic ones.
    """
    reasons = []
    for variant in VARIANTS:
        try:
            model = _built(kind, {**SMALL, **variant, **settings})
            runs(model)
        except Exception as error:  # noqa: BLE001  (an unknown architecture may fail in any way)
            reasons.append(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}")
            continue
        return model, ""
    return None, max(set(reasons), key=reasons.count)


def _built(kind: str, settings: dict[str, Any]) -> PreTrainedModel:
    configuration = CONFIG_MAPPING[kind](**_known(CONFIG_MAPPING[kind](), settings))
    with torch.device("meta"):
        n_parameters = sum(one.numel() for one in network(configuration).parameters())
    if n_parameters > MAX_PARAMETERS:
        raise ValueError(f"{n_parameters} parameters with the generic settings")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = network(configuration)
        model.to(torch.float32)  # type: ignore[arg-type]
        model.train(False)
        return model


def network(configuration: PreTrainedConfig) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_config(configuration)  # type: ignore[no-untyped-call]
    assert isinstance(model, PreTrainedModel)
    return model


def _known(default: PreTrainedConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """Return those settings that the configuration has, and the same for configurations inside it."""
    chosen: dict[str, Any] = {}
    names = {*vars(default), *(field.name for field in dataclasses.fields(default))} | set(default.attribute_map)
    for name, value in settings.items():
        if value is not None and name in names and not isinstance(getattr(type(default), name, None), property):
            chosen[name] = value
    for canonical, own in default.attribute_map.items():
        if canonical in chosen and own in chosen:
            chosen.pop(canonical)
    n_layers = next((chosen[name] for name in ("num_hidden_layers", "n_layers", "num_layers") if name in chosen), None)
    for name, value in vars(default).items():
        if isinstance(value, PreTrainedConfig):
            chosen[name] = {**_known(value, settings), "model_type": value.model_type}
        elif name in {"layer_types", "layers_block_type", "mlp_layer_types", "block_types"} and value and n_layers:
            chosen[name] = _spread(list(value), n_layers)
    return chosen


def _spread(kinds: list[str], n_layers: int) -> list[str]:
    """Return as many layer kinds as there are layers, each kind at least once where that is possible."""
    distinct = list(dict.fromkeys(kinds))
    return (distinct * n_layers)[:n_layers]
