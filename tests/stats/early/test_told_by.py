"""Told by: the first moment from which on a family adds to the baselines, over whatever curves there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foretell.stats.auc.intervals import Estimate
from foretell.stats.detectors.detector import Detector
from foretell.stats.detectors.held_out_scores import HeldOutScores
from foretell.stats.early.curves import Curve, Point
from foretell.stats.early.told_by import told_by


def point(after: int, words: float | None = None, **p: float | None) -> Point:
    """Return a moment at which families have these p-values; None is undefined."""
    scores = HeldOutScores(np.zeros((1, 4)), np.zeros((1, 4), dtype=np.int64), None, np.zeros((1, 0, 4)))
    nothing = Estimate(None, None, None, 0.95, 4, 4, "none")
    detectors = []
    for name, value in p.items():
        if value is not None:
            found: Any = Estimate(0.1, None, None, 0.95, 4, 4, "made", p_above=value)
            numbers = (nothing, nothing, None, found, found, None, None, ())
            detectors.append(Detector(name, "detector", scores, 4, 1, *numbers, None, name))
    worded = None if words is None else ("words of the answer so far", words)
    return Point(after, tuple(detectors), {name: "not read" for name, value in p.items() if value is None}, worded)


def curve(*points: Point, words_from: int | None = None) -> Curve:
    names = dict.fromkeys(name for one in points for name in (*(d.signal for d in one.detectors), *one.undefined))
    return Curve(tuple(names), points, words_from, 4, 2, ())


FOUND = {("d", "x"): "signal"}


@pytest.mark.parametrize(
    ("p", "after", "adjusted"),
    [
        ((0.001, 0.001, 0.001), 0, 0.001),
        ((0.5, 0.002, 0.001), 1, 0.002),
        ((0.001, 0.5, 0.001), 2, 0.001),
        ((0.001, 0.004, 0.002), 0, 0.004),
        ((None, 0.004, 0.002), 1, 0.004),
        ((0.001, None, 0.002), 2, 0.002),
        ((0.001, 0.001, 0.06), None, 0.06),
    ],
)
def test_the_first_moment_from_which_on_all_are_significant(
    p: tuple[float | None, ...], after: int | None, adjusted: float
) -> None:
    found = told_by({"d": curve(*(point(index, x=value) for index, value in enumerate(p)))}, FOUND)["d"][0]
    assert (found.signal, found.after) == ("x", after)
    assert found.p_adjusted == pytest.approx(adjusted)
    assert (found.reason is None) == (after is not None)


def test_p_values_are_adjusted_for_every_curve_that_is_tested() -> None:
    curves = {name: curve(point(0, x=0.004, y=0.9), point(1, x=0.004, y=None)) for name in ("d", "e")}
    verdicts = dict.fromkeys([("d", "x"), ("e", "x")], "signal") | {("d", "y"): "no signal found"}
    found = told_by(curves, verdicts)
    assert found["d"][0].p_adjusted == pytest.approx(2 * 0.004)
    assert found["d"][1].after is None
    assert found["d"][1].reason == "not read"
    few = told_by(curves, {**verdicts, ("e", "x"): "not enough data"})
    assert few["d"][0].p_adjusted == pytest.approx(0.004)
    assert few["e"][0].reason == "there are too few data to test it"


@pytest.mark.parametrize("verdict", ["no signal found", "leak"])
def test_there_is_no_moment_where_the_study_finds_no_signal(verdict: str) -> None:
    found = told_by({"d": curve(point(0, x=1e-9))}, {("d", "x"): verdict})["d"][0]
    assert found.after is None
    assert found.reason == "the study finds no signal in it"


def test_moments_from_which_on_words_predict_the_label_do_not_count() -> None:
    points = [point(0, x=0.5), point(1, x=0.001), point(2, words=0.97, x=0.9), point(4, words=0.8, x=1e-9)]
    made = curve(*points, words_from=2)
    assert [one.after for one in made.counting] == [0, 1]
    assert made.words == (
        "from token 2 on the words of the answer alone tell the label (AUC 0.97), so only what comes before counts"
    )
    assert told_by({"d": made}, FOUND)["d"][0].after == 1
