"""What takes the place of a head's output, or of the projection on a direction, while it is ablated.

Values are those of training conversations with their answers, which no effect is measured on.

    values, _ = recorded(model, rendered, budget=4096, heads=[(3, 5)], places=places)
    reference = reference_of(values[3, 5], "mean")
    reference.at(donors, positions)         # (sample, token, width)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.interventions.changing.head_outputs import HeadPlaces, edited_heads
from foretell.interventions.changing.intervention import Ablation, Head
from foretell.interventions.changing.text_batches import batched
from foretell.reading.chat.rendered import Rendered, pad_batch
from foretell.reading.hooks.residual_stream import residual_hooks
from foretell.reading.hooks.scope import Scope
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import accepts

__all__ = ["Reference", "Values", "recorded", "reference_of"]

Values = list[Float[Tensor, "_token _width"]]
"""Of each conversation."""


@dataclass(frozen=True)
class Reference:
    """Values by donor conversation and position; a shorter donor is read from its start again."""

    values: Float[Tensor, "donor token width"]
    lengths: Int[Tensor, " donor"]

    def at(self, donors: Int[Tensor, " sample"], positions: Int[Tensor, "sample token"]) -> Tensor:
        """Return the values for tokens, `(sample, token, width)`."""
        donor = (donors % len(self.lengths))[:, None]
        return self.values[donor, positions % self.lengths[donor]]


def reference_of(values: Values, ablation: Ablation) -> Reference:
    """Return what values are replaced with.

    Args:
        values: Of the training conversations.
        ablation: "zero", "mean": their mean over all tokens, or "resample": those of one conversation.
    """
    if ablation == "resample":
        lengths = torch.tensor([len(one) for one in values])
        return Reference(torch.nn.utils.rnn.pad_sequence(values, batch_first=True), lengths)
    mean = torch.cat(values).double().mean(0).to(values[0].dtype)
    return Reference((torch.zeros_like(mean) if ablation == "zero" else mean)[None, None], torch.ones(1).long())


def recorded(
    model: Model,
    rendered: Sequence[Rendered],
    *,
    budget: int,
    heads: Sequence[Head] = (),
    places: HeadPlaces | None = None,
    directions: Mapping[int, Float[Tensor, "direction width"]] | None = None,
) -> tuple[dict[Head, Values], dict[int, Values]]:
    """Run conversations with their answers; return outputs of heads, and projections on directions by layer.

    Args:
        model: A loaded model.
        rendered: The conversations.
        budget: Padded tokens in one batch.
        heads: Heads whose outputs, before the output projection, are kept in float32.
        places: Where they are.
        directions: Unit vectors by layer.

    Returns:
        Both by conversation, every token of each.
    """
    nothing, along = torch.empty(0, 0), dict(directions or {})
    of_heads: dict[Head, Values] = {head: [nothing] * len(rendered) for head in heads}
    of_directions: dict[int, Values] = {layer: [nothing] * len(rendered) for layer in along}
    lengths = [len(one.token_ids) for one in rendered]
    batch: list[int] = []

    def keep(values: Values, found: Tensor) -> None:
        _put(values, batch, found, [lengths[place] for place in batch])

    def on_residual(layer: int, hidden: Tensor) -> None:
        if layer in along:
            keep(of_directions[layer], hidden.float() @ along[layer].to(hidden.device).T)

    def on_heads(layer: int, outputs: Tensor) -> Tensor:
        for (own, head), values in of_heads.items():
            if own == layer:
                keep(values, outputs[:, :, head])
        return outputs

    scope = Scope()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(scope.entered())
        if along:
            stack.enter_context(residual_hooks(model.model, on_residual, active=lambda: scope.is_active))
        if places is not None:
            looks = {layer: partial(on_heads, layer) for layer, _ in heads}
            stack.enter_context(edited_heads(places, looks, scope))
        for chosen in batched(rendered, budget=budget):
            batch[:] = chosen
            _run(model, [rendered[place] for place in chosen])
    return of_heads, of_directions


def _put(values: Values, places: Sequence[int], found: Tensor, lengths: Sequence[int]) -> None:
    """Keep the real tokens of a right-padded batch at the places of its texts."""
    for place, one, length in zip(places, found, lengths, strict=True):
        values[place] = one[:length].float().cpu()


def _run(model: Model, rendered: Sequence[Rendered]) -> None:
    padded = pad_batch(rendered, pad_id=model.pad_id, side="right")
    options = {"logits_to_keep": 1} if accepts(model.model, "logits_to_keep") else {}
    model.model(
        input_ids=padded.token_ids.to(model.device),
        attention_mask=padded.attention_mask.to(model.device),
        use_cache=False,
        **options,
    )
