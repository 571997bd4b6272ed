"""Equal settings are equal however they are spelled, and what differs is named with both values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foretell.storage.commits.job_identity import differences, job_hash, plain_job

JOB: dict[str, Any] = {
    "weights": "v2:0123456789abcdef",
    "model": "smollm2",
    "dtype": "float32",
    "sampling": {"temperature": 0.0, "max_new_tokens": 64},
    "hidden": {"layers": [8, 16]},
    "conversations": "ab" * 32,
    "directions": [{"concept": "a", "vectors": "1"}, {"concept": "b", "vectors": "2"}],
    "detail": True,
}


@pytest.mark.parametrize(
    "other",
    [
        {"model": "/models/SmolLM2"},
        {"sampling": {"max_new_tokens": np.int64(64), "temperature": 0}},
        {"sampling": {"max_new_tokens": 64.0, "temperature": np.float32(0), "top_p": None}},
        {"hidden": {"layers": (16, 8)}},
        {"hidden": {"layers": range(8, 17, 8)}},
        {"directions": tuple(reversed(JOB["directions"]))},
        {"detail": np.True_, "rows": False},
        {"rows": None},
    ],
)
def test_spelling_does_not_count(other: dict[str, Any]) -> None:
    spelled = plain_job({**JOB, **other})
    assert differences(plain_job(JOB), spelled) == []
    assert job_hash(spelled) == job_hash(plain_job(JOB))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"weights": "v2:fedc"}, ["weights: v2:0123456789abcdef in the run, v2:fedc now"]),
        (
            {"dtype": "bfloat16", "sampling": {"temperature": 0.5, "max_new_tokens": 64}},
            ["dtype: float32 in the run, bfloat16 now", "sampling.temperature: 0 in the run, 0.5 now"],
        ),
        ({"conversations": "cd" * 32}, ["conversations: abababab in the run, cdcdcdcd now"]),
        ({"hidden": None}, ["hidden.layers: [8, 16] in the run, none now"]),
        ({"detail": False}, ["detail: 1 in the run, none now"]),
    ],
)
def test_what_differs_is_named_one_by_one(other: dict[str, Any], named: list[str]) -> None:
    assert differences(plain_job(JOB), plain_job({**JOB, **other})) == named
    assert job_hash(plain_job({**JOB, **other})) != job_hash(plain_job(JOB))


def test_without_weights_the_name_is_all_there_is() -> None:
    assert differences({"model": "a"}, {"model": "b"}) == ["model: a in the run, b now"]
    assert differences({"model": "a", "seed": 0}, {"model": "b", "seed": 0}, ["seed"]) == []


def test_long_values_that_begin_alike_are_told_apart() -> None:
    (said,) = differences({"text": "x" * 90 + "a"}, {"text": "x" * 90 + "b"})
    assert said.count("x" * 40) == 2
    assert len(set(said.replace(" in the run", "").split("text: ")[1].split(", "))) == 2


def test_a_job_is_plain_json() -> None:
    given: dict[Any, Any] = {"path": Path("a/b"), "n": np.int8(3), 1: (True, 0.5)}
    assert plain_job(given) == {"path": "a/b", "n": 3, "1": [True, 0.5]}
    with pytest.raises(TypeError, match="plain JSON, not object"):
        plain_job({"what": object()})
