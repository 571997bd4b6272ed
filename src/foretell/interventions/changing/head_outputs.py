"""The output of single heads: where it is in each layer, and replacing it before the output projection.

One pass over a short text finds out how many query heads a layer's attention returns, one after the other, and
`foretell.reading.hooks.output_projection` finds the module that is given exactly that. So heads that share keys and
values have outputs of their own, and joined projections of queries, keys and values play no part.

    places = head_places(model)
    with edited_heads(places, {3: without_head_5}, scope):
        model(**inputs)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import InputError, NotReadableError
from foretell.interventions.changing.intervention import Head
from foretell.reading.hooks.attention_interface import AttentionCall, observed_attention
from foretell.reading.hooks.function_mode import observed_primitives
from foretell.reading.hooks.output_projection import output_projections
from foretell.reading.hooks.scope import Scope
from foretell.reading.models.blocks import decoder_blocks, layer_lists
from foretell.reading.models.load import first_line
from foretell.reading.models.trial import FAILURES, evaluating, trial_text

__all__ = ["HeadEdit", "HeadPlaces", "edited_heads", "head_places", "observed_calls"]

CallPath = Literal["interface", "kernel"]
"""Where calls of attention are observed: at the library's interface, or at the fused kernel of torch."""
_PATHS: tuple[CallPath, ...] = ("interface", "kernel")
HeadEdit = Callable[[Float[Tensor, "sample token head width"]], Tensor]
"""Gets the outputs of a layer's heads and returns others; it must not change them in place."""
OnCall = Callable[[int, AttentionCall], None]
"""Gets the layer and a call of its attention that has returned."""


@dataclass(frozen=True)
class HeadPlaces:
    """Where the heads of a model write through."""

    name: str
    """Class of the model."""
    projections: Mapping[int, nn.Module]
    """The module that a layer's heads write through; layers whose heads cannot be isolated are absent."""
    n_heads: Mapping[int, int]
    """Query heads of each layer that has attention."""
    n_layers: int
    path: CallPath

    def check(self, heads: Iterable[Head]) -> None:
        """Refuse heads that do not exist or cannot be isolated.

        Raises:
            InputError: There is no such layer, or no such head in it.
            NotReadableError: What the heads of a layer write is not what its output projection is given.
        """
        for layer, head in heads:
            if not 0 <= layer < self.n_layers:
                raise InputError(f"there is no layer {layer}; {self.name} has layers 0 to {self.n_layers - 1}")
            if layer not in self.n_heads:
                raise InputError(f"layer {layer} of {self.name} has no attention heads")
            if not 0 <= head < self.n_heads[layer]:
                raise InputError(
                    f"there is no head {head} in layer {layer}; it has heads 0 to {self.n_heads[layer] - 1}"
                )
            if layer not in self.projections:
                raise NotReadableError(
                    f"{self.name}: the heads of layer {layer} cannot be isolated: what they write is not given to one "
                    "linear output projection alone (but to a gate or a norm over heads, say)"
                )


def head_places(model: PreTrainedModel) -> HeadPlaces:
    """Return where the heads of every layer are, as a pass over a short text shows.

    Raises:
        NotReadableError: The model's attention cannot be observed.
    """
    blocks = decoder_blocks(model)
    counts: dict[int, int] = {}

    def count(layer: int, call: AttentionCall) -> None:
        if call.output is not None and call.output.ndim == 4:
            counts[layer] = int(call.output.shape[2])

    name, why = (
        type(model).__name__,
        "its attention is computed neither by the library's interface nor by the kernel of torch",
    )
    for path in _PATHS:
        try:
            with evaluating(model), observed_calls(model, path, count, Scope()):
                model(**trial_text(model)[0])
        except FAILURES as error:
            why = f"it fails on a short text ({first_line(error)})"
        if counts:
            break
    else:
        raise NotReadableError(f"{name}: its heads cannot be isolated, because {why}")
    return HeadPlaces(name, output_projections(model, blocks), counts, len(blocks), path)


@contextmanager
def observed_calls(model: PreTrainedModel, path: CallPath, on_call: OnCall, scope: Scope) -> Iterator[None]:
    """Show every call of attention with its layer, in the caller's thread or coroutine."""
    with ExitStack() as stack:
        if not scope.is_active:
            stack.enter_context(scope.entered())
        if path == "interface":
            layers = {module: layer for layer, block in enumerate(decoder_blocks(model)) for module in block.modules()}

            def observer(call: AttentionCall) -> None:
                if call.module in layers:
                    on_call(layers[call.module], call)

            stack.enter_context(observed_attention(model, observer, scope=scope))
        else:
            lists = layer_lists(model)
            stack.enter_context(observed_primitives(lists, on_weights=_ignored, on_kernel=on_call, scope=scope))
        yield


def _ignored(_layer: int, _weights: Tensor) -> None:
    """Weights without values say nothing of what a head writes."""


@contextmanager
def edited_heads(places: HeadPlaces, edits: Mapping[int, HeadEdit], scope: Scope) -> Iterator[None]:
    """Give the output projections of some layers other outputs of heads, in the scope's thread or coroutine only.

    Args:
        places: From `head_places`.
        edits: By layer.
        scope: Whose passes are changed.
    """
    with ExitStack() as stack:
        for layer, edit in edits.items():
            hook = _edited_input(edit, places.n_heads[layer], scope)
            handle = places.projections[layer].register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _edited_input(edit: HeadEdit, n_heads: int, scope: Scope) -> Callable[..., Any]:
    """Return a hook that gives a projection other outputs of heads."""

    def hook(_module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not scope.is_active:
            return None
        name = None if arguments else next(iter(options))
        given: Tensor = arguments[0] if name is None else options[name]
        n_samples = given.shape[0] if given.ndim > 2 else 1
        by_head = given.reshape(n_samples, -1, n_heads, given.shape[-1] // n_heads)
        edited = edit(by_head).reshape(given.shape)
        return ((edited, *arguments[1:]), options) if name is None else (arguments, {**options, name: edited})

    return hook
