"""The residual stream: find a model's decoder blocks and hear what each one hands on.

It knows no architecture by name, and nothing of directions. `hidden_states[-1]` of the model library is taken
after the final norm; what a block hands on is taken here, from the block itself, and a trial on a short text finds
out whether that is what the library calls the hidden state after that block.

    from foretell.reading.hooks.residual_stream import residual_hooks
    with residual_hooks(model, lambda layer, hidden: print(layer, hidden.shape)):
        model(**inputs)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.models.trial import FAILURES, WIDTH, evaluating, first_line, identity_of, trial_text

__all__ = [
    "capture_residual",
    "decoder_blocks",
    "decoder_of",
    "layer_lists",
    "modules_in",
    "residual_blocks",
    "residual_hooks",
]

_PLACES: dict[tuple[object, ...], int] = {}
"""Which of a model's layer lists hands on the residual stream, as trials found out."""
_TOLERANCE = 1e-3
"""Of the largest hidden state; another quantity is off by about all of it."""


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """Return the part of `model` that turns token embeddings into hidden states."""
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    # Some models give this name to the map from hidden states to the vocabulary.
    if isinstance(decoder, nn.Linear):
        decoder = model.base_model
    return decoder if isinstance(decoder, nn.Module) else model


def modules_in(root: nn.Module) -> list[nn.Module]:
    """Return `root` and every module below it, each once, without the names that `modules()` takes most time for."""
    found = {id(root): root}
    waiting = [root]
    while waiting:
        for child in vars(waiting.pop())["_modules"].values():
            if child is not None and id(child) not in found:
                found[id(child)] = child
                waiting.append(child)
    return list(found.values())


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
    if len(lists) == 1:
        return tuple(lists[0])
    sizes = [sum(parameter.numel() for parameter in blocks.parameters()) for blocks in lists]
    return tuple(lists[sizes.index(max(sizes))])


def layer_lists(model: PreTrainedModel) -> list[nn.ModuleList]:
    """Return every module list of the text decoder that has as many entries as the configuration has layers.

    Towers with a configuration of their own (for images, say) and lists inside such a list are passed over.
    """
    settings = model.config.get_text_config(decoder=True)
    return list(_lists_in(decoder_of(model), getattr(settings, "num_hidden_layers", None), (model.config, settings)))


def _lists_in(module: nn.Module, n_layers: int | None, own: tuple[PreTrainedConfig, ...]) -> Iterator[nn.ModuleList]:
    configuration = vars(module).get("config")
    if isinstance(configuration, PreTrainedConfig) and all(type(configuration) is not type(one) for one in own):
        return
    if isinstance(module, nn.ModuleList) and len(module) == n_layers and len(module) > 0:
        yield module
        return
    for child in module.children():
        yield from _lists_in(child, n_layers, own)


def residual_blocks(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """Return the modules whose outputs are the hidden states after each block, layer 0 first.

    They are the decoder's blocks, or, where a model has no blocks, the last part of each. A trial on a short text
    compares their outputs with the model's own hidden states, once per configuration.

    Raises:
        NotReadableError: No list of modules hands on the hidden states; the message says what was found instead.
    """
    identity = identity_of(model)
    lists = layer_lists(model)
    if identity not in _PLACES:
        likeliest = decoder_blocks(model)
        order = sorted(range(len(lists)), key=lambda place: lists[place][0] is not likeliest[0])
        failures = []
        for place in order:
            failure = _deviation(model, lists[place])
            if failure is None:
                _PLACES[identity] = place
                break
            failures.append(failure)
        else:
            raise NotReadableError(f"{type(model).__name__}: its residual stream cannot be read: {failures[0]}")
    return tuple(lists[_PLACES[identity]])


def _deviation(model: PreTrainedModel, blocks: nn.ModuleList) -> str | None:
    """Say how outputs of `blocks` differ from the hidden states of a short text; None where they are the same."""
    inputs, codes = trial_text(model)
    outputs: dict[int, list[Any]] = {}
    with contextlib.ExitStack() as stack:
        for layer, block in enumerate(blocks):
            found = outputs.setdefault(layer, [])
            handle = block.register_forward_hook(lambda _module, _inputs, output, found=found: found.append(output))
            stack.callback(handle.remove)
        stack.enter_context(evaluating(model))
        try:
            states = model(**inputs, output_hidden_states=True).hidden_states
        except FAILURES as error:
            return f"the model gives no hidden states to compare with: {first_line(error)}"
    if not states or len(states) != len(blocks) + 1:
        return f"the model gives {len(states or ())} hidden states for {len(blocks)} blocks"
    real = torch.from_numpy(codes >= 0)
    # Entry 0 is the embedding, except in models that list blocks alone; the last entry is taken after a norm.
    reasons = [_first_difference(outputs, states[first:], real) for first in (1, 0)]
    return None if None in reasons else reasons[0]


def _first_difference(outputs: dict[int, list[Any]], states: Sequence[Tensor], real: Tensor) -> str | None:
    """Say which block's output is first found to differ from its hidden state at a real token."""
    last = len(outputs) - 1
    for layer, found in outputs.items():
        if len(found) != 1:
            return f"block {layer} runs {len(found)} times in a pass"
        hidden = _hidden(found[0])
        if hidden is None or hidden.shape[0] != len(real) or hidden.shape[1] < WIDTH:
            first = found[0][0] if isinstance(found[0], (tuple, list)) else found[0]
            shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
            return f"block {layer} hands on {shape} for {tuple(real.shape)} tokens, not one hidden state per token"
        if layer == last and len(states) == len(outputs):
            return None
        expected = states[layer]
        if expected.shape[-1] != hidden.shape[-1]:
            return f"block {layer} hands on {hidden.shape[-1]} numbers per token, not {expected.shape[-1]}"
        own, theirs = (one[:, :WIDTH].detach().float().cpu()[real] for one in (hidden, expected))
        deviation = float((own - theirs).abs().max())
        if not deviation <= _TOLERANCE * float(theirs.abs().max()):
            return f"what block {layer} hands on is off by {deviation:.2g} from its hidden state"
    return None


@contextlib.contextmanager
def residual_hooks(
    model: PreTrainedModel, callback: Callable[[int, Tensor], None], *, blocks: Sequence[nn.Module] | None = None
) -> Iterator[None]:
    """Call `callback(layer, hidden)` after every block of every forward pass inside the block.

    Args:
        model: a loaded decoder.
        callback: gets the layer (from 0) and the residual stream after that block, `(sample, token, width)`, as
            the model holds it: do not change it in place, and copy what must outlive the pass.
        blocks: the model's `residual_blocks`, where they are known.

    Raises:
        NotReadableError: The model's blocks cannot be found, or hand on no hidden state.
    """
    with contextlib.ExitStack() as stack:
        for layer, block in enumerate(residual_blocks(model) if blocks is None else blocks):
            handle = block.register_forward_hook(_hook(layer, callback, type(model).__name__))
            stack.callback(handle.remove)
        yield


def _hidden(output: Any) -> Tensor | None:
    hidden = output[0] if isinstance(output, (tuple, list)) else output
    return hidden if isinstance(hidden, Tensor) and hidden.ndim == 3 else None


def _hook(layer: int, callback: Callable[[int, Tensor], None], model_name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        hidden = _hidden(output)
        if hidden is None:
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
