"""Told by: after how many tokens a family of signals tells the label, with the error rate kept over all moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foretell.stats.early.curves import Curve

__all__ = ["FirstMoment", "told_by"]

_FOUND = ("signal", "weak signal")


@dataclass(frozen=True)
class FirstMoment:
    """When a family of signals tells the label."""

    signal: str
    after: int | None
    """Number of generated tokens from which on it adds to all baselines of the same moment; None: never."""
    p_adjusted: float | None
    """Adjusted p-value there; of the last moment that counts where it never tells."""
    reason: str | None
    """Why it never tells."""


def told_by(
    curves: Mapping[str, Curve], verdicts: Mapping[tuple[str, str], str], *, error_rate: float = 0.05
) -> dict[str, list[FirstMoment]]:
    """Return by dataset when each family tells the label.

    The moments of a family are tested in a fixed order, from the last one that counts backwards, and the first that is
    not significant ends it: the adjusted p-value after k tokens is the largest p-value of all moments from k on, times
    the number of curves. So it never says that a label is told by a token from which on it is lost again, and moments
    cost no power. A family tells nothing unless the study says *signal* or *weak signal* of it.

    Args:
        curves: By dataset.
        verdicts: Of families by dataset and name.
        error_rate: Share of studies of noise that say anything.

    Source:
        Fixed sequence of hypotheses (Maurer, Hothorn and Lehmacher 1995), which needs no further adjustment along a
        curve; Bonferroni over curves.
    """
    tested = [
        (dataset, signal)
        for dataset, curve in curves.items()
        for signal in curve.families
        if _p(curve, signal) and verdicts.get((dataset, signal)) != "not enough data"
    ]
    return {
        dataset: [
            _first_moment(curve, signal, verdicts.get((dataset, signal)), n_curves=len(tested), error_rate=error_rate)
            for signal in curve.families
        ]
        for dataset, curve in curves.items()
    }


def _p(curve: Curve, signal: str) -> list[tuple[int, float]]:
    """Return the p-values from the last moment that counts backwards, up to the first that is undefined."""
    found = []
    for point in reversed(curve.counting):
        detector = point.detector(signal)
        p = None if detector is None else detector.evidence.p_above
        if p is None:
            break
        found.append((point.after, p))
    return found


def _first_moment(curve: Curve, signal: str, verdict: str | None, *, n_curves: int, error_rate: float) -> FirstMoment:
    chain = _p(curve, signal)
    if not chain or verdict in {None, "not enough data"}:
        return FirstMoment(signal, None, None, curve.last.undefined.get(signal) or "there are too few data to test it")
    largest, first = 0.0, None
    for after, p in chain:
        largest = max(largest, p)
        adjusted = min(largest * n_curves, 1.0)
        if adjusted > error_rate:
            break
        first = after, adjusted
    last = min(chain[0][1] * n_curves, 1.0)
    if verdict not in _FOUND:
        return FirstMoment(signal, None, last, "the study finds no signal in it")
    if first is None:
        return FirstMoment(signal, None, last, f"not significant when adjusted for {n_curves} curves")
    return FirstMoment(signal, first[0], first[1], None)
