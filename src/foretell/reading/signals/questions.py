"""What plain attention is asked in some rows, and what comes back.

Plain attention is the softmax of scaled scores, with whatever a model adds to those.

    question = Question(query, key, value, mask=None, causal=True, scale=0.125)
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from foretell.reading.signals.pieces import CACHE_BYTES

__all__ = ["Added", "Question", "Weighed"]


@dataclass(frozen=True, slots=True)
class Question:
    """What plain attention asks its keys in some rows."""

    query: Tensor
    """`(sample, head, row, width)`; neighbouring heads share a head of keys and values."""
    key: Tensor
    """`(sample, key head, key, width)`."""
    value: Tensor | None
    """`(sample, key head, key, value width)`; None where contributions are not asked for."""
    mask: Tensor | None
    """The model's own."""
    causal: bool
    """Without a mask, whether rows see no later key."""
    scale: float
    """Factor of the scores."""
    bias: Tensor | None = None
    """`(sample or 1, head or 1, row, key)` that the model adds to the scores beside its mask."""
    output: Tensor | None = None
    """`(sample, head, row, value width)` what the model's own attention made of the values, where that is exact."""

    @property
    def n_bytes(self) -> int:
        """What it keeps in memory, with what its keys and values are parts of."""
        parts = (self.key,) if self.value is None else (self.key, self.value)
        storages = {storage.data_ptr(): storage.nbytes() for storage in (one.untyped_storage() for one in parts)}
        return self.query.nbytes + sum(storages.values())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is asked and what is asked of."""
        return tuple(one for one in (self.query, self.key, self.value, self.output) if one is not None)

    @property
    def kind(self) -> tuple[object, ...] | None:
        """Questions of one kind and shape can be one question of more samples; None for one that stands by itself."""
        n_samples, n_heads, n_rows, _ = self.query.shape
        fills_a_piece = 4 * n_samples * n_heads * n_rows * self.key.shape[2] > CACHE_BYTES
        if fills_a_piece or self.bias is not None or self.query.device.type != "cpu":
            return None
        return (id(self.mask), self.causal, self.scale)


@dataclass(frozen=True)
class Added:
    """What is added to the scores of the last keys."""

    values: Float[Tensor, "*heads row key"]
    """`(sample or 1, head or 1, row, key)`."""
    first: int
    """Key that it begins with."""
    seen: Float[Tensor, "*heads row key"] | None = None
    """Where it only hides keys, 1 for each that is seen and 0 for each that is not."""


@dataclass(frozen=True)
class Weighed:
    """What the weights say, row by row."""

    mass: Float[Tensor, "sample head row segment"]
    entropy: Float[Tensor, "sample head row"] | None
    contribution: Float[Tensor, "sample head row segment"] | None
