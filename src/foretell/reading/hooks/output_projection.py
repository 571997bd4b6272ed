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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.hooks.attention_interface import AttentionCall, observed_attention
from foretell.reading.hooks.function_mode import observed_primitives
from foretell.reading.hooks.last_in_line import is_hooked_by_others
from foretell.reading.models.blocks import Blocks, decoder_blocks, layer_lists, modules_in
from foretell.reading.models.linear_maps import head_factors, matrix_of
from foretell.reading.models.trial import FAILURES, evaluating, first_line, identity_of, in_this_thread, trial_text

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

Observing: TypeAlias = Callable[[Callable[[AttentionCall], None]], AbstractContextManager[None]]


def output_projections(model: PreTrainedModel) -> dict[int, nn.Module]:
    """Return the module that each layer's heads write through, by layer; layers without one are absent.

    It is the outermost module inside the block that is given the output of attention, every number the same and all
    heads one after the other, and computes an affine map of it, if nothing else in the block makes use of that output.
    That is found once per configuration and set of modules; while modules inside the blocks have hooks of others, which
    may change what they are given, it is found anew each time.

    Raises:
        NotReadableError: The model's blocks cannot be found, or its attention cannot be observed.
    """
    blocks = decoder_blocks(model)
    identity = identity_of(model)
    is_hooked = any(
        is_hooked_by_others(module) for block in blocks for module in modules_in(block) if module is not block
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

    def at_interface(observer: Callable[[AttentionCall], None]) -> AbstractContextManager[None]:
        return observed_attention(model, observer)

    def at_kernel(observer: Callable[[AttentionCall], None]) -> AbstractContextManager[None]:
        return observed_primitives(layers, on_weights=lambda *_: None, on_kernel=lambda _layer, call: observer(call))

    for observing in (at_interface, at_kernel):
        seen = _Pass(blocks)
        seen.run(model, observing)
        if seen.attended:
            break
    found = {layer: seen.projection(layer) for layer in sorted(seen.attended)}
    return {layer: path for layer, path in found.items() if path is not None}


@dataclass(frozen=True)
class _Candidate:
    """A module that was given exactly what attention returned."""

    path: str
    module: nn.Module
    n_inputs: int


class _Pass(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
    """One pass over a short text: what attention returned in each block, and what was done with it.

    Args:
        blocks: the model's blocks.
    """

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self._layers = {id(block): layer for layer, block in enumerate(blocks)}
        self._modules = {id(one): one for block in blocks for one in modules_in(block)}
        self._paths = [{id(module): path for path, module in block.named_modules()} for block in blocks]
        self._layer: int | None = None
        self._running: list[str] = []
        self._kept: dict[tuple[torch.device, int] | None, Tensor] = {}
        self._candidates: defaultdict[int, list[_Candidate]] = defaultdict(list)
        self._uses: defaultdict[int, list[tuple[str, ...]]] = defaultdict(list)
        self.attended: defaultdict[int, list[Tensor]] = defaultdict(list)
        """What attention returned in each layer, `(sample, query, head x width)`."""

    def run(self, model: PreTrainedModel, observing: Observing) -> None:
        """Run the model with one text that has no padding."""
        inputs = trial_text(model)[0]
        inputs = {name: value[:1] if isinstance(value, Tensor) else value for name, value in inputs.items()}
        active = in_this_thread()
        with ExitStack() as stack:
            for module in self._modules.values():
                for handle in (
                    module.register_forward_pre_hook(
                        lambda module, _: self._enter(module) if active() else None, prepend=True
                    ),
                    module.register_forward_pre_hook(
                        lambda *called: self._look(*called) if active() else None, with_kwargs=True
                    ),
                    module.register_forward_hook(lambda module, *_: self._leave(module) if active() else None),
                ):
                    stack.callback(handle.remove)
            stack.enter_context(observing(lambda call: self._attend(call) if active() else None))
            stack.enter_context(self)
            model(**inputs)

    def projection(self, layer: int) -> str | None:
        """Return the path of the outermost affine module without which nothing made use of a layer's attention."""
        uses = self._uses[layer]
        if len(self.attended[layer]) != 1 or not uses:
            return None
        for one in self._candidates[layer]:
            if all(one.path in running for running in uses) and matrix_of(one.module, one.n_inputs) is not None:
                return one.path
        return None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._layer is not None and self._kept and any(map(self._is_kept, _tensors((args, kwargs)))):
            name = getattr(func, "__name__", "")
            if name in _MOVES and isinstance(output, Tensor):
                self._keep(output)
            elif name == "__setitem__" or next(_tensors(output), None) is not None:
                self._uses[self._layer].append(tuple(self._running))
        return output

    def _keep(self, tensor: Tensor) -> None:
        memory = _memory_of(tensor)
        if memory is not None:
            self._kept[memory] = tensor

    def _is_kept(self, tensor: Tensor) -> bool:
        """Tell whether a tensor holds a layer's attention; no other can have its memory while that is kept here."""
        return _memory_of(tensor) in self._kept

    def _enter(self, module: nn.Module) -> None:
        """Begin what a module does, hooks of others included."""
        if id(module) in self._layers:
            self._layer, self._running = self._layers[id(module)], []
            self._kept.clear()
        elif self._layer is not None:
            self._running.append(self._paths[self._layer].get(id(module), ""))

    def _look(self, module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """See what a module is given, after hooks of others."""
        layer = self._layer
        if layer is None or not any(self._running[-1:]) or len(self.attended.get(layer, ())) != 1:
            return
        given = next(iter((*arguments, *options.values())), None)
        if isinstance(given, Tensor) and self._is_kept(given) and _is_same(given, self.attended[layer][0]):
            self._candidates[layer].append(_Candidate(self._running[-1], module, given.shape[-1]))

    def _leave(self, module: nn.Module) -> None:
        if id(module) in self._layers:
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


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor among a function's arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def _is_same(first: Tensor, second: Tensor) -> bool:
    """Tell whether two tensors hold the same numbers in the same order, and as many in each last row."""
    if first.shape[-1:] != second.shape[-1:] or first.numel() != second.numel():
        return False
    wide = torch.promote_types(first.dtype, second.dtype)
    return torch.equal(first.reshape(-1).to(second.device, wide), second.reshape(-1).to(wide))
