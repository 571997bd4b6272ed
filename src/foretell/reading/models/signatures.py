"""What a model's own `forward` calls its arguments and outputs, which differs between versions of transformers.

The keys and values of earlier tokens were `past_key_values` (`cache_params` in models with a recurrent state) up to
transformers 5.23 and are `cache` from 5.24 on; the old names are to go in 5.40. Models whose code comes with their
weights keep the old name for longer. So what is read is read under either name, and what is passed is passed under
the name that the module's own signature has.

    cache = cache_of(bound)                              # of a call's arguments by name
    output = network(**{cache_argument(network): cache}, **others)
    cache = cache_from(output)
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

__all__ = ["accepts", "cache_argument", "cache_from", "cache_of"]

_NAMES = ("cache", "past_key_values", "cache_params")
"""The newest name first: given both, transformers uses it too."""


def cache_of(bound: Mapping[str, Any], module: nn.Module | None = None) -> Any:
    """Return the memory of earlier tokens that a call was given, under whichever name; None if it was given none.

    Args:
        bound: The call's arguments by name.
        module: What was called. A name that it does not know is then passed over, because the module ignores it too.
            The older names count where its signature has the newest: transformers renames them on the way in.
    """
    names: tuple[str, ...] = _NAMES
    if module is not None and (own := _own_name(module)) is not None:
        names = _NAMES if own == _NAMES[0] else (own,)
    return next((bound[name] for name in names if bound.get(name) is not None), None)


def cache_argument(module: nn.Module) -> str:
    """Return under which name `module.forward` takes the memory of earlier tokens.

    Where the signature names none (a wrapper that hands everything on, say), it is the name that the installed
    transformers uses itself.

    Example:
        >>> class Remote(nn.Module):
        ...     def forward(self, input_ids, past_key_values=None): ...
        >>> cache_argument(Remote())
        'past_key_values'
    """
    return _own_name(module) or next(name for name in _NAMES if name in _LIBRARY_FIELDS)


def cache_from(output: object) -> Any:
    """Return the memory of earlier tokens that a model handed back; None if it handed back none.

    Args:
        output: What the model returned: an object with named parts, a mapping, or a tuple.
    """
    if isinstance(output, tuple):
        return next((one for one in output if isinstance(one, Cache)), None)
    # Attributes that the object really has: asked for an old name, transformers would log that it is deprecated.
    own = getattr(output, "__dict__", {})
    for name in _NAMES:
        if name in own:
            return own[name]
    return cache_of(output) if type(output) is dict else None


def accepts(module: nn.Module, name: str) -> bool:
    """Tell whether the signature of `module.forward` has an argument of that name."""
    return name in inspect.signature(module.forward).parameters


def _own_name(module: nn.Module) -> str | None:
    return next((name for name in _NAMES if accepts(module, name)), None)


_LIBRARY_FIELDS = {field.name for field in fields(BaseModelOutputWithPast)}
