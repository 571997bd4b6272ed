"""The output projection of each layer: the linear map that its heads write into the residual stream through.

One pass over a short text finds it, once per configuration: a module that is given exactly what attention returned,
that computes an affine map of it, and that alone makes use of it. Where something else does (a gate, a norm over heads,
any operation that could change a number), a layer has none.

    from foretell.reading.hooks.output_projection import head_factors, output_projections
    projections = output_projections(model)     # {layer: module}
    factors = head_factors(projections[0], n_heads)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.hooks.attention_interface import AttentionCall, Observer, observed_attention
from foretell.reading.hooks.function_mode import observed_primitives
from foretell.reading.hooks.last_in_line import is_hooked_by_others
from foretell.reading.models.blocks import Blocks, decoder_blocks, layer_lists
from foretell.reading.models.linear_maps import head_factors, matrix_of
from foretell.reading.models.load import first_line
from foretell.reading.models.trial import FAILURES, evaluating, identity_of, in_this_thread, trial_text

__all__ = ["head_factors", "output_projections"]

_PATHS: dict[tuple[object, ...], dict[int, str]] = {}
"""Where each layer's projection is inside its block, as trials found out."""

_MOVES = {
    *("view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze"),
    *("transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "__get__", "__getitem__"),
    *("contiguous", "clone", "detach", "requires_grad_", "dropout"),
    *("to", "type", "type_as", "float", "half", "bfloat16", "cpu", "cuda"),
}
"""Functions that lay numbers out anew and change none, while nothing is dropped out."""


def output_projections(model: PreTrainedModel, blocks: Blocks | None = None) -> dict[int, nn.Module]:
    """Return the module that each layer's heads write through, by layer; layers without one are absent.

    It is the outermost module inside the block that is given the output of attention, every number the same and all
    heads one after the other, and computes an affine map of it, if nothing else in the block makes use of that output.
    That is found once per configuration and set of modules; while modules inside the blocks have hooks of others, which
    may change what they are given, it is found anew each time.

    Args:
        model: a loaded decoder.
        blocks: its `decoder_blocks`, where they are known.

    Raises:
        NotReadableError: The model's blocks cannot be found, or its attention cannot be observed.
    """
    blocks = decoder_blocks(model) if blocks is None else blocks
    identity = identity_of(model)
    is_hooked = any(
        is_hooked_by_others(module) for block in blocks for module in block.modules() if module is not block
    )
    paths = None if is_hooked else _PATHS.get(identity)
    if paths is None:
        try:
            with evaluating(model):
                paths = _found(model, blocks)
        except FAILURES as error:
            # A hook that fails here fails in the pass to come, where its error is the user's.
            if identity not in _PATHS:
                raise NotReadableError(
                    f"{type(model).__name__}: its output projections cannot be looked for: {first_line(error)}"
                ) from error
            paths = _PATHS[identity]
        if not is_hooked:
            _PATHS[identity] = paths
    return {layer: blocks[layer].get_submodule(path) for layer, path in paths.items()}


def _found(model: PreTrainedModel, blocks: Blocks) -> dict[int, str]:
    """Return the path of each layer's projection inside its block."""
    layers = layer_lists(model)

    def at_kernel(observer: Observer) -> AbstractContextManager[None]:
        return observed_primitives(layers, on_weights=lambda *_: None, on_kernel=lambda _layer, call: observer(call))

    for observing in (partial(observed_attention, model), at_kernel):
        seen = _Pass(blocks)
        seen.run(model, observing)
        if seen.attended:
            break
    found = {}
    for layer in sorted(seen.attended):
        paths = {module: path for path, module in blocks[layer].named_modules()}
        projection = seen.projection(layer)
        if projection in paths:
            found[layer] = paths[projection]
    return found


class _Pass(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
    """One pass over a short text: what attention returned in each block, and what was done with it."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self._layers = {block: layer for layer, block in enumerate(blocks)}
        self._layer: int | None = None
        self._running: list[nn.Module] = []
        """Modules inside the block that have begun and not ended, outer ones first."""
        self._kept: dict[tuple[torch.device, int] | None, Tensor] = {}
        """Tensors that hold the block's attention, by their memory, which no other can have while they are here."""
        self._candidates: defaultdict[int, list[nn.Module]] = defaultdict(list)
        """Modules that were given exactly what attention returned."""
        self._uses: defaultdict[int, list[tuple[nn.Module, ...]]] = defaultdict(list)
        """Which modules were running whenever something was made of it."""
        self.attended: defaultdict[int, list[Tensor]] = defaultdict(list)
        """What attention returned in each layer, `(sample, query, head x width)`."""

    def run(self, model: PreTrainedModel, observing: Callable[[Observer], AbstractContextManager[None]]) -> None:
        """Run the model with one text that has no padding."""
        inputs = trial_text(model)[0]
        inputs = {name: value[:1] if isinstance(value, Tensor) else value for name, value in inputs.items()}
        active = in_this_thread()

        def here(function: Callable[..., None]) -> Callable[..., None]:
            return lambda *called: function(*called) if active() else None

        with ExitStack() as stack:
            for module in {module for block in self._layers for module in block.modules()}:
                stack.callback(module.register_forward_pre_hook(here(self._enter), prepend=True).remove)
                stack.callback(module.register_forward_pre_hook(here(self._look), with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(here(self._leave)).remove)
            stack.enter_context(observing(here(self._attend)))
            stack.enter_context(self)
            model(**inputs)

    def projection(self, layer: int) -> nn.Module | None:
        """Return the outermost affine module without which nothing made use of a layer's attention."""
        uses = self._uses[layer]
        if len(self.attended[layer]) != 1 or not uses:
            return None
        n_inputs = self.attended[layer][0].shape[-1]
        for one in self._candidates[layer]:
            if all(one in running for running in uses) and matrix_of(one, n_inputs) is not None:
                return one
        return None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._layer is not None and self._kept and any(map(self._is_kept, tree_leaves((args, kwargs)))):
            name = getattr(func, "__name__", "")
            if name in _MOVES and isinstance(output, Tensor):
                self._keep(output)
            elif name == "__setitem__" or any(isinstance(one, Tensor) for one in tree_leaves(output)):
                self._uses[self._layer].append(tuple(self._running))
        return output

    def _keep(self, tensor: Tensor) -> None:
        memory = _memory_of(tensor)
        if memory is not None:
            self._kept[memory] = tensor

    def _is_kept(self, value: object) -> bool:
        return isinstance(value, Tensor) and _memory_of(value) in self._kept

    def _enter(self, module: nn.Module, _arguments: object) -> None:
        """Begin what a module does, hooks of others included."""
        if module in self._layers:
            self._layer, self._running = self._layers[module], []
            self._kept.clear()
        elif self._layer is not None:
            self._running.append(module)

    def _look(self, module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """See what a module is given, after hooks of others."""
        layer = self._layer
        if layer is None or not self._running or len(self.attended.get(layer, ())) != 1:
            return
        given, returned = next(iter((*arguments, *options.values())), None), self.attended[layer][0]
        if not isinstance(given, Tensor) or not self._is_kept(given) or given.shape[-1] != returned.shape[-1]:
            return
        wide = torch.promote_types(given.dtype, returned.dtype)
        if torch.equal(given.reshape(-1).to(returned.device, wide), returned.reshape(-1).to(wide)):
            self._candidates[layer].append(module)

    def _leave(self, module: nn.Module, *_: object) -> None:
        if module in self._layers:
            self._layer = None
        elif self._running:
            self._running.pop()

    def _attend(self, call: AttentionCall) -> None:
        if self._layer is not None and call.output is not None and call.output.ndim == 4:
            self.attended[self._layer].append(call.output.flatten(2).clone())
            self._keep(call.output)


def _memory_of(tensor: Tensor) -> tuple[torch.device, int] | None:
    try:
        return tensor.device, tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        # Some kinds of tensors, such as sparse ones, have no memory of their own.
        return None
