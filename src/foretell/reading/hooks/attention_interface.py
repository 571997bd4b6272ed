"""Observe a model's attention where it looks it up in the library's attention interface.

A module looks its attention function up by a name in its configuration. Inside `observed_attention` the modules of one
decoder have copies of their configurations in which that name is one of ours. It leads to the function that
the model would have called anyway; an observer sees its arguments and its output.

    with observed_attention(model, observer, scope=scope):
        model(**inputs)
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from foretell.errors import NotReadableError
from foretell.reading.hooks.scope import Scope
from foretell.reading.models.blocks import decoder_of

__all__ = ["AttentionCall", "Observer", "eager_attention", "observed_attention"]

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
"""Gets attention calls after the model's own output was computed."""


class _Name(str):
    """An implementation name that leads the interfaces to a function of ours.

    It reads and compares like the original (or, in the block that asked for it, like another implementation), because
    models choose code paths by `== "eager"`. While it is registered only its hash differs, so that a look-up finds what
    is registered under this very object. Afterwards it leads to the original again, also for a pass of another thread
    that still holds it.
    """

    def __new__(cls, original: str, _scope: Scope, _inside: str) -> _Name:
        return super().__new__(cls, original)

    def __init__(self, original: str, scope: Scope, inside: str) -> None:
        self._original, self._inside, self._scope = original, inside, scope
        self._is_registered = True

    @property
    def effective(self) -> str:
        """The implementation that the caller's thread is to use."""
        return self._inside if self._scope.is_active else self._original

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Name):
            return self is other
        return isinstance(other, str) and str.__eq__(self.effective, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(("foretell", id(self))) if self._is_registered else hash(self._original)

    @contextlib.contextmanager
    def registered(self, observer: Observer | None) -> Iterator[None]:
        """Lead both interfaces to our functions inside the block."""
        AttentionInterface.register(self, _attention(self, observer))
        AttentionMaskInterface.register(self, _mask(self))
        try:
            yield
        finally:
            for mapping in (AttentionInterface._global_mapping, AttentionMaskInterface._global_mapping):
                mapping.pop(self, None)
            self._is_registered = False


@contextlib.contextmanager
def observed_attention(model: PreTrainedModel, observer: Observer, *, scope: Scope | None = None) -> Iterator[None]:
    """Show `observer` every attention call of the decoder inside the block; the model's numbers stay as they are.

    Args:
        model: a loaded decoder.
        observer: called after each call.
        scope: whose calls are shown; None shows those of the caller's thread or coroutine.

    Raises:
        NotReadableError: The model's attention implementation is neither `sdpa` nor `eager`.
    """
    shown = Scope() if scope is None else scope
    with contextlib.ExitStack() as stack:
        if scope is None:
            stack.enter_context(shown.entered())
        modules = list(decoder_of(model).modules())
        stack.enter_context(_renamed(model, modules, shown, inside=None, observer=observer))
        yield


@contextlib.contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let the decoder compute its attention eagerly inside the block, in the caller's thread or coroutine only.

    In half precision its own function is given float32: rounded scores of a few hundred, which some models have, are
    off by one, and so say less of where the heads look than the fused functions that the models run with.
    """
    scope = Scope()
    with scope.entered(), _renamed(model, list(model.modules()), scope, inside="eager", observer=None):
        yield


@contextlib.contextmanager
def _renamed(
    model: PreTrainedModel,
    modules: Sequence[nn.Module],
    scope: Scope,
    *,
    inside: str | None,
    observer: Observer | None,
) -> Iterator[None]:
    """Give modules copies of their configurations under a name of ours; the originals may be those of other models."""
    configured = [
        (module, configuration)
        for module in modules
        if isinstance(configuration := vars(module).get("config"), PreTrainedConfig)
    ]
    copies: dict[int, PreTrainedConfig] = {}
    names: dict[str, _Name] = {}
    with contextlib.ExitStack() as stack:

        def renamed(configuration: PreTrainedConfig) -> PreTrainedConfig:
            if id(configuration) in copies:
                return copies[id(configuration)]
            copies[id(configuration)] = copied = copy.copy(configuration)
            if configuration._attn_implementation is not None:
                original = str(configuration._attn_implementation)
                if observer is not None and original not in READABLE:
                    raise NotReadableError(
                        f'{type(model).__name__}: attention "{original}" cannot be observed; '
                        'load the model with attn_implementation="sdpa" or "eager"'
                    )
                if original not in names:
                    names[original] = _Name(original, scope, inside or original)
                    stack.enter_context(names[original].registered(observer))
                copied._attn_implementation_internal = names[original]
            # A model of texts and pictures makes its masks for the implementation that the part about texts names.
            for name, part in vars(configuration).items() if inside else ():
                if isinstance(part, PreTrainedConfig):
                    vars(copied)[name] = renamed(part)
            return copied

        for module, configuration in configured:
            copied = renamed(configuration)
            stack.callback(vars(module).__setitem__, "config", configuration)
            vars(module)["config"] = copied
        yield


def _attention(name: _Name, observer: Observer | None) -> Callable[..., Any]:
    own_functions: dict[tuple[type[nn.Module], str], Callable[..., Any]] = {}

    def forward(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> Any:
        implementation = name.effective
        kind = (type(module), implementation)
        if kind not in own_functions:
            own_functions[kind] = _own_function(module, implementation)
        own = own_functions[kind]
        if observer is None and query.dtype in {torch.float16, torch.bfloat16} and name._scope.is_active:
            mixed, *rest = own(module, query.float(), key.float(), value.float(), attention_mask, **options)
            return mixed.to(query.dtype), *rest
        output = own(module, query, key, value, attention_mask, **options)
        if observer is not None and name._scope.is_active:
            observer(AttentionCall(module, own, implementation, query, key, value, attention_mask, options, output[0]))
        return output

    return forward


def _mask(name: _Name) -> Callable[..., Any]:
    def mask(*arguments: Any, **options: Any) -> Any:
        return ALL_MASK_ATTENTION_FUNCTIONS[name.effective](*arguments, **options)

    return mask


def _own_function(module: nn.Module, implementation: str) -> Callable[..., Any]:
    """Return the function that `module` would have been given for `implementation`."""
    names = inspect.unwrap(type(module).forward).__globals__
    eager = names.get("eager_attention_forward")
    interface = names.get("ALL_ATTENTION_FUNCTIONS", ALL_ATTENTION_FUNCTIONS)
    own: Callable[..., Any] | None = interface.get(implementation, eager)
    if own is None:
        raise NotReadableError(f"{type(module).__name__}: its eager attention is not a function of its module")
    return own
