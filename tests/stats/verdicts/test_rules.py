"""Every rule of `verdicts`, in the order in which they apply, and the sentences that say which one did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foretell.stats.auc.intervals import Estimate
from foretell.stats.verdicts.error_rate import adjusted
from foretell.stats.verdicts.rules import FEWEST_GROUPS, Evidence, Sizes, Verdict, span, usable_p, verdicts


def estimate(value: float | None, half: float | None = 0.05, *, level: float = 0.95, reason: str = "") -> Estimate:
    if value is None:
        return Estimate(None, None, None, level, 100, 100, "test", reason=reason or "undefined here")
    lower, upper = (None, None) if half is None else (value - half, value + half)
    return Estimate(value, lower, upper, level, 100, 100, "test")


def evidence(area: float | None = 0.7, **changes: Any) -> Evidence:
    """Return evidence of a signal that is there, unless changed."""
    given: dict[str, Any] = {
        "signal": "all heads",
        "sizes": Sizes(50, 50, 5, 5),
        "auc": estimate(area),
        "within": None,
        "increment": estimate(0.1),
        "p": 0.001,
    }
    return Evidence(**{**given, **changes})


def judged(one: Evidence, **options: Any) -> Verdict:
    return verdicts({"a": [one]}, **options)["a"][0]


NOTHING = estimate(None, reason="the table has no baseline")
LEAK = "a random split of rows gains 0.20 of AUC by recognising samples, not the behaviour"

IN_WORDS = "from token 8 on the checks of the answer alone tell the label (AUC 1.00), so only what comes before counts"

RULES: dict[str, tuple[Evidence, str, list[str]]] = {
    "no result": (
        evidence(reason="all 5 samples have one label"),
        "not enough data",
        ["all 5 samples have one label"],
    ),
    "too few positives": (
        evidence(sizes=Sizes(9, 500)),
        "not enough data",
        ["9 groups have label 1 and 500 label 0 (of what can be compared); each needs 10"],
    ),
    "too few negatives": (
        evidence(sizes=Sizes(500, 9)),
        "not enough data",
        ["500 groups have label 1 and 9 label 0 (of what can be compared); each needs 10"],
    ),
    "nothing to compare within strata": (
        evidence(within=estimate(None, reason="no stratum has both labels")),
        "not enough data",
        ["within task types: no stratum has both labels"],
    ),
    "no p-value": (evidence(p=None), "not enough data", ["the increment has no interval"]),
    "a leak of too few": (evidence(sizes=Sizes(9, 9), leak=LEAK), "not enough data", ["each needs 10"]),
    "signal": (
        evidence(),
        "signal",
        ["held-out AUC 0.70 (0.65 to 0.75)", "increment over all baselines 0.10 (0.05 to 0.15)", "adjusted p 0.001"],
    ),
    "signal within strata": (
        evidence(0.7, within=estimate(0.6)),
        "signal",
        ["held-out AUC 0.70", "within task types 0.60 (0.55 to 0.65)"],
    ),
    "signal without baselines": (evidence(increment=NOTHING), "signal", ["held-out AUC 0.70", "adjusted p 0.001"]),
    "signal in spite of a leak": (evidence(leak=LEAK), "signal", ["adjusted p 0.001"]),
    "a signal that words tell as well": (
        evidence(in_words=IN_WORDS),
        "no signal found",
        ["held-out AUC 0.70", "adjusted p 0.001, of whole answers: from token 8 on the checks of the answer alone"],
    ),
    "a leak where words tell the label": (evidence(p=0.9, leak=LEAK, in_words=IN_WORDS), "leak", [LEAK]),
    "too few where words tell the label": (
        evidence(sizes=Sizes(9, 9), in_words=IN_WORDS),
        "not enough data",
        ["needs 10"],
    ),
    "weak by its AUC": (evidence(0.59), "weak signal", ["held-out AUC 0.59", "significant, but its AUC is below 0.6"]),
    "weak within strata": (
        evidence(0.7, within=estimate(0.58)),
        "weak signal",
        ["within task types 0.58", "below 0.6"],
    ),
    "weak though above one half within strata": (
        evidence(0.3, within=estimate(0.65)),
        "weak signal",
        ["held-out AUC 0.30", "below 0.6"],
    ),
    "leak": (evidence(p=0.3, leak=LEAK), "leak", [LEAK, "held-out AUC 0.70", "adjusted p 0.3"]),
    "nothing": (
        evidence(0.52, p=0.3),
        "no signal found",
        [
            "held-out AUC 0.52",
            "adjusted p 0.3",
            "other features or a non-linear estimator could still find one",
            "minimum detectable AUC with this sample: 0.6",
            "(80 % power) of a linear detector on these features",
        ],
    ),
    "nothing that baselines do not know": (
        evidence(0.7, p=0.3, increment=estimate(0.01)),
        "no signal found",
        ["increment over all baselines 0.01", "put together with the baselines it adds nothing that is significant"],
    ),
    "task types": (
        evidence(0.7, p=0.3, within=estimate(0.52)),
        "no signal found",
        ["within task types 0.52", "confounded by task type: within one type its AUC is 0.52"],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_first_rule_that_applies_gives_the_verdict_and_its_numbers(rule: str) -> None:
    one, verdict, words = RULES[rule]
    found = judged(one)
    assert found.verdict == verdict
    for part in words:
        assert part in found.why
    assert found.signal == "all heads"
    assert found.increment == one.increment
    if verdict == "not enough data":
        assert (found.auc, found.p_adjusted) == (None, None)
        assert found.why == words[0] or words[0] in found.why
    else:
        assert found.auc == (one.auc if one.within is None else one.within)
        assert found.p_adjusted == one.p  # one signal needs no adjustment
        assert f"adjusted p {one.p:.2g}" in found.why


def test_no_sentence_compares_with_baselines_that_are_not_there() -> None:
    for p in (0.001, 0.3):
        assert "baseline" not in judged(evidence(p=p, increment=NOTHING)).why


@pytest.mark.parametrize("p", [0.05, 0.0501])
def test_an_adjusted_p_of_just_the_error_rate_is_a_signal(p: float) -> None:
    assert judged(evidence(p=p)).verdict == ("signal" if p <= 0.05 else "no signal found")


@pytest.mark.parametrize(("rate", "verdict"), [(0.001, "no signal found"), (0.01, "signal"), (0.2, "signal")])
def test_the_error_rate_is_a_setting(rate: float, verdict: str) -> None:
    found = judged(evidence(p=0.005), error_rate=rate)
    assert found.verdict == verdict


def test_a_stricter_error_rate_needs_a_larger_auc() -> None:
    strict, plain = judged(evidence(), error_rate=0.001).minimal_auc, judged(evidence()).minimal_auc
    assert strict is not None
    assert plain is not None
    assert strict > plain


@pytest.mark.parametrize("n", [FEWEST_GROUPS - 1, FEWEST_GROUPS])
def test_ten_groups_of_each_label_are_enough(n: int) -> None:
    assert (judged(evidence(sizes=Sizes(n, n))).verdict == "not enough data") == (n < FEWEST_GROUPS)


def test_all_signals_of_all_datasets_are_adjusted_together() -> None:
    p = {"a": [0.001, 0.02, 0.04], "b": [0.03, 0.5]}
    found = verdicts({dataset: [evidence(p=one) for one in several] for dataset, several in p.items()})
    expected = adjusted(np.array([*p["a"], *p["b"]]))
    assert [one.p_adjusted for several in found.values() for one in several] == pytest.approx(expected.tolist())
    assert [one.verdict for one in found["a"]] == ["signal", "no signal found", "no signal found"]
    assert judged(evidence(p=0.02)).verdict == "signal"  # by itself


def test_signals_without_enough_data_take_no_part_in_the_adjustment() -> None:
    few = evidence(sizes=Sizes(3, 3), p=0.9)
    broken = evidence(reason="only one label", p=0.9)
    within = evidence(within=estimate(None), p=0.9)
    found = verdicts({"a": [evidence(p=0.03), few, broken, within], "b": [evidence(p=None)]})
    assert found["a"][0].p_adjusted == 0.03
    for one in (*found["a"][1:], *found["b"]):
        assert (one.verdict, one.p_adjusted) == ("not enough data", None)
    assert found["a"][0].minimal_auc == judged(evidence(p=0.03)).minimal_auc
    assert np.isnan([usable_p(one) for one in (few, broken, within)]).all()


def test_more_signals_need_a_larger_auc() -> None:
    one, many = judged(evidence(p=0.3)), verdicts({"a": [evidence(p=0.3)] * 20})["a"][0]
    assert (many.minimal_auc or 0) > (one.minimal_auc or 1)


def test_a_study_of_nothing_has_no_verdict() -> None:
    assert verdicts({}) == {}
    assert verdicts({"a": []}) == {"a": []}


@pytest.mark.parametrize("area", [0.7, 0.3])
@pytest.mark.parametrize("within", [None, 0.7, 0.3])
def test_single_heads_are_signals_in_either_direction(area: float, within: float | None) -> None:
    one = evidence(
        area,
        signal="any single head",
        sizes=Sizes(50, 50, n_columns=800),
        within=None if within is None else estimate(within, None),
        increment=NOTHING,
    )
    found = judged(one)
    assert found.verdict == "signal"
    assert f"AUC {area:.2f}" in found.why
    assert "held-out" not in found.why
    assert judged(replace(one, auc=estimate(0.55))).verdict == "weak signal"
    assert judged(replace(one, auc=estimate(0.45))).verdict == "weak signal"
    other = evidence(0.3)
    assert judged(other).verdict == "weak signal"  # a detector that was fitted has one direction


@pytest.mark.parametrize(
    ("area", "within", "confounded"),
    [(0.75, 0.52, True), (0.25, 0.48, True), (0.75, 0.7, False), (0.25, 0.3, False), (0.52, 0.51, False)],
)
def test_a_single_head_is_confounded_where_its_auc_is_near_one_half_within_types(
    area: float, within: float, confounded: bool
) -> None:
    sizes = Sizes(50, 50, n_columns=800)
    why = judged(evidence(area, sizes=sizes, within=estimate(within, None), increment=NOTHING, p=0.3)).why
    assert ("confounded by task type" in why) == confounded


def test_the_minimum_detectable_auc_counts_columns_folds_and_signals() -> None:
    held_out, chosen = judged(evidence(p=0.3)), judged(evidence(p=0.3, sizes=Sizes(50, 50, 5, 5, n_columns=800)))
    assert (chosen.minimal_auc or 0) > (held_out.minimal_auc or 1)
    assert f"minimum detectable AUC with this sample: {held_out.minimal_auc:.2f}" in held_out.why
    hopeless = judged(evidence(p=0.3, sizes=Sizes(10, 10, 2, 1, n_columns=10**6)))
    assert hopeless.minimal_auc is None
    assert "not even an AUC of 1 is detectable with this sample (80 % power)" in hopeless.why


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (estimate(0.7), "AUC 0.70 (0.65 to 0.75)"),
        (estimate(0.7, level=0.9), "AUC 0.70 (0.65 to 0.75, 90 % interval)"),
        (estimate(0.7, level=0.995), "AUC 0.70 (0.65 to 0.75, 99.5 % interval)"),
        (estimate(0.7, None), "AUC 0.70"),
        (estimate(None), "AUC undefined"),
    ],
)
def test_another_level_than_95_percent_is_named(one: Estimate, text: str) -> None:
    assert span(one, "AUC") == text


def test_an_undefined_auc_has_its_reason() -> None:
    found = judged(evidence(None))
    assert (found.verdict, found.why) == ("not enough data", "undefined here")


@pytest.mark.parametrize(("n_positive", "n_negative", "is_rough"), [(19, 90, True), (90, 19, True), (20, 20, False)])
def test_the_interval_of_an_increment_of_few_groups_is_called_rough(
    n_positive: int, n_negative: int, is_rough: bool
) -> None:
    one = replace(evidence(increment=estimate(0.1)), sizes=Sizes(n_positive, n_negative))
    assert (", its interval rough" in judged(one).why) == is_rough
