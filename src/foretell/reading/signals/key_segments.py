"""Which segment each key of an attention call belongs to, in the forms that products with attention weights need.

segments = KeySegments(codes)
segments.indicators(n_keys, device)      # (sample, segment + 1, key)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.schema.tables import SEGMENTS

__all__ = ["N_SEGMENTS", "KeySegments", "SegmentRun"]

N_SEGMENTS = len(SEGMENTS)
_UNKNOWN = -2
"""Code of keys that are no token of the text: unused places of a cache, or keys that a model makes of its own."""


@dataclass(frozen=True)
class SegmentRun:
    """Neighbouring keys of one segment, the same in neighbouring samples."""

    samples: slice
    segment: int
    keys: slice
    is_first: bool
    """Whether it is the first one of its segment in these samples; without keys where they have none of it."""


class KeySegments:
    """Segments of a pass's keys, made once for all its layers.

    Args:
        codes: segment code of every token up to the end of the pass, -1 where padding.
    """

    def __init__(self, codes: Int[Tensor, "sample token"]) -> None:
        self._codes = codes
        self._indicators: dict[tuple[int, torch.device], Tensor] = {}
        self._runs: dict[int, list[SegmentRun]] = {}

    def indicators(self, n_keys: int, device: torch.device) -> Float[Tensor, "sample code key"]:
        """1 where a key belongs to a segment; the last of the six rows is 1 where it is padding."""
        if (n_keys, device) not in self._indicators:
            codes = self._key_codes(n_keys)
            known = torch.where(codes == -1, N_SEGMENTS, codes)
            rows = torch.arange(N_SEGMENTS + 1)
            self._indicators[n_keys, device] = (known[:, None] == rows[:, None]).float().to(device)
        return self._indicators[n_keys, device]

    def runs(self, n_keys: int) -> Sequence[SegmentRun]:
        """Return neighbouring keys of one segment; padding is in none."""
        if n_keys not in self._runs:
            self._runs[n_keys] = _runs(self._key_codes(n_keys).numpy())
        return self._runs[n_keys]

    def previous_keys(self, rows: Int[Tensor, "sample row"], n_queries: int, n_keys: int) -> Int[Tensor, "sample row"]:
        """Return the key of the token before each query row; -1 where there is none, or the cache has dropped it."""
        n_tokens = self._codes.shape[1]
        is_token = torch.nn.functional.pad(self._codes >= 0, (1, 0))  # the column before a query's own
        latest = torch.where(is_token, torch.arange(-1, n_tokens), -1).cummax(1).values
        first = max(n_tokens - n_keys, 0)
        return (latest.gather(1, rows + n_tokens - n_queries) - first).clamp_min(-1)

    def _key_codes(self, n_keys: int) -> Tensor:
        """Return the segment code of every key: a windowed cache holds the last tokens only, a fixed one is longer."""
        n_tokens = self._codes.shape[1]
        first = max(n_tokens - n_keys, 0)
        codes = self._codes[:, first : first + n_keys]
        return torch.nn.functional.pad(codes, (0, n_keys - codes.shape[1]), value=_UNKNOWN)


def _runs(codes: Int[np.ndarray, "sample key"]) -> list[SegmentRun]:
    runs: list[SegmentRun] = []
    first = 0
    for _, same in itertools.groupby(codes, key=lambda row: row.tobytes()):
        rows = list(same)
        samples = slice(first, first + len(rows))
        first = samples.stop
        edges = [0, *(np.flatnonzero(np.diff(rows[0])) + 1).tolist(), len(rows[0])]
        for segment in range(N_SEGMENTS):
            own = [
                slice(*edge) for edge in itertools.pairwise(edges) if edge[0] < edge[1] and rows[0][edge[0]] == segment
            ]
            runs += [SegmentRun(samples, segment, keys, not place) for place, keys in enumerate(own or [slice(0)])]
    return runs
