"""Which of several scores labels the answers of a log, and what each kind of value means."""

from __future__ import annotations

from typing import Any

import pytest

from foretell.records.logs.scores import label_rule, scores_of


def rule(*values: dict[str, Any], wanted: str | None = None, headline: str | None = None) -> str | None:
    return label_rule(map(scores_of, values), wanted=wanted, headline=headline, harness="h").scorer


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *[("C", 1), ("I", 0), ("N", 0), ("P", None), ("c", None)],
        *[(1, 1), (0.0, 0), (True, 1), (False, 0), ("1.0", 1), ("0", 0), ("yes", 1), ("No", 0)],
        *[(0.5, None), (2, None), (float("nan"), None), (None, None), ([1, 0], None), ({}, None), ("NaN", None)],
    ],
)
def test_a_value_is_a_label_or_none(value: Any, label: int | None) -> None:
    assert scores_of({"match": value})["match"].label == label


def test_values_that_only_look_alike_are_kept_apart() -> None:
    assert [scores_of({"a": value})["a"].shown for value in (1, True, 1.0, "1")] == ["1", "True", "1.0", "1"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([{"a": 0, "b": 1}], "a"),
        ([{"f1": 0.3, "em": 1}, {"f1": 0.0, "em": 0}, {"f1": 0.9, "em": 0}], "em"),
        ([{"first": "P", "other": 1}, {"first": "C", "other": 1}, {"first": "I", "other": 1}], "first"),
        ([{"a": None, "b": 0.5}, {"a": 1, "b": 0.5}], "a"),
        ([{"judge": {"tone": 0.5, "wit": 1}}], "judge.wit"),
        ([{"a": 0.1}, {"b": 0.2}], "a"),
        ([{"a": 0.1}, {"a": 0.2}, {"a": 1}], "a"),
        ([{}], None),
    ],
)
def test_the_first_score_that_is_mostly_a_label(values: list[dict[str, Any]], expected: str | None) -> None:
    assert rule(*values) == expected


def test_a_score_is_chosen_by_name_or_put_first_by_the_log() -> None:
    values = {"acc,strict": 1, "acc,loose": 0, "judge": {"tone": 1, "wit": 0}}
    assert rule(values, headline="judge.wit") == "judge.wit"
    assert rule(values, headline="absent") == "acc,strict"
    chosen = {
        "acc,loose": "acc,loose",
        "acc": "acc,strict",
        "loose": "acc,loose",
        "judge.wit": "judge.wit",
        "wit": "judge.wit",
        "judge": "judge.tone",
    }
    assert {wanted: rule(values, wanted=wanted, headline="judge.wit") for wanted in chosen} == chosen
    with pytest.raises(KeyError, match=r"no score 'f1'; those of the log are: acc,strict, acc,loose, judge.tone"):
        rule(values, wanted="f1")


def test_why_there_is_no_label() -> None:
    scores = scores_of({"a": 0.5, "b": float("nan")})
    reasons = [label_rule([scores], wanted=name, headline=None, harness="h").label(scores) for name in ("a", "b")]
    assert reasons == [
        (None, None, "no score is 0 or 1 (a is 0.5)"),
        (None, None, "no score is 0 or 1 (b gave no value)"),
    ]
    assert label_rule([scores], wanted="a", headline=None, harness="h").label({}, None)[2].startswith("no score a")
    assert label_rule([scores], wanted="a", headline=None, harness="h").label(scores, "failed") == (
        None,
        None,
        "failed",
    )
