"""What blocks are given and return in a forward pass, after every hook of others, whenever that was registered.

It knows nothing of where a model's residual stream is.

    from foretell.reading.hooks.last_in_line import last_in_line, returned_part
    with last_in_line(blocks, given, lambda layer, output: print(layer, returned_part(output)), active):
        model(**inputs)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["given_hidden", "hidden_or_none", "is_hooked_by_others", "last_in_line", "returned_part"]

_LIBRARIES = ("transformers", "torch", "accelerate", "foretell")
"""Whose hooks leave what modules are given and return as it is."""

OnGiven: TypeAlias = Callable[[int, tuple[Any, ...], dict[str, Any]], None]
"""Gets the layer, and what its block is called with by position and by name."""
OnReturned: TypeAlias = Callable[[int, Any], None]
"""Gets the layer and what leaves its block."""


@contextmanager
def last_in_line(
    blocks: Sequence[nn.Module],
    given: OnGiven,
    returned: OnReturned,
    active: Callable[[], bool],
    *,
    layers: Collection[int] | None = None,
) -> Iterator[None]:
    """Call `given` right before each block computes, and `returned` after it, behind all hooks of others on it.

    A hook cannot change its own place while it is called. So the one that comes last when a block is entered puts the
    one for leaving it behind all others, and that one does the same for the next block. The order of other hooks stays.

    Args:
        blocks: in the order in which they run.
        given: called in every pass.
        returned: called in every pass.
        active: asked in each hook whether the pass that runs there is to be seen.
        layers: those of the blocks that are seen; None: all. Entering the first of several in a row, `given` may not
            come last.
    """
    entering: dict[int, RemovableHandle] = {}
    leaving: dict[int, RemovableHandle] = {}

    def enter(layer: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if active():
            _move_to_end(blocks[layer]._forward_hooks, leaving[layer])
            given(layer, arguments, options)

    def leave(layer: int, output: Any) -> None:
        if active():
            if layer + 1 in entering:
                _move_to_end(blocks[layer + 1]._forward_pre_hooks, entering[layer + 1])
            returned(layer, output)

    with ExitStack() as stack:
        for layer in range(len(blocks)) if layers is None else sorted(layers):
            block = blocks[layer]
            entering[layer] = block.register_forward_pre_hook(
                lambda _, *called, layer=layer: enter(layer, *called), with_kwargs=True
            )
            leaving[layer] = block.register_forward_hook(lambda *called, layer=layer: leave(layer, called[-1]))
            stack.callback(entering[layer].remove)
            stack.callback(leaving[layer].remove)
        yield


def _move_to_end(hooks: dict[int, Any], handle: RemovableHandle) -> None:
    if handle.id in hooks:
        hooks[handle.id] = hooks.pop(handle.id)


def is_hooked_by_others(module: nn.Module) -> bool:
    """Tell whether a module has forward hooks that may change what it is given or returns."""
    if not module._forward_pre_hooks and not module._forward_hooks:
        return False
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return any((getattr(hook, "__module__", None) or "").split(".")[0] not in _LIBRARIES for hook in hooks)


def given_hidden(arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Tensor | None:
    """Return the hidden state that a block is called with, by position or by name, `(sample, token, width)`."""
    return hidden_or_none(arguments[0] if arguments else options.get("hidden_states"))


def returned_part(output: Any) -> Any:
    """Return where a block returns its hidden state: all of it, or the first part of a tuple, mapping or dataclass."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    elif dataclasses.is_dataclass(output):
        output = tuple(getattr(output, field.name) for field in dataclasses.fields(output))
    return output[0] if isinstance(output, (tuple, list)) and output else output


def hidden_or_none(value: Any) -> Tensor | None:
    """Return a tensor of `(sample, token, width)` as it is, and None for anything else."""
    return value if isinstance(value, Tensor) and value.ndim == 3 else None
