"""Which segment each key belongs to, in the forms that products with attention weights need.

They are made once for all layers of a pass.

    indicators = Indicators(codes, shelf)
    indicators.inside(n_keys, device)
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.reading.capture.recording import Shelf
from foretell.reading.signals.parts import Runs, longest_segment, runs_of
from foretell.schema.tables import SEGMENTS

__all__ = ["Indicators"]

N_SEGMENTS = len(SEGMENTS)


class Indicators:
    """Segments of a pass's keys, made once for all layers.

    Args:
        codes: segment code of every token up to the end of the pass, -1 where padding.
        shelf: where they are kept.
    """

    def __init__(self, codes: Int[Tensor, "sample token"], shelf: Shelf) -> None:
        self._codes = codes
        self._shelf = shelf
        self._inside: dict[tuple[int, torch.device], Tensor] = {}
        self._counted: dict[tuple[int, int, torch.device], Tensor] = {}
        self._runs: dict[int, Runs] = {}
        self._leaves: dict[int, bool] = {}

    @property
    def n_samples(self) -> int:
        """Samples of the pass; questions of several layers have them again and again."""
        return len(self._codes)

    def inside(self, n_keys: int, device: torch.device) -> Float[Tensor, "sample segment key"]:
        """1 where a key belongs to a segment."""
        if (n_keys, device) not in self._inside:
            codes = self._key_codes(n_keys).to(device)
            segments = torch.arange(N_SEGMENTS, device=device)
            self._inside[n_keys, device] = self._shelf.keep((codes[:, None] == segments[:, None]).float())
        return self._inside[n_keys, device]

    def counted(self, n_keys: int, n_samples: int, device: torch.device) -> Float[Tensor, "sample count key"]:
        """The same with a row of ones, for as many samples as there are in joined questions."""
        if (n_keys, n_samples, device) not in self._counted:
            counted = torch.nn.functional.pad(self.inside(n_keys, device), (0, 0, 0, 1), value=1.0)
            counted = counted.repeat(n_samples // len(counted), 1, 1)
            self._counted[n_keys, n_samples, device] = self._shelf.keep(counted)
        return self._counted[n_keys, n_samples, device]

    def runs(self, n_keys: int) -> Runs:
        """Neighbouring keys of one segment, sample by sample."""
        if n_keys not in self._runs:
            self._runs[n_keys] = runs_of(self._key_codes(n_keys))
        return self._runs[n_keys]

    def leaves(self, n_keys: int) -> bool:
        """Tell whether some segment's part is worth being what the others leave of the whole."""
        if n_keys not in self._leaves:
            self._leaves[n_keys] = any(longest_segment(own, n_keys) is not None for own in self.runs(n_keys))
        return self._leaves[n_keys]

    def _key_codes(self, n_keys: int) -> Tensor:
        """Segment code of every key; a windowed cache holds only the last ones."""
        n_seen = self._codes.shape[1]
        offset = max(n_seen - n_keys, 0)
        codes = self._codes[:, offset : offset + n_keys]
        return torch.nn.functional.pad(codes, (0, n_keys - codes.shape[1]), value=-1)
