"""Early curves by relative position: what is known when a quarter, half and three quarters of each answer are written.

They describe and are not tested: who reads along does not know how long an answer will be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foretell.stats.detectors.baselines import smooth, varies
from foretell.stats.detectors.features import Features
from foretell.stats.early.curves import Curve, CurveSamples, Point, judged_at
from foretell.stats.signals.run_signals import SampleSignals

__all__ = ["INNER_POSITIONS", "RelativePoint", "relative_curve"]

INNER_POSITIONS = (0.25, 0.5, 0.75)
_LENGTH = "answer length"


@dataclass(frozen=True)
class RelativePoint:
    """What is known when a share of each answer is written."""

    position: float
    """At most this share is written: of each answer the last checkpoint by then is taken."""
    point: Point
    counts: bool
    """Whether the words of the answer so far do not tell the label by themselves."""


def relative_curve(
    samples: CurveSamples,
    signals: SampleSignals,
    curve: Curve,
    *,
    words_auc: float = 0.9,
    advance: Callable[[float], None] | None = None,
) -> tuple[RelativePoint, ...]:
    """Judge every family of signals and every baseline by relative position in the answer.

    Before the answer (0) and of whole answers (1) the numbers are those of the curve by tokens. In between the length
    of the whole answer is a baseline too, because it is known to whoever knows which share is written.

    Args:
        samples: Labels, groups, and what is known before the answer.
        signals: Of the same samples.
        curve: By numbers of tokens, up to whole answers.
        words_auc: Held-out AUC at which the words of the answer so far tell the label by themselves.
        advance: Called with every position in between.
    """
    points, length = {0.0: curve.points[0]}, _length(signals)
    for position in INNER_POSITIONS:
        moment = signals.at_share(position)
        points[position] = judged_at(samples, signals, signals.families(moment), moment, also_known=length)
        if advance is not None:
            advance(position)
    points[1.0] = curve.points[-1]
    worded = [position for position, one in points.items() if one.shows_in_words(words_auc)]
    first = min(worded, default=np.inf)
    return tuple(RelativePoint(position, one, position < first) for position, one in points.items())


def _length(signals: SampleSignals) -> list[Features]:
    """Return the length of the whole answer as a baseline; none where all are equally long."""
    length = np.log1p(signals.n_generated.astype(np.float64))
    return [Features(_LENGTH, "baseline", (smooth(length),))] if varies(length) else []
