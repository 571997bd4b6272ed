"""Detect that the samples of a cache changed places between two passes, as beam search makes them.

The key of a pass's last token in the last layer depends on the whole text before it, so that two different texts do
not share it. At the next pass each sample must still have its own.

    order = CacheOrder()
    order.observe(layer, call.key)
    order.check(current)
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from foretell.errors import InputError
from foretell.reading.capture.recording import Pass

__all__ = ["MOVED", "CacheOrder"]

MOVED = (
    "the cache's samples changed places between two steps (a search over beams does that), so rows of one sample would "
    "be of several texts; read the finished texts instead"
)


@dataclass(frozen=True)
class _Last:
    layer: int
    column: int
    keys: Float[Tensor, "sample head width"]


class CacheOrder:
    """Compares a few keys of one pass with those of the next."""

    def __init__(self) -> None:
        self._last: _Last | None = None
        self._call: tuple[int, Tensor] | None = None
        self._moved: list[Tensor] = []

    def clear(self) -> None:
        """Forget the passes so far."""
        self._last, self._call, self._moved = None, None, []

    def observe(self, layer: int, key: Float[Tensor, "sample head key width"]) -> None:
        """Look at the keys of one attention call; a single sample has none to change places with."""
        if len(key) > 1 and (self._call is None or layer >= self._call[0]):
            self._call = (layer, key)

    def check(self, current: Pass) -> None:
        """Compare at the end of a pass.

        Raises:
            InputError: Samples changed places.
        """
        if self._call is None:
            return
        layer, key = self._call
        self._call = None
        last = self._last
        if last is not None and (last.layer, last.column) == (layer, current.start - 1):
            now = _keys_of(key, last.column, current.end)
            if now is not None and now.shape == last.keys.shape:
                self._moved.append(_has_moved(last.keys, now))
        own = _keys_of(key, current.end - 1, current.end)
        self._last = None if own is None else _Last(layer, current.end - 1, own.detach().clone())
        if key.device.type == "cpu":
            self.raise_moves()

    def raise_moves(self) -> None:
        """Raise if a pass since the last call moved samples; on an accelerator this waits for its results.

        Raises:
            InputError: Samples changed places.
        """
        moved, self._moved = self._moved, []
        if any(bool(one) for one in moved):
            raise InputError(MOVED)


def _keys_of(key: Tensor, column: int, n_columns: int) -> Tensor | None:
    """Return the keys of one column; a cache with a window holds the last ones, one of fixed size is longer."""
    n_keys = key.shape[2]
    place = column if n_keys >= n_columns else n_keys - (n_columns - column)
    return key[:, :, place] if place >= 0 else None


def _has_moved(before: Tensor, now: Tensor) -> Tensor:
    """Whether every sample's keys are those of some sample, and some are not its own.

    Keys that are nobody's were changed otherwise: caches may keep them in fewer bits as they grow old.
    """
    same = (now[:, None] == before[None]).all(-1).all(-1)
    return same.any(1).all() & ~same.diagonal().all()
