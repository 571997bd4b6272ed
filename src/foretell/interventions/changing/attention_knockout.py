"""Attention knockout: single heads that do not see a segment, while all others do.

The attention function of the model is called once more with a mask in which the segment's keys are hidden from the
chosen heads, and what these heads then return is given to the output projection. A token still sees its own key, so no
row is left without any.

Source:
    Geva et al. (2023), "Dissecting recall of factual associations in auto-regressive language models": edges of
    attention are cut by scores of minus infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foretell.errors import NotReadableError
from foretell.interventions.changing.fed_tokens import FedTokens
from foretell.interventions.changing.head_outputs import HeadPlaces, edited_heads, observed_calls
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.hooks.scope import Scope
from foretell.reading.models.load import Model, first_line
from foretell.reading.models.trial import FAILURES, evaluating, trial_text
from foretell.reading.signals.attention_mass import is_causal

__all__ = ["check_knockout", "masked_heads"]

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_COARSE = 5e-2
"""Of the largest output, in half precision."""


@contextmanager
def masked_heads(
    model: Model,
    places: HeadPlaces,
    heads: Mapping[int, Sequence[int]],
    hidden_segment: int,
    *,
    fed: FedTokens,
    scope: Scope,
) -> Iterator[None]:
    """Hide a segment's keys from some heads inside the block, in the scope's thread or coroutine.

    Args:
        model: A loaded model.
        places: Its `head_places`.
        heads: By layer.
        hidden_segment: Code of the segment.
        fed: Tokens of the batch that is run.
        scope: Whose passes are changed.
    """
    found: dict[int, Tensor] = {}

    def on_call(layer: int, call: AttentionCall) -> None:
        if layer in heads:
            is_hidden = (fed.key_codes(call.key.shape[2]) == hidden_segment).to(call.query.device)
            found[layer] = _without(call, is_hidden, heads[layer])

    def replaced(layer: int) -> Callable[[Tensor], Tensor]:
        def edit(outputs: Tensor) -> Tensor:
            edited = outputs.clone()
            chosen = list(heads[layer])
            edited[:, :, chosen] = found.pop(layer)[:, :, chosen].to(outputs)
            return edited

        return edit

    with (
        observed_calls(model.model, places.path, on_call, scope),
        edited_heads(places, {layer: replaced(layer) for layer in heads}, scope),
    ):
        yield


def check_knockout(model: Model, places: HeadPlaces) -> None:
    """Refuse a model whose attention cannot be computed again from what its function was given.

    Raises:
        NotReadableError: With nothing hidden, something else comes out for a short text.
    """
    name = type(model.model).__name__
    inputs = {
        key: value[:1] if isinstance(value, Tensor) else value for key, value in trial_text(model.model)[0].items()
    }
    off: list[float] = []

    def compare(_layer: int, call: AttentionCall) -> None:
        if call.output is not None:
            nothing = torch.zeros((1, call.key.shape[2]), dtype=torch.bool, device=call.query.device)
            again = _without(call, nothing, range(call.query.shape[1]))
            off.append(float((again - call.output).abs().max() / call.output.abs().max().clamp_min(1e-12)))

    try:
        with evaluating(model.model), observed_calls(model.model, places.path, compare, Scope()):
            model.model(**inputs)
    except FAILURES as error:
        raise NotReadableError(
            f"{name}: its attention cannot be computed with another mask: {first_line(error)}"
        ) from error
    tolerance = _TOLERANCE.get(model.dtype, _COARSE)
    if not off or not max(off) <= tolerance:
        worst = f"off by {max(off):.2g} of its size" if off else "none was observed"
        raise NotReadableError(f"{name}: its attention cannot be computed with another mask ({worst})")


def _without(
    call: AttentionCall, is_hidden: Bool[Tensor, "sample key"], heads: Sequence[int]
) -> Float[Tensor, "sample query head width"]:
    """Return what attention gives when some heads do not see some keys; the other heads' part is what it was."""
    n_samples, n_heads, n_queries, _ = call.query.shape
    n_keys = call.key.shape[2]
    least = torch.finfo(call.query.dtype).min
    mask = _stated(call).expand(n_samples, n_heads, n_queries, n_keys).clone()
    query = torch.arange(n_queries, device=mask.device) + n_keys - n_queries
    own = query[:, None] == torch.arange(n_keys, device=mask.device)
    blocked = is_hidden[:, None, None, :] & ~own
    mask[:, list(heads)] = mask[:, list(heads)].masked_fill(blocked, least)
    options = {**call.options, "dropout": 0.0}
    if call.implementation == "sdpa":
        options["is_causal"] = False
    output: Tensor = call.own(call.module, call.query, call.key, call.value, mask, **options)[0]
    return output


def _stated(call: AttentionCall) -> Float[Tensor, "_sample _head query key"]:
    """Return what a call adds to its scores, with its causal mask where it has no other."""
    n_queries, n_keys = call.query.shape[2], call.key.shape[2]
    least = torch.finfo(call.query.dtype).min
    nothing = torch.zeros((1, 1, n_queries, n_keys), dtype=call.query.dtype, device=call.query.device)
    if call.mask is None:
        if n_queries == 1 or not is_causal(call):
            return nothing
        later = torch.ones((n_queries, n_keys), dtype=torch.bool, device=nothing.device).triu(n_keys - n_queries + 1)
        return nothing.masked_fill(later, least)
    mask = call.mask[..., :n_keys]
    if mask.ndim != 4:
        raise NotReadableError(f"{type(call.module).__name__}: a mask of shape {tuple(mask.shape)} is not understood")
    if mask.dtype == torch.bool:
        return nothing.masked_fill(~mask, least)
    return mask.to(call.query.dtype).clamp_min(least)
