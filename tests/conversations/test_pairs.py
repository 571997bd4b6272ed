"""Contrast pairs from facts and from a user's file."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from foretell.conversations.builtin import Fact, builtin_facts
from foretell.conversations.pairs import ContrastPair, instructed_pairs, pairs_from_facts, read_pairs
from foretell.errors import InputError, TableError

FACT = Fact("peru", "capitals", "What is the capital of Peru?", "It is Lima.", "It is Quito.")
ROWS: list[dict[str, object]] = [
    {"question": "May I smoke?", "positive": "No, never!", "negative": "I fear not.", "topic": "rules", "id": "a"},
    {"question": "May I stay,\nplease?", "positive": "42", "negative": "Да", "topic": "rooms", "id": "b"},
]


def written(folder: Path, suffix: str, rows: list[dict[str, object]]) -> Path:
    path = folder / f"pairs{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    elif suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        pl.DataFrame(rows).write_csv(path)
    return path


def test_the_false_answer_shows_more_lying_and_the_true_one_more_honesty() -> None:
    (lying,) = pairs_from_facts([FACT])
    (honesty,) = pairs_from_facts([FACT], concept="honesty")
    assert (lying.positive, lying.negative) == ("It is Quito.", "It is Lima.")
    assert (honesty.positive, honesty.negative) == ("It is Lima.", "It is Quito.")
    assert (lying.id, lying.topic, lying.question) == (FACT.id, FACT.topic, FACT.question)


def test_builtin_facts_make_pairs_of_several_topics() -> None:
    pairs = pairs_from_facts(builtin_facts())
    assert len(pairs) >= 200
    assert len({pair.topic for pair in pairs}) >= 5
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert all(pair.positive != pair.negative for pair in pairs)


def test_facts_know_no_other_concept() -> None:
    with pytest.raises(InputError, match=r'not "refusal".*read_pairs'):
        inspect.unwrap(pairs_from_facts)([FACT], concept="refusal")
    with pytest.raises(InputError, match="no facts"):
        pairs_from_facts([])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_of_each_kind_gives_the_same_pairs(tmp_path: Path, suffix: str) -> None:
    pairs = read_pairs(written(tmp_path, suffix, ROWS))
    assert [(p.id, p.topic, p.question, p.positive, p.negative) for p in pairs] == [
        tuple(row[name] for name in ("id", "topic", "question", "positive", "negative")) for row in ROWS
    ]


def test_id_and_topic_may_be_left_out(tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("question", "positive", "negative")} for row in ROWS]
    pairs = read_pairs(written(tmp_path, ".csv", rows))
    assert [(pair.id, pair.topic) for pair in pairs] == [("1", "all"), ("2", "all")]


def test_the_same_answer_under_two_system_messages_is_a_pair(tmp_path: Path) -> None:
    row = {"question": "q", "positive": "x", "negative": "x", "positive_system": "Lie.", "negative_system": "Be true."}
    (pair,) = read_pairs(written(tmp_path, ".jsonl", [dict(row)]))
    conversation, answer = pair.conversation("positive")
    assert [(m.role, m.content) for m in conversation.messages] == [("system", "Lie."), ("user", "q")]
    assert answer == "x"
    assert pair.conversation("negative")[0].messages[0].content == "Be true."


def test_both_sides_of_a_pair_differ_and_stay_together() -> None:
    pair = ContrastPair("p", "t", "q", "yes", "no")
    (positive, yes), (negative, no) = pair.conversation("positive"), pair.conversation("negative")
    assert (yes, no) == ("yes", "no")
    assert positive.id != negative.id
    assert positive.group == negative.group == "p"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positive": ""}, r'row 2, column "positive": is empty'),
        ({"positive": "  "}, r'row 2, column "positive": is empty'),
        ({"question": 7}, r'row 2, column "question": must be text, not int'),
        ({"id": "a"}, r'row 2, column "id": "a" is already the id of row 1'),
        ({"negative": "42"}, r'row 2, column "negative": is the same as the positive side'),
    ],
)
def test_a_wrong_value_is_named_by_file_row_and_column(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = written(tmp_path, ".jsonl", [dict(ROWS[0]), {**ROWS[1], **change}])
    with pytest.raises(TableError, match=rf"pairs\.jsonl, {message}"):
        read_pairs(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_missing_column_is_named_with_those_that_were_found(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, [{"question": "q", "positive": "p"}])
    with pytest.raises(TableError, match=r'column "negative": is missing.*found "question", "positive"'):
        read_pairs(path)


def test_a_missing_or_empty_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file"):
        read_pairs(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(TableError, match="is empty"):
        read_pairs(tmp_path / "empty.csv")


def test_instructed_pairs_say_the_same_under_two_system_messages() -> None:
    pairs = instructed_pairs(["Lima lies in Peru.", "Cats bark."], topics=["places", "animals"])
    assert [pair.topic for pair in pairs] == ["places", "animals"]
    assert len({pair.id for pair in pairs}) == 2
    for pair in pairs:
        (first, answer), (second, other) = pair.conversation("positive"), pair.conversation("negative")
        assert answer == other
        assert first.messages[1:] == second.messages[1:]
        assert "untruthful" in first.messages[0].content
        assert "honest" in second.messages[0].content
    other_concept = instructed_pairs(["Yes."], question="May I?", positive_system="Flatter.", negative_system="Do not.")
    assert (other_concept[0].question, other_concept[0].positive_system) == ("May I?", "Flatter.")


def test_ids_of_instructed_pairs_follow_from_what_they_say() -> None:
    one, other = (
        instructed_pairs(["Cats bark.", "Dogs bark."], topics="x"),
        instructed_pairs(["Cows bark."], topics="y"),
    )
    variants = [
        *instructed_pairs(["Cats bark."], topics="y"),
        *instructed_pairs(["Cats bark."], topics="x", question="Say it."),
        *instructed_pairs(["Cats bark."], topics="x", positive_system="Lie."),
        *instructed_pairs(["Cats bark."] * 3, topics="z"),
    ]
    pairs = [*one, *other, *variants]
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert instructed_pairs(["Dogs bark.", "Cats bark."], topics="x") == one[::-1]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_topics_of_a_file_have_one_spelling(tmp_path: Path, suffix: str) -> None:
    topics = ["Geo", "geo", "Geo ", "\u00a0GEO", "Art  of war", "art of War"]
    rows = [{**ROWS[0], "id": str(index), "topic": topic} for index, topic in enumerate(topics)]
    pairs = read_pairs(written(tmp_path, suffix, rows))
    assert [pair.topic for pair in pairs] == ["Geo"] * 4 + ["Art of war"] * 2
    said = instructed_pairs([f"{topic}!" for topic in topics], topics=topics)
    assert [pair.topic for pair in said] == ["Geo"] * 4 + ["Art of war"] * 2


@pytest.mark.parametrize(
    ("statements", "options", "message"),
    [
        ([], {}, "no statements"),
        ("one text", {}, "no statements"),
        (["a", " "], {}, "statement 2 is empty"),
        (["a"], {"topics": ["x", "y"]}, "1 statements and 2 topics"),
        (["a"], {"positive_system": "x", "negative_system": "x"}, "show no contrast"),
    ],
)
def test_instructed_pairs_that_show_nothing_are_refused(
    statements: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        instructed_pairs(statements, **options)
