"""Tiny models with random weights and tokenizers without files, for tests that need no download.

model = tiny_model("llama")
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from foretell.reading.models.load import Model

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny model.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Adds a system text where none is given, and keeps contents as they are."""

GEMMA = (
    "{{ '<bos>' }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<|im_start|>' + role + '\n'"
    " + (first if loop.first else '') + message['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
"""Folds the system text into the first turn and strips contents."""

THINKING = (
    "{% for message in messages %}{% set content = message['content'] %}"
    "{% if message['role'] == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
"""Takes the thoughts out of earlier answers."""

SPECIAL = ("<|pad|>", "<bos>", "<|im_start|>", "<|im_end|>")

N_TOKENS = 260
WINDOW = 6

_COMMON: dict[str, Any] = {
    "vocab_size": N_TOKENS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "gemma2": {"sliding_window": WINDOW, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0},
    "gemma3_text": {
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "mistral": {"sliding_window": WINDOW},
    "gpt2": {"n_positions": 512, "n_inner": 48},
    "gpt_neox": {},
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": WINDOW},
}
"""Settings beyond the common ones, by model type."""


def tiny_tokenizer(template: str | None = CHATML, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: one token per UTF-8 byte, and four special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A <|im_end|>", special_tokens=[("<bos>", 1), ("<|im_end|>", 3)]
        )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], bos_token=SPECIAL[1], eos_token=SPECIAL[3]
    )
    fast.chat_template = template
    return fast


def tiny_model(
    kind: str = "llama", *, dtype: torch.dtype = torch.float32, attention: str | None = None, **settings: Any
) -> Model:
    """A model of `kind` with random weights that make its attention uneven, the same at every call."""
    common = dict(_COMMON)
    if kind == "gpt2":
        common = {name: common[name] for name in common if name not in {"head_dim", "num_key_value_heads"}}
    configuration = AutoConfig.for_model(kind, **{**common, **CONFIGURATIONS.get(kind, {}), **settings})
    with torch.random.fork_rng():
        torch.manual_seed(7)
        options = {"attn_implementation": attention} if attention else {}
        network = AutoModelForCausalLM.from_config(configuration, **options).to(dtype).eval()  # type: ignore[no-untyped-call]
    network.generation_config.pad_token_id = 0
    return Model(model=network, tokenizer=tiny_tokenizer(), name=f"tiny-{kind}")
