"""Stand beside a model's attention: it computes what it always does, and an observer sees its arguments.

The model library looks attention up by a name in its configuration, and the mask by the same name. Inside
`observed_attention` that name is one of ours, registered with both interfaces; what the model gets back is the
untouched output of the function that it would have called anyway.

    from foretell.reading.hooks.attention_interface import observed_attention
    with observed_attention(model, observer):
        model(**inputs)
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from foretell.errors import NotReadableError
from foretell.reading.hooks.residual_stream import decoder_of, modules_in

__all__ = ["AttentionCall", "Observer", "attention_named", "observed_attention"]

READABLE = ("sdpa", "eager")
"""Implementations whose masks are understood."""


@dataclass(frozen=True)
class AttentionCall:
    """One call of a model's attention: the module, its own function, and what that was given."""

    module: nn.Module
    own: Callable[..., Any]
    implementation: str
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    options: dict[str, Any]
    output: Tensor | None = None
    """What the function returned to the model, `(sample, query, head, width)`; None if that is not known."""


Observer = Callable[[AttentionCall], None]
"""Whoever wants to see attention calls, after the model's own output was computed."""


class _Name(str):
    """The model's own implementation name that leads the interfaces to another function.

    It reads and compares like the original, because models choose code paths by `== "eager"` or `in ("eager",
    "sdpa")` and must choose the same ones while they are observed. Only its hash differs, so that a look-up in
    the registry finds what was registered under this very object.
    """

    _number: int
    _numbers = itertools.count(1)

    def __new__(cls, original: str) -> _Name:
        name = super().__new__(cls, original)
        name._number = next(cls._numbers)
        return name

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(("foretell", self._number))


def _configurations(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """Return every configuration that a module of the decoder looks its attention up in."""
    found: dict[int, PreTrainedConfig] = {}
    for module in modules_in(decoder_of(model)):
        configuration = vars(module).get("config")
        if isinstance(configuration, PreTrainedConfig):
            found.setdefault(id(configuration), configuration)
    return list(found.values())


@contextlib.contextmanager
def attention_named(model: PreTrainedModel, rename: Callable[[str], str]) -> Iterator[None]:
    """Let the decoder look its attention up under `rename(its own name)` inside the block."""
    before = [(configuration, configuration._attn_implementation) for configuration in _configurations(model)]
    try:
        for configuration, name in before:
            if name is not None:
                configuration._attn_implementation_internal = rename(name)
        yield
    finally:
        for configuration, name in before:
            configuration._attn_implementation_internal = name


@contextlib.contextmanager
def observed_attention(model: PreTrainedModel, observer: Observer) -> Iterator[None]:
    """Show `observer` every attention call of the decoder inside the block; the model's numbers stay as they are.

    Raises:
        NotReadableError: The model's attention implementation is neither `sdpa` nor `eager`.
    """
    names: dict[str, _Name] = {}
    with contextlib.ExitStack() as stack:

        def rename(original: str) -> str:
            if original not in READABLE:
                raise NotReadableError(
                    f'{type(model).__name__}: attention "{original}" cannot be observed; '
                    'load the model with attn_implementation="sdpa" or "eager"'
                )
            if original not in names:
                names[original] = name = _Name(original)
                AttentionInterface.register(name, _forward(original, observer))
                stack.callback(AttentionInterface._global_mapping.pop, name, None)
                AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[original])
                stack.callback(AttentionMaskInterface._global_mapping.pop, name, None)
            return names[original]

        stack.enter_context(attention_named(model, rename))
        yield


def _forward(implementation: str, observer: Observer) -> Callable[..., Any]:
    own_functions: dict[type[nn.Module], Callable[..., Any]] = {}

    def forward(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> Any:
        own = own_functions.get(type(module))
        if own is None:
            own = own_functions[type(module)] = _own_function(module, implementation)
        output = own(module, query, key, value, attention_mask, **options)
        observer(AttentionCall(module, own, implementation, query, key, value, attention_mask, options, output[0]))
        return output

    return forward


def _own_function(module: nn.Module, implementation: str) -> Callable[..., Any]:
    """Return the function that `module` would have been given for `implementation`."""
    names = inspect.unwrap(type(module).forward).__globals__
    eager = names.get("eager_attention_forward")
    interface = names.get("ALL_ATTENTION_FUNCTIONS", ALL_ATTENTION_FUNCTIONS)
    own: Callable[..., Any] | None = interface.get_interface(implementation, eager)
    if own is None:
        raise NotReadableError(f"{type(module).__name__}: its eager attention is not a function of its module")
    return own
