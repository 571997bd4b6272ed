"""Surfaces as plain data: written whole, read back number for number, refused when damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.errors import InputError
from foretell.storage.surfaces import (
    AnswerActivity,
    AnswerRank,
    Course,
    HeldOutComparison,
    Surface,
    builtin_surface_question,
    difference,
)


def made(generator: np.random.Generator, *, layers: tuple[int, ...] = (0, 1, 2)) -> Surface:
    answers = []
    for title, tokens in (("false", ("a\n", "</script>", "\u202e🙂")), ("true", ("", " b"))):
        activity = generator.normal(size=(len(layers), len(tokens))).astype(np.float32)
        activity[1] = np.nan
        answers.append(AnswerActivity(title, "".join(tokens), tokens, activity, None if title == "true" else -1.25))
    return Surface("Who?\t", "lying", "z", "tiny", layers, tuple(answers))


@pytest.mark.parametrize("layers", [(0, 1, 2), (7, 3, 5)])
def test_what_is_read_is_what_was_written(
    generator: np.random.Generator, tmp_path: Path, layers: tuple[int, ...]
) -> None:
    surface = made(generator, layers=layers)
    surface.write(tmp_path / "new")
    read = Surface.read(tmp_path / "new")
    for name in ("question", "concept", "scale", "model", "layers"):
        assert getattr(read, name) == getattr(surface, name)
    for before, after in zip(surface.answers, read.answers, strict=True):
        assert (before.title, before.answer, before.tokens) == (after.title, after.answer, after.tokens)
        assert before.mean_logprob == after.mean_logprob
        assert before.activity.dtype == after.activity.dtype
        np.testing.assert_array_equal(before.activity, after.activity)


def test_a_surface_is_replaced_only_when_asked_to(generator: np.random.Generator, tmp_path: Path) -> None:
    surface = made(generator)
    surface.write(tmp_path)
    with pytest.raises(InputError, match=r"surface\.parquet: exists already"):
        replace(surface, question="Another?").write(tmp_path)
    assert Surface.read(tmp_path).question == surface.question
    replace(surface, question="Another?").write(tmp_path, overwrite=True)
    assert Surface.read(tmp_path).question == "Another?"


def test_the_table_says_null_where_there_is_no_number(generator: np.random.Generator) -> None:
    table = made(generator).table()
    assert table.filter(pl.col("layer") == 1)["activity"].null_count() == 5
    assert table["activity"].null_count() == 5
    assert table.select("id", "layer", "answer_position").is_unique().all()


def strict(path: Path) -> dict[str, Any]:
    """Read JSON as every other reader does: NaN and Infinity are no numbers."""
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return loaded


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_null_in_both_files(generator: np.random.Generator, tmp_path: Path, value: float) -> None:
    surface = made(generator)
    first, second = surface.answers
    activity = first.activity.copy()
    activity[0, 0] = value
    first = replace(first, activity=activity, mean_logprob=value, lower=activity - 1.0)
    course = Course((0, 2), ((value, 1.0, 2.0), (0.5, 0.25)), ((value,) * 3, (0.0,) * 2), ((1.0,) * 3, (2.0,) * 2), 9)
    placed = tuple(AnswerRank(title, value, 0.25, value) for title in ("false", "true"))
    known = HeldOutComparison((0, 2), 30, 31, value, "n_tokens", 0.5, placed)
    full = replace(surface, answers=(first, second), course=course, held_out=known)
    full.write(tmp_path)
    described = strict(tmp_path / "surface.json")
    assert described["answers"][0]["mean_logprob"] is None
    assert described["course"]["mean"][0] == [None, 1.0, 2.0]
    assert described["held_out"]["auc"] is None
    table = pl.read_parquet(tmp_path / "surface.parquet")
    for column in ("activity", "lower"):
        assert table[column].drop_nulls().is_finite().all()
    read = Surface.read(tmp_path)
    assert np.isnan(read.answers[0].activity[0, 0])
    assert read.answers[0].mean_logprob is None
    assert read.course is not None
    np.testing.assert_array_equal(read.course.mean[0], [np.nan, 1.0, 2.0])
    assert read.held_out is not None
    assert np.isnan(read.held_out.auc)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": (0, 1, 1)}, "its layers must be distinct"),
        ({"layers": (0, 1, -2)}, "its layers must be distinct and 0 or more"),
        ({"layers": (0, 1)}, r'"false" has 2 layers and 3 tokens, and activity of shape \(3, 3\)'),
        ({"course": Course((0, 7), ((), ()), (), (), 0)}, r"its course is over layers \(0, 7\)"),
        ({"course": Course((0,), ((),), (), (), 0)}, "its course is of 1 answers, and it has 2"),
    ],
)
def test_a_surface_that_could_not_be_read_back_is_not_written(
    generator: np.random.Generator, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"the surface cannot be written: {message}"):
        replace(made(generator), **change).write(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_surface_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no surface"):
        Surface.read(tmp_path)


@pytest.mark.parametrize("damage", ["text", "form", "missing", "kind", "list", "twice", "type", "course"])
def test_a_damaged_description_is_one_line(generator: np.random.Generator, tmp_path: Path, damage: str) -> None:
    made(generator).write(tmp_path)
    path = tmp_path / "surface.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    if damage == "form":
        described["format"] = "something else"
    elif damage == "missing":
        del described["answers"][0]["tokens"]
    elif damage == "kind":
        described["layers"] = 3
    elif damage == "twice":
        described["layers"] = [0, 1, 1]
    elif damage == "type":
        described["answers"][0]["dtype"] = "int8"
    elif damage == "course":
        described["course"] = {"layers": [9], "mean": [[], []], "null_lower": [], "null_upper": [], "n_random": 0}
    elif damage == "list":
        described = [1]
    path.write_text("{" if damage == "text" else json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match=r"surface\.json"):
        Surface.read(tmp_path)


def test_another_surface_s_table_is_refused(generator: np.random.Generator, tmp_path: Path) -> None:
    made(generator).write(tmp_path / "one")
    made(generator).write(tmp_path / "two")
    (tmp_path / "two" / "surface.parquet").replace(tmp_path / "one" / "surface.parquet")
    with pytest.raises(InputError, match="is not the table"):
        Surface.read(tmp_path / "one")


def test_the_builtin_question_has_a_false_and_a_true_answer() -> None:
    builtin = builtin_surface_question()
    assert builtin.question == "Who is Elon Musk?"
    assert builtin.titles == ("false answer", "true answer")
    assert "pastry chef from rural France" in builtin.answers[0]
    assert "South African-born entrepreneur" in builtin.answers[1]


def test_course_and_comparison_survive_and_may_be_absent(generator: np.random.Generator, tmp_path: Path) -> None:
    surface = made(generator)
    assert surface.course is None
    course = Course((0, 2), ((0.5, 1.0), (0.25,)), ((-1.0, -1.0), (-2.0,)), ((1.0, 1.0), (2.0,)), 9)
    placed = (AnswerRank("false", 0.5, 0.25, 0.75), AnswerRank("true\n", -0.5, 0.0, 0.5))
    known = HeldOutComparison((0, 2), 30, 31, 0.75, "mean_logprob", 0.875, placed)
    first = surface.answers[0]
    first = replace(first, lower=first.activity - 1.0, upper=first.activity + 1.0)
    first = replace(first, null_lower=first.activity - 3.0, null_upper=first.activity + 3.0)
    full = replace(surface, course=course, held_out=known, answers=(first, surface.answers[1]))
    full.write(tmp_path)
    read = Surface.read(tmp_path)
    assert (read.course, read.held_out) == (course, known)
    lower = read.answers[0].lower
    assert lower is not None
    np.testing.assert_allclose(lower, first.activity - 1.0, atol=1e-6)
    assert read.answers[1].lower is None
    for end, distance in (("null_lower", -3.0), ("null_upper", 3.0)):
        np.testing.assert_allclose(getattr(read.answers[0], end), first.activity + distance, atol=1e-6)
        assert getattr(read.answers[1], end) is None


def test_the_difference_is_zero_over_the_common_beginning(generator: np.random.Generator) -> None:
    common = generator.normal(size=(2, 3))
    answers = []
    for title, words in (("false", ("He", " is", " a", " cook")), ("true", ("He", " is", " a", " pilot", "."))):
        rest = generator.normal(size=(2, len(words) - 3))
        answers.append(AnswerActivity(title, "".join(words), words, np.concatenate([common, rest], axis=1), -1.0))
    surface = Surface("Who?", "lying", "z", "tiny", (0, 1), tuple(answers))
    (made_,) = difference(surface).answers
    assert made_.tokens == ("He", " is", " a", " cook |  pilot")
    np.testing.assert_array_equal(made_.activity[:, :3], 0.0)
    np.testing.assert_allclose(made_.activity[:, 3], answers[0].activity[:, 3] - answers[1].activity[:, 3])
    (turned,) = difference(surface, 1, 0).answers
    np.testing.assert_allclose(turned.activity, -made_.activity)
    with pytest.raises(InputError, match="2 answers; 0 and 2"):
        difference(surface, 0, 2)


def test_a_table_without_the_band_s_columns_is_read_too(generator: np.random.Generator, tmp_path: Path) -> None:
    surface = made(generator)
    surface.write(tmp_path)
    table = pl.read_parquet(tmp_path / "surface.parquet").drop("null_lower", "null_upper")
    table.write_parquet(tmp_path / "surface.parquet")
    described = json.loads((tmp_path / "surface.json").read_text(encoding="utf-8"))
    described["table_sha256"] = sha256((tmp_path / "surface.parquet").read_bytes()).hexdigest()
    (tmp_path / "surface.json").write_text(json.dumps(described), encoding="utf-8")
    read = Surface.read(tmp_path)
    assert all(answer.null_lower is None for answer in read.answers)
    np.testing.assert_array_equal(read.answers[0].activity, surface.answers[0].activity)


def test_a_surface_of_an_older_version_is_read_right(generator: np.random.Generator, tmp_path: Path) -> None:
    surface = made(generator)
    surface.write(tmp_path)
    older = pl.read_parquet(tmp_path / "surface.parquet").rename({"answer_position": "position"})
    older.write_parquet(tmp_path / "surface.parquet")
    described = json.loads((tmp_path / "surface.json").read_text(encoding="utf-8"))
    checksum = sha256((tmp_path / "surface.parquet").read_bytes()).hexdigest()
    described |= {"format": "foretell surface 1", "table_sha256": checksum}
    (tmp_path / "surface.json").write_text(json.dumps(described), encoding="utf-8")
    for before, after in zip(surface.answers, Surface.read(tmp_path).answers, strict=True):
        np.testing.assert_array_equal(before.activity, after.activity)
