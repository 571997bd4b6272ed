"""The parts of a loaded model: its text decoder, and the decoder's blocks in order.

Blocks are the modules that the model library itself records hidden states from. A model that names none keeps them in
a list of modules, found by the number of layers in its configuration.

    from foretell.reading.models.blocks import decoder_blocks
    blocks = decoder_blocks(model)      # layer 0 first
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.models.trial import FAILURES, evaluating, identity_of, in_this_thread, trial_text

__all__ = ["decoder_blocks", "decoder_of", "layer_lists", "n_heads_of"]

_LAYERS = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")
_HEADS = ("decoder_attention_heads", "num_decoder_attention_heads", "num_attention_heads")
"""Names of a configuration's numbers; the last one may be that of an encoder, if there is another."""
_RUN: dict[tuple[object, ...], tuple[int, ...]] = {}
"""Which blocks a pass runs, by the model's identity."""

Blocks: TypeAlias = tuple[nn.Module, ...]


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """Return the part of `model` that turns token embeddings into hidden states."""
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    # Some models give this name to the map from hidden states to the vocabulary.
    if isinstance(decoder, nn.Linear):
        decoder = model.base_model
    return decoder if isinstance(decoder, nn.Module) else model


def n_heads_of(model: PreTrainedModel) -> int | None:
    """Return the number of query heads in the decoder's blocks; None if its configuration names none."""
    return next(iter(_counts(model, _HEADS)), None)


def _counts(model: PreTrainedModel, names: tuple[str, str, str]) -> list[int]:
    """Return what a configuration has under these names, its own names for a decoder first."""
    *specific, general = names
    text = model.config.get_text_config(decoder=True)
    places = [*((settings, name) for settings in (model.config, text) for name in specific), (text, general)]
    values = (getattr(settings, name, None) for settings, name in places)
    return [value for value in values if isinstance(value, int)]


def decoder_blocks(model: PreTrainedModel) -> Blocks:
    """Return the decoder's blocks in order, layer 0 first.

    They are the modules that the library records hidden states from, or the entries of a list that wrap one such module
    each. A model that names none keeps its blocks in a list with as many entries as its configuration has layers; of
    several such lists it is the one with the most parameters. Blocks that a pass never runs are left out, which one
    pass over a short text finds out, once per configuration.

    Raises:
        NotReadableError: The decoder has no list of blocks, or runs one module as several of its layers.
    """
    return layer_lists(model)[0]


def layer_lists(model: PreTrainedModel) -> list[Blocks]:
    """Return the decoder's blocks, and every other list of its modules that has one entry per block.

    Models without blocks keep attention, norms and so on in a list each. Towers with a configuration of their own (for
    images, say) and lists inside blocks are passed over.

    Raises:
        NotReadableError: As `decoder_blocks`.
    """
    lists = _lists(model)
    blocks = lists[0]
    for layer, block in enumerate(blocks):
        if (first := blocks.index(block)) < layer:
            raise NotReadableError(
                f"{type(model).__name__}: blocks {first} and {layer} are one module, "
                "so what it computes cannot be told apart by layer"
            )
    run = _run(model, blocks)
    return [tuple(one[layer] for layer in run) for one in lists]


def _lists(model: PreTrainedModel) -> list[Blocks]:
    decoder = decoder_of(model)
    settings = model.config.get_text_config(decoder=True)
    own = (type(model.config), type(settings), type(vars(decoder).get("config")))
    blocks = tuple(_recorded_blocks(decoder, "", _recorders(model), own))
    if not blocks:
        blocks = _counted_blocks(decoder, _counts(model, _LAYERS), own)
    if not blocks:
        raise NotReadableError(f"{type(model).__name__}: no list of decoder blocks was found in it")
    others = [one for one in _module_lists(decoder, own, inner=False) if len(one) == len(blocks)]
    return [blocks, *(tuple(one) for one in others if not set(one) & set(blocks))]


def _is_tower(module: nn.Module, own: tuple[type, ...]) -> bool:
    configuration = vars(module).get("config")
    return isinstance(configuration, PreTrainedConfig) and type(configuration) not in own


def _recorders(module: nn.Module) -> Sequence[Any]:
    """Return what the library records hidden states from inside a model: classes, their names, or `OutputRecorder`s."""
    recorders = (getattr(module, "_can_record_outputs", None) or {}).get("hidden_states", ())
    return recorders if isinstance(recorders, (list, tuple)) else (recorders,)


def _is_recorded(module: nn.Module, path: str, recorders: Sequence[Any]) -> bool:
    for recorder in recorders:
        kind = recorder if isinstance(recorder, type) else getattr(recorder, "target_class", None)
        name = recorder if isinstance(recorder, str) else getattr(recorder, "class_name", None)
        place = (getattr(recorder, "layer_name", None) or "").strip(".")
        matches = (kind is not None and isinstance(module, kind)) or (
            name is not None and type(module).__name__.endswith(name)
        )
        if matches and (not place or f".{place}." in f"{path}."):
            return True
    return False


def _recorded_blocks(
    module: nn.Module, path: str, recorders: Sequence[Any], own: tuple[type, ...]
) -> Sequence[nn.Module]:
    """Return the recorded modules below `module`, or the entries of a list that hold at most one each."""
    if _is_tower(module, own):
        return ()
    if isinstance(module, PreTrainedModel):
        recorders = _recorders(module)
    if _is_recorded(module, path, recorders):
        return (module,)
    children = [(name, child) for name, child in module._modules.items() if child is not None]
    found = [_recorded_blocks(child, f"{path}.{name}", recorders, own) for name, child in children]
    if isinstance(module, nn.ModuleList) and max(map(len, found), default=0) == 1:
        return tuple(module)
    return [block for blocks in found for block in blocks]


def _counted_blocks(decoder: nn.Module, counts: list[int], own: tuple[type, ...]) -> Blocks:
    """Return the list of modules whose length a configuration names, or else the one with the most parameters."""
    for count in counts:
        candidates = [one for one in _module_lists(decoder, own, inner=True) if len(one) == count]
        if candidates:
            break
    else:
        candidates = _module_lists(decoder, own, inner=False)
    sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in candidates]
    return tuple(candidates[sizes.index(max(sizes))]) if sizes else ()


def _module_lists(module: nn.Module, own: tuple[type, ...], *, inner: bool) -> list[nn.ModuleList]:
    """Return the lists of modules below `module`, but for those of towers, outer ones first; or outer ones alone."""
    if _is_tower(module, own):
        return []
    found = [module] if isinstance(module, nn.ModuleList) and len(module) else []
    if found and not inner:
        return found
    return found + [one for child in module.children() for one in _module_lists(child, own, inner=inner)]


def _run(model: PreTrainedModel, blocks: Blocks) -> tuple[int, ...]:
    """Return which of the blocks a pass over a short text runs; all of them where that cannot be tried."""
    identity = identity_of(model)
    if identity not in _RUN:
        run: set[int] = set()
        with ExitStack() as stack:
            active = in_this_thread()
            for layer, block in enumerate(blocks):
                handle = block.register_forward_pre_hook(lambda *_, layer=layer: run.add(layer) if active() else None)
                stack.callback(handle.remove)
            stack.enter_context(evaluating(model))
            try:
                model(**trial_text(model)[0])
            except FAILURES:
                run.clear()
        _RUN[identity] = tuple(sorted(run)) or tuple(range(len(blocks)))
    return _RUN[identity]
