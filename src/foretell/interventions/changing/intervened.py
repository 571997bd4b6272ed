"""A model that computes with an intervention inside a block, and as before outside of it.

Only passes of the caller's own thread or coroutine are changed. On leaving, also by an exception, no hook is left; the
weights are never touched.

    fed = FedTokens(batch.segments, donors)
    with intervened(model, intervention, fed, means):
        model.model(input_ids=batch.token_ids, attention_mask=batch.attention_mask)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from foretell.directions.steering import editing
from foretell.interventions.changing.attention_knockout import masked_heads
from foretell.interventions.changing.fed_tokens import FedTokens
from foretell.interventions.changing.head_outputs import HeadEdit, HeadPlaces, edited_heads
from foretell.interventions.changing.intervention import DirectionIntervention, Head, HeadIntervention, Intervention
from foretell.interventions.changing.reference_values import Reference
from foretell.reading.hooks.scope import Scope
from foretell.reading.models.load import Model
from foretell.schema.tables import SEGMENTS

__all__ = ["References", "intervened"]


@dataclass(frozen=True)
class References:
    """Where heads are, and what takes the place of what is ablated."""

    places: HeadPlaces | None = None
    heads: Mapping[Head, Reference] = field(default_factory=dict)
    """By layer and head."""
    directions: Mapping[tuple[str, int], Reference] = field(default_factory=dict)
    """By concept and layer."""


@contextmanager
def intervened(
    model: Model, intervention: Intervention | None, fed: FedTokens, references: References
) -> Iterator[None]:
    """Run the model with an intervention inside the block.

    Args:
        model: A loaded model.
        intervention: What is changed; None: nothing.
        fed: Tokens of the one batch that is run inside the block, each token fed once.
        references: Places of heads and values for what is ablated.
    """
    if intervention is None:
        yield
        return
    scope = Scope()
    with ExitStack() as stack:
        stack.enter_context(scope.entered())
        if isinstance(intervention, DirectionIntervention):

            def edit(hidden: Tensor) -> Tensor:
                return _along(intervention, hidden, fed, references)

            stack.enter_context(editing(model, {intervention.layer: edit}, scope))
        else:
            stack.enter_context(_on_heads(model, intervention, fed, references, scope))
        # Last: finding blocks and heads may run a short text of its own.
        stack.enter_context(fed.followed(model.model, scope))
        yield


@contextmanager
def _on_heads(
    model: Model, intervention: HeadIntervention, fed: FedTokens, references: References, scope: Scope
) -> Iterator[None]:
    if references.places is None:
        raise ValueError("an intervention on heads needs their places")
    by_layer: defaultdict[int, list[int]] = defaultdict(list)
    for layer, head in intervention.heads:
        by_layer[layer].append(head)
    if intervention.segment is not None:
        code = SEGMENTS.index(intervention.segment)
        with masked_heads(model, references.places, by_layer, code, fed=fed, scope=scope):
            yield
        return
    edits = {layer: _replacing(layer, heads, fed, references) for layer, heads in by_layer.items()}
    with edited_heads(references.places, edits, scope):
        yield


def _replacing(layer: int, heads: list[int], fed: FedTokens, references: References) -> HeadEdit:
    def edit(outputs: Tensor) -> Tensor:
        edited = outputs.clone()
        for head in heads:
            edited[:, :, head] = references.heads[layer, head].at(fed.donors, fed.positions).to(outputs)
        return edited

    return edit


def _along(one: DirectionIntervention, hidden: Tensor, fed: FedTokens, references: References) -> Tensor:
    """Return states with another projection on a direction, or with the direction added."""
    read, written = (
        torch.as_tensor(vector, dtype=torch.float32, device=hidden.device) for vector in (one.read, one.written)
    )
    if one.dose is None:
        other = references.directions[one.concept, one.layer].at(fed.donors, fed.positions).to(read)
        change = (other - (hidden.float() @ read)[..., None]) * written
    else:
        change = fed.answering.to(read)[..., None] * one.length * written
    return (hidden.float() + change).to(hidden.dtype)
