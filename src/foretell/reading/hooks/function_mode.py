"""Observe attention where it is computed: in the softmax or the fused kernel that a decoder block calls itself.

Models that do not look their attention up in the library's interface, or that do more than one function can repeat
for a few rows, still end in one of two calls of torch: a softmax over the keys, whose result *is* the attention
weights, or the fused kernel, whose arguments say all. Both are observed in each decoder block while it runs. The model
computes what it always does, on its own path, and its weights are reduced at once and never collected.

    from foretell.reading.hooks.function_mode import observed_primitives
    with observed_primitives([blocks], on_weights=on_weights, on_kernel=on_kernel):
        model(**inputs)
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.hooks.scope import Scope

__all__ = ["observed_primitives"]

_SOFTMAX = {torch.nn.functional.softmax, torch.softmax, Tensor.softmax, torch.special.softmax}
_KERNEL = torch.nn.functional.scaled_dot_product_attention

OnWeights = Callable[[int, Tensor], None]
"""Gets the layer and the result of a softmax over the last axis, `(sample, head, query, key)` or of fewer axes."""
OnKernel = Callable[[int, AttentionCall], None]
"""Gets the layer and a call of the fused kernel."""


class _Watch(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
    """Shows the softmaxes and fused attention calls of one block; every function returns what it always does."""

    def __init__(self, layer: int, block: nn.Module, on_weights: OnWeights, on_kernel: OnKernel) -> None:
        super().__init__()
        self._layer = layer
        self._block = block
        self._on_weights = on_weights
        self._on_kernel = on_kernel

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _SOFTMAX:
            self._on_weights(self._layer, output)
        elif func is _KERNEL:
            call = _kernel_call(self._block, *args, **(kwargs or {}))
            self._on_kernel(self._layer, dataclasses.replace(call, output=output.transpose(-3, -2)))
        return output


@contextlib.contextmanager
def observed_primitives(
    layers: Sequence[Sequence[nn.Module]], *, on_weights: OnWeights, on_kernel: OnKernel, scope: Scope | None = None
) -> Iterator[None]:
    """Show every softmax and every fused attention call inside the decoder's layers, each with the layer's index.

    The observation is switched on when a module starts and off when it ends, also by an exception.

    Args:
        layers: lists of modules with one entry per layer; a model may keep attention in a list of its own.
        on_weights: called after each softmax.
        on_kernel: called after each call of the fused kernel.
        scope: whose calls are shown; None shows those of the caller's thread or coroutine.
    """
    seen_by = Scope() if scope is None else scope
    running: list[_Watch] = []

    def start(layer: int) -> Callable[..., None]:
        def enter(block: nn.Module, *_: Any) -> None:
            if seen_by.is_active:
                running.append(_Watch(layer, block, on_weights, on_kernel))
                running[-1].__enter__()  # type: ignore[no-untyped-call]

        return enter

    def stop(*_: Any) -> None:
        if running and seen_by.is_active:
            running.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    with contextlib.ExitStack() as stack:
        if scope is None:
            stack.enter_context(seen_by.entered())
        for layer, block in (pair for modules in layers for pair in enumerate(modules)):
            stack.callback(block.register_forward_pre_hook(start(layer)).remove)
            stack.callback(block.register_forward_hook(stop, always_call=True).remove)
        try:
            yield
        finally:
            # An interrupt leaves a block without its hook.
            while running:
                running.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]


def _kernel_call(
    block: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionCall:
    """Return a direct call of the fused kernel as if it had come through the interface."""
    if query.ndim == key.ndim == 4 and not enable_gqa and key.shape[1] == 1:
        key, value = key.expand(-1, query.shape[1], -1, -1), value.expand(-1, query.shape[1], -1, -1)
    mask = attn_mask
    while mask is not None and mask.ndim < 4:
        mask = mask[None]
    options = {"scaling": scale, "is_causal": is_causal, "dropout": dropout_p}
    return AttentionCall(block, sdpa_attention_forward, "sdpa", query, key, value, mask, options, None)
