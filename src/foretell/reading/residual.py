"""The residual stream: find a model's decoder blocks and hear what each one hands on.

It knows no architecture by name, and nothing of directions. `hidden_states[-1]` of the model library is taken
after the final norm; what a block hands on is taken here, from the block itself.

    from foretell.reading.residual import residual_hooks
    with residual_hooks(model, lambda layer, hidden: print(layer, hidden.shape)):
        model(**inputs)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import NotReadableError

__all__ = ["capture_residual", "decoder_blocks", "decoder_of", "layer_lists", "residual_hooks"]


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """Return the part of `model` that turns token embeddings into hidden states."""
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    return decoder if isinstance(decoder, nn.Module) else model


def decoder_blocks(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """Return the decoder's blocks in order, layer 0 first.

    They are the module list that has as many entries as the configuration has layers; of several such lists
    the one that holds the most parameters.

    Raises:
        NotReadableError: No list of modules has that many entries.
    """
    lists = layer_lists(model)
    if not lists:
        n_layers = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
        raise NotReadableError(f"{type(model).__name__}: no list of {n_layers} decoder blocks was found in it")
    sizes = [sum(parameter.numel() for parameter in blocks.parameters()) for blocks in lists]
    return tuple(lists[sizes.index(max(sizes))])


def layer_lists(model: PreTrainedModel) -> list[nn.ModuleList]:
    """Return every module list of the decoder that has as many entries as the configuration has layers."""
    n_layers = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    return [
        module
        for module in decoder_of(model).modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers and len(module) > 0
    ]


@contextlib.contextmanager
def residual_hooks(model: PreTrainedModel, callback: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call `callback(layer, hidden)` after every block of every forward pass inside the block.

    Args:
        model: a loaded decoder.
        callback: gets the layer (from 0) and the residual stream after that block, `(sample, token, width)`, as
            the model holds it: do not change it in place, and copy what must outlive the pass.

    Raises:
        NotReadableError: The model's blocks cannot be found, or hand on no hidden state.
    """
    with contextlib.ExitStack() as stack:
        for layer, block in enumerate(decoder_blocks(model)):
            handle = block.register_forward_hook(_hook(layer, callback, type(model).__name__))
            stack.callback(handle.remove)
        yield


def _hook(layer: int, callback: Callable[[int, Tensor], None], model_name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        hidden = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(hidden, Tensor) or hidden.ndim != 3:
            raise NotReadableError(f"{model_name}: block {layer} hands on no hidden state of (sample, token, width)")
        callback(layer, hidden)

    return hook


def capture_residual(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """Return the residual stream after every block of one forward pass, on the CPU in float32.

    Args:
        model: a loaded decoder.
        inputs: what the model's `forward` takes, such as `input_ids` and `attention_mask`.

    Returns:
        `(layer, sample, token, width)`.

    Raises:
        NotReadableError: The model's blocks cannot be found.
    """
    captured: dict[int, Tensor] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        captured[layer] = hidden.detach().float().cpu()

    with torch.no_grad(), residual_hooks(model, keep):
        model(**inputs)
    return torch.stack([captured[layer] for layer in sorted(captured)])
