"""Plain attention of a few rows over all keys: strip by strip in compiled code where there is some, else in pieces.

It is the softmax of scaled scores that most models compute in one fused call. It knows nothing of models and masks.

    plain = Plain(most_bytes=4 << 20, entropy=False)
    plain.weigh(question, added, indicators, factor)
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from foretell.reading.signals.indicators import Indicators
from foretell.reading.signals.piecewise import Piecewise
from foretell.reading.signals.questions import Added, Question, Weighed
from foretell.reading.signals.strips import Strips, strip_library

__all__ = ["Plain"]


class Plain:
    """Weighs rows, with room for scores that is used again and again.

    Args:
        most_bytes: bound for the scores that are held at a time (at least those of one row), and for their weights.
        entropy: whether entropies are wanted.
    """

    def __init__(self, *, most_bytes: int, entropy: bool) -> None:
        library = strip_library()
        self._strips = None if library is None else Strips(library, most_bytes=most_bytes, entropy=entropy)
        self._piecewise = Piecewise(most_bytes=most_bytes, entropy=entropy)

    def close(self) -> None:
        """Give room back to those who come after."""
        self._piecewise.close()
        if self._strips is not None:
            self._strips.close()

    def weigh(
        self,
        question: Question,
        added: list[Added],
        indicators: Indicators,
        factor: Float[Tensor, "_ head width width"] | None,
    ) -> Weighed:
        """Return masses, and what else is wanted, of every row.

        Args:
            question: queries, keys and values.
            added: what is added to scores, the mask first of all; fewer samples stand for all by coming again.
            indicators: the segments of its keys, for as many samples or for fewer that come again.
            factor: what each head writes through, for as many neighbouring samples each as there are of them; None
                measures its output itself.
        """
        if self._strips is not None and self._strips.takes(question, added):
            return self._strips.weigh(question, added, indicators, factor)
        return self._piecewise.weigh(question, added, indicators, factor)
