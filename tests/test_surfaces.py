"""Surfaces as plain data: written whole, read back number for number, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretell.errors import InputError
from foretell.surfaces import AnswerActivity, Surface, builtin_surface_question


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


def test_the_table_says_null_where_there_is_no_number(generator: np.random.Generator) -> None:
    table = made(generator).table()
    assert table.filter(pl.col("layer") == 1)["activity"].null_count() == 5
    assert table["activity"].null_count() == 5
    assert table.select("id", "layer", "position").is_unique().all()


def test_a_folder_without_a_surface_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no surface"):
        Surface.read(tmp_path)


@pytest.mark.parametrize("damage", ["text", "form", "missing", "kind", "list"])
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
    asked = builtin_surface_question()
    assert asked.question == "Who is Elon Musk?"
    assert asked.titles == ("false answer", "true answer")
    assert "pastry chef from rural France" in asked.answers[0]
    assert "South African-born entrepreneur" in asked.answers[1]
