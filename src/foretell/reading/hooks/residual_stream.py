"""The residual stream after each decoder block, as the next block is given it.

The model library's last hidden state is taken after the final norm; here every layer's is taken at the blocks
themselves, with everything that hooks of others add.

    from foretell.reading.hooks.residual_stream import residual_hooks
    with residual_hooks(model, lambda layer, hidden: print(layer, hidden.shape)):
        model(**inputs)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from foretell.errors import NotReadableError
from foretell.reading.hooks.last_in_line import given_hidden, hidden_or_none, last_in_line, returned_part
from foretell.reading.hooks.residual_place import residual_place
from foretell.reading.models.blocks import Blocks, layer_lists

__all__ = ["residual_blocks", "residual_hooks"]


def residual_blocks(model: PreTrainedModel) -> Blocks:
    """Return the modules whose outputs are the hidden states after each block, layer 0 first.

    They are the decoder's blocks, or, where a model has no blocks, the last part of each.

    Raises:
        NotReadableError: No list of modules returns the hidden states; the message says what was found instead.
    """
    return layer_lists(model)[residual_place(model).index]


@contextmanager
def residual_hooks(
    model: PreTrainedModel,
    callback: Callable[[int, Tensor], None],
    *,
    blocks: Sequence[nn.Module] | None = None,
    active: Callable[[], bool] | None = None,
    layers: Collection[int] | None = None,
) -> Iterator[None]:
    """Call `callback(layer, hidden)` for every block of every forward pass inside the block.

    What it gets is what the next block is given, and for the last block what leaves it, after all hooks of others,
    whenever these were registered. In a model that changes the hidden state between blocks, it is what leaves each.

    Args:
        model: a loaded decoder.
        callback: gets the layer (from 0) and the residual stream after that block, `(sample, token, width)`, as
            the model holds it: do not change it in place, and copy what must outlive the pass.
        blocks: the model's `residual_blocks`, where they are known.
        active: asked in each hook whether the pass that runs there is to be seen; None sees every pass.
        layers: only these; None: all.

    Raises:
        NotReadableError: The model's blocks cannot be found, or hand on no hidden state.
    """
    place = residual_place(model)
    blocks = layer_lists(model)[place.index] if blocks is None else blocks
    name = type(model).__name__
    # What leaves a block is what the next one is given, which therefore has hooks too.
    hooked = None if layers is None else {at for layer in layers for at in (layer, layer + 1) if at < len(blocks)}

    def found(layer: int, hidden: Tensor | None) -> None:
        if layers is not None and layer not in layers:
            return
        if hidden is None:
            raise NotReadableError(f"{name}: block {layer} hands on no hidden state of (sample, token, width)")
        callback(layer, hidden)

    def given(layer: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if place.is_given and layer > 0:
            found(layer - 1, given_hidden(arguments, options))

    def returned(layer: int, output: Any) -> None:
        if not place.is_given or layer == len(blocks) - 1:
            found(layer, hidden_or_none(returned_part(output)))

    with last_in_line(blocks, given, returned, active or (lambda: True), layers=hooked):
        yield
