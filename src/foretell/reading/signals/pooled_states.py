"""Hidden states added up over the answer's tokens 1, 2, 3 to 4, 5 to 8, and so on, with the latest of each such bin.

The first 2 ** k tokens fill whole bins, and the last bin ends with the answer. So this gives the mean over the answer
and its last token, at every checkpoint and for the whole answer, without a row for every token.

    states = binned(rows, bins)
    states.mean(n_tokens), states.last(n_tokens)        # (sample, width)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["BinnedStates", "binned"]


@dataclass(frozen=True)
class BinnedStates:
    """Hidden states of one layer, in float32."""

    sums: Float[Tensor, "sample bin width"]
    latest: Float[Tensor, "sample bin width"]
    """The last token's so far; nan where a bin has none."""

    def joined(self, later: BinnedStates) -> BinnedStates:
        """Return these states and those of later tokens as one."""
        n_bins = max(self.sums.shape[1], later.sums.shape[1])
        before, after = (_padded(one.latest, n_bins, torch.nan) for one in (self, later))
        sums = _padded(self.sums, n_bins, 0.0) + _padded(later.sums, n_bins, 0.0)
        return BinnedStates(sums, torch.where(after.isnan(), before, after))

    def mean(self, n_tokens: Int[Tensor, " sample"]) -> Float[Tensor, "sample width"]:
        """Mean over the first tokens: 1, 2, 4, 8, ... or all that there are, at least 1."""
        return _at_end(self.sums.cumsum(1), n_tokens) / n_tokens[:, None]

    def last(self, n_tokens: Int[Tensor, " sample"]) -> Float[Tensor, "sample width"]:
        """The last of the first tokens, of which there are as many as in `mean`."""
        return _at_end(self.latest, n_tokens)


def binned(rows: Float[Tensor, "sample row width"], bins: Float[Tensor, "sample bin row"]) -> BinnedStates:
    """Return the sums and the latest states of rows by bin.

    Args:
        rows: hidden states of tokens in their order.
        bins: 1 where a row belongs to a bin; rows of no bin do not count, whatever they are.
    """
    number, last = (bins * torch.arange(1, bins.shape[2] + 1, device=bins.device)).max(2)
    counted = torch.where(bins.any(1)[..., None], rows.float(), 0.0)
    latest = counted.gather(1, last[..., None].expand(-1, -1, rows.shape[2]))
    return BinnedStates(bins @ counted, latest.masked_fill(number[..., None] == 0, torch.nan))


def _padded(values: Float[Tensor, "sample bin width"], n_bins: int, value: float) -> Float[Tensor, "sample bins width"]:
    return torch.nn.functional.pad(values, (0, 0, 0, n_bins - values.shape[1]), value=value)


def _at_end(values: Float[Tensor, "sample bin width"], n_tokens: Tensor) -> Float[Tensor, "sample width"]:
    """Return the value of the bin that a sample's last token is in."""
    # No logarithm, which rounds: the bin of n tokens is the number of binary digits of n - 1.
    ends = torch.tensor([(int(n) - 1).bit_length() for n in n_tokens]).clamp_max(values.shape[1] - 1)
    return values[torch.arange(len(values)), ends]
