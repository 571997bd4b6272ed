"""Checks of answers so far: what a reader of the conversation can make, and nothing that knows the right answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from foretell.labels.verifiers import VERIFIERS, Verdict, register
from foretell.stats.signals.checks_so_far import CHECKS, checks_so_far, readable_check

NO_COMMAS = {"name": "no_commas"}
KNOWS = {"name": "answers_correctly", "accepted": ["Lima"]}


@pytest.mark.parametrize(
    "check",
    [
        NO_COMMAS,
        {"name": "max_words", "count": 3},
        {"name": "all_of", "checks": [NO_COMMAS, {"name": "all_lower"}]},
    ],
)
def test_a_check_of_the_text_is_readable(check: dict[str, Any]) -> None:
    assert readable_check(json.dumps(check)) == check


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "no JSON",
        "[" * 100_000,
        "[]",
        "3",
        "{}",
        json.dumps({"name": "unknown here"}),
        json.dumps({"name": "max_words", "count": "many"}),
        json.dumps(KNOWS),
        json.dumps({**KNOWS, "name": "says_false"}),
        json.dumps({"name": "all_of", "checks": [NO_COMMAS, KNOWS]}),
        json.dumps({"name": "all_of", "checks": 3}),
    ],
)
def test_what_is_no_check_or_knows_the_answer_is_left_out(text: str | None) -> None:
    assert readable_check(text) is None


def test_a_verifier_of_ones_own_is_a_check_unless_it_is_given_the_answer() -> None:
    @register
    def says_rain(answer: str, *, accepted: str = "rain") -> Verdict:
        return Verdict(accepted in answer, "looked for it")

    try:
        assert readable_check('{"name": "says_rain"}') == {"name": "says_rain"}
        assert readable_check('{"name": "says_rain", "accepted": "sun"}') is None
    finally:
        del VERIFIERS["says_rain"]


def test_each_sample_has_its_own_check_and_an_empty_answer_none() -> None:
    checks: list[dict[str, Any] | None] = [NO_COMMAS, NO_COMMAS, {"name": "max_words", "count": 1}, None, NO_COMMAS]
    found = checks_so_far(checks, ["It rains", "Rain, snow", "It rains", "It rains,", " "])
    assert found is not None
    assert (found.name, found.role) == (CHECKS, "baseline")
    np.testing.assert_array_equal(found.blocks[0][:, 0], [1, 0, 0, np.nan, np.nan])


@pytest.mark.parametrize("texts", [["", ""], ["It rains", "It snows"], ["a,", "b,"]])
def test_where_all_are_alike_there_is_no_baseline(texts: list[str]) -> None:
    assert checks_so_far([NO_COMMAS] * 2, texts) is None
