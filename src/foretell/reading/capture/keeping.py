"""What attention's rows said, put where it is found again: row by row, or added up.

keeping = Keeping(shelf)
keeping.keep((0, 1), current, reading)
keeping.settle()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from foretell.reading.capture.accumulators import Tallies
from foretell.reading.capture.recording import Pass, Shelf
from foretell.reading.signals.attention_mass import RowReading

__all__ = ["Keeping"]

_TALLIED_BYTES = 2 << 20


class Keeping:
    """Keeps readings of one listening.

    Args:
        shelf: where they are kept.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._tallies = Tallies(shelf, most_bytes=_TALLIED_BYTES)
        self._share: tuple[Tensor, Tensor] | None = None

    def begin(self) -> None:
        """Start a pass, whose shares are its own."""
        self._share = None

    def settle(self) -> None:
        """Add up what waits."""
        self._tallies.settle()

    def clear(self) -> None:
        """Forget what waits."""
        self._tallies.clear()

    def keep(self, layers: Sequence[int], current: Pass, reading: RowReading) -> None:
        """Keep what a pass's rows say in some layers, one after the other along the axis of samples."""
        current.layers.update(layers)
        read = {"mass": reading.mass}
        if reading.entropy is not None:
            read["entropy"] = reading.entropy[..., None]
        if reading.contribution is not None:
            read["contribution"] = reading.contribution
        if current.bins is None:
            # Layers with the same mask have the same shares; they are kept once.
            if self._share is None or self._share[0] is not reading.share:
                self._share = (reading.share, self._shelf.keep(reading.share[:, None]))
            current.readings.setdefault("share", {}).update(dict.fromkeys(layers, self._share[1]))
        self.store(layers, current, read, reading.share)

    def store(self, layers: Sequence[int], current: Pass, read: Mapping[str, Tensor], share: Tensor) -> None:
        """Keep quantities, or, where rows are added up, let those of a single layer wait for that."""
        by_layer = {name: values.view(len(layers), -1, *values.shape[1:]) for name, values in read.items()}
        if current.bins is None:
            for name, values in by_layer.items():
                kept = self._shelf.keep(values)
                current.readings.setdefault(name, {}).update(zip(layers, kept, strict=True))
        elif len(layers) > 1:
            self._tallies.add_up(current, layers, by_layer, share)
        else:
            self._tallies.add(current, layers[0], read, share)
