"""What blocks are given and return in a forward pass, after every hook of others, whenever that was registered.

It knows nothing of where a model's residual stream is.

    from foretell.reading.hooks.last_in_line import last_in_line, returned_hidden
    with last_in_line(blocks, given, lambda layer, output: print(layer, returned_hidden(output)), active):
        model(**inputs)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from torch import Tensor, nn

__all__ = ["given_hidden", "is_hooked_by_others", "last_in_line", "returned_hidden"]

_LIBRARIES = ("transformers", "torch", "accelerate", "foretell")
"""Whose hooks leave what modules are given and return as it is."""

OnGiven: TypeAlias = Callable[[int, tuple[Any, ...], dict[str, Any]], None]
"""Gets the layer, and what its block is called with by position and by name."""
OnReturned: TypeAlias = Callable[[int, Any], None]
"""Gets the layer and what leaves its block."""


@contextmanager
def last_in_line(
    blocks: Sequence[nn.Module], given: OnGiven, returned: OnReturned, active: Callable[[], bool]
) -> Iterator[None]:
    """Call `given` right before each block computes, and `returned` after it, behind all hooks of others on it.

    A hook cannot change its own place while it is called. So the one that comes last when a block is entered puts the
    one for leaving it behind all others, and that one does the same for the next block. The order of other hooks stays.

    Args:
        blocks: in the order in which they run.
        given: called in every pass.
        returned: called in every pass.
        active: asked in each hook whether the pass that runs there is to be seen.
    """
    with ExitStack() as stack:

        def enter(layer: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            if active():
                _move_to_end(blocks[layer]._forward_hooks, leaving[layer])
                given(layer, arguments, options)

        def leave(layer: int, output: Any) -> None:
            if active():
                if layer + 1 < len(blocks):
                    _move_to_end(blocks[layer + 1]._forward_pre_hooks, entering[layer + 1])
                returned(layer, output)

        entering: list[int] = []
        leaving: list[int] = []
        for layer, block in enumerate(blocks):
            before = block.register_forward_pre_hook(
                lambda _module, arguments, options, layer=layer: enter(layer, arguments, options), with_kwargs=True
            )
            stack.callback(before.remove)
            after = block.register_forward_hook(lambda _module, _arguments, output, layer=layer: leave(layer, output))
            stack.callback(after.remove)
            entering.append(before.id)
            leaving.append(after.id)
        yield


def _move_to_end(hooks: dict[int, Any], number: int) -> None:
    hook = hooks.pop(number, None)
    if hook is not None:
        hooks[number] = hook


def is_hooked_by_others(module: nn.Module) -> bool:
    """Tell whether a module has forward hooks that may change what it is given or returns."""
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return any((getattr(hook, "__module__", None) or "").split(".")[0] not in _LIBRARIES for hook in hooks)


def given_hidden(arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Tensor | None:
    """Return the hidden state that a block is called with, by position or by name, `(sample, token, width)`."""
    return _hidden(arguments[0] if arguments else options.get("hidden_states"))


def returned_hidden(output: Any) -> Tensor | None:
    """Return the hidden state in what a block returns: a tensor, or the first part of a tuple, mapping or dataclass."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    elif dataclasses.is_dataclass(output):
        output = tuple(getattr(output, field.name) for field in dataclasses.fields(output))
    return _hidden(output[0] if isinstance(output, (tuple, list)) and output else output)


def _hidden(value: Any) -> Tensor | None:
    return value if isinstance(value, Tensor) and value.ndim == 3 else None
