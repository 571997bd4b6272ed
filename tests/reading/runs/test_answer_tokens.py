"""A run's own answers, read again from the run or from a file, give its numbers: they are fed by their tokens."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import foretell
from foretell.conversations.conversation import Conversation, Message, Span
from foretell.directions.direction import Direction
from foretell.errors import ConversationError, InputError
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.runs.read import read
from foretell.schema.tables import MASSES
from foretell.storage.runs import Run, open_run
from tests.directions.test_direction import direction_for
from tests.reading.tiny import CHATML, tiny_model
from tests.reading.tokenizer_kinds import byte_level, unigram, wordpiece

NOUNS = ("river", "cat", "old wooden house", "train", "sea", "lamp")


@pytest.fixture(scope="module")
def model() -> Model:
    """A model whose tokenizer has merges, so that one text can be cut in several ways."""
    tokenizer = byte_level(CHATML)
    return dataclasses.replace(tiny_model("llama", vocab_size=len(tokenizer)), tokenizer=tokenizer)


def direction(model: Model) -> Direction:
    """A direction whose activities are of size 1, as those of a fitted one are."""
    made = direction_for(model, np.random.default_rng(3))
    return dataclasses.replace(made, standard_deviation=made.standard_deviation * 30)


def conversation(noun: str) -> Conversation:
    content = f"Describe a {noun}. Use few words."
    spans = (Span(0, 12 + len(noun), "prompt"), Span(13 + len(noun), len(content), "query"))
    return Conversation(
        noun,
        "alpaca",
        (Message("user", content, spans),),
        group="things",
        stratum="length",
        verifier={"name": "no_commas"},
        behaviour="wrote no comma",
    )


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read(
        model,
        [conversation(noun) for noun in NOUNS],
        answers="generate",
        temperature=1.5,
        max_new_tokens=24,
        seed=4,
        directions=[direction(model)],
        detail=True,
        rows=True,
        to=tmp_path_factory.mktemp("tokens") / "run",
        progress=False,
    )


def same_numbers(one: Run, other: Run) -> None:
    # Logits of these weights are some tens, so a log-probability is rounded in its fifth decimal.
    for table in ("attention", "checkpoints", "tokens", "activity"):
        assert_frame_equal(getattr(one, table), getattr(other, table), abs_tol=2e-5, rel_tol=1e-5)
    masses = [pl.col(mass).cast(pl.Float64) for mass in (*MASSES, "previous_token")]
    assert_frame_equal(one.rows.with_columns(masses), other.rows.with_columns(masses), abs_tol=1e-3, rel_tol=0)
    columns = [column for column in one.samples.columns if column not in {"truncated", "mean_logprob"}]
    assert_frame_equal(one.samples.select(columns), other.samples.select(columns))
    assert np.abs(one.samples["mean_logprob"].to_numpy() - other.samples["mean_logprob"].to_numpy()).max() < 1e-5


def again(model: Model, conversations: list[Conversation]) -> Run:
    return read(model, conversations, directions=[direction(model)], detail=True, rows=True, progress=False)


def test_most_answers_would_be_other_tokens_by_their_text(model: Model, run: Run) -> None:
    others = 0
    for one in run.conversations():
        by_text = render(model, one, answer=one.answer)
        others += by_text.token_ids[by_text.n_prompt_tokens :].tolist() != list(one.answer_token_ids or ())
    assert others >= len(NOUNS) // 2


def test_a_run_s_own_answers_give_its_numbers_again(model: Model, run: Run) -> None:
    same_numbers(run, again(model, run.conversations()))
    same_numbers(run, again(model, open_run(run.path).conversations()))


def test_conversations_are_those_that_were_read_with_their_answers(run: Run) -> None:
    found = {one.id: one for one in run.conversations()}
    ids = {key: tuple(frame["token_id"]) for (key,), frame in run.tokens.filter(segment="generated").group_by("id")}
    for noun in NOUNS:
        answer = run.samples.filter(id=noun)["answer"][0]
        expected = dataclasses.replace(
            conversation(noun), answer=answer, answer_token_ids=ids[noun], writer="tiny-llama"
        )
        assert found[noun] == expected


def test_labels_of_a_run_come_with_its_conversations(model: Model) -> None:
    made = read(model, [dataclasses.replace(conversation("cat"), answer="A cat.")], progress=False)
    made.write_labels(pl.DataFrame({"id": ["cat"], "behavior_label": [1], "label_source": ["file"]}))
    (one,) = made.conversations()
    assert (one.behavior_label, one.label_source, one.answer) == (1, "file", "A cat.")
    assert again(model, [one]).samples["behavior_label"].to_list() == [1]


@pytest.mark.parametrize("name", ["samples.parquet", "samples.jsonl", "samples.json"])
def test_a_written_table_of_samples_gives_the_numbers_again(model: Model, run: Run, tmp_path: Path, name: str) -> None:
    path, samples = tmp_path / name, run.samples
    if name.endswith("parquet"):
        samples.write_parquet(path)
    elif name.endswith("jsonl"):
        samples.write_ndjson(path)
    else:
        path.write_text(json.dumps(samples.to_dicts()), encoding="utf-8")
    same_numbers(run, again(model, foretell.read_conversations(path)))


def test_a_cell_of_a_csv_table_holds_tokens_as_json(model: Model, tmp_path: Path) -> None:
    ids = [model.tokenizer.convert_tokens_to_ids(letter) for letter in "theĠthe"]
    path = tmp_path / "a.csv"
    pl.DataFrame({"query": ["Say it."], "answer": ["the the"], "answer_token_ids": [json.dumps(ids)]}).write_csv(path)
    made = again(model, foretell.read_conversations(path))
    assert made.tokens.filter(segment="generated")["token_id"].to_list() == ids


@pytest.mark.parametrize("kind", [byte_level, unigram, wordpiece])
def test_given_answers_are_stored_by_the_tokens_that_were_fed(kind: object) -> None:
    assert callable(kind)
    tokenizer = kind(CHATML)
    model = dataclasses.replace(tiny_model("llama", vocab_size=len(tokenizer)), tokenizer=tokenizer)
    given = [dataclasses.replace(conversation("cat"), answer="  ok, you are a tiny model\n")]
    first = again(model, given)
    fed = first.tokens.filter(segment="generated")["token_id"].to_list()
    assert first.samples["answer_token_ids"].to_list() == [fed]
    # Kinds that change letters or blanks decode to another text, so that their tokens go without it.
    stored = [dataclasses.replace(one, answer=None) for one in first.conversations()]
    second = again(model, stored)
    assert_frame_equal(first.attention, second.attention)
    assert second.samples["answer"].to_list() == [tokenizer.decode(fed, skip_special_tokens=True)]


def test_an_answer_without_its_text_is_read_by_its_tokens(model: Model, run: Run) -> None:
    bare = [dataclasses.replace(one, answer=None) for one in run.conversations()]
    same_numbers(run, again(model, bare))


def test_special_tokens_within_an_answer_are_fed_and_not_said(model: Model) -> None:
    ids = (*model.tokenizer("Yes")["input_ids"], 1, *model.tokenizer(".")["input_ids"], 3)
    for answer in ("Yes.", "Yes<bos>.<|im_end|>", "Yes.<|im_end|>"):
        one = dataclasses.replace(conversation("cat"), answer=answer, answer_token_ids=ids)
        made = again(model, [one])
        assert made.samples["answer"].to_list() == [answer]
        assert made.tokens.filter(segment="generated")["token_id"].to_list() == list(ids)


def test_half_a_character_survives(model: Model) -> None:
    ids = tuple(model.tokenizer("é")["input_ids"][:1])
    answer = str(model.tokenizer.decode(list(ids)))
    made = again(model, [dataclasses.replace(conversation("cat"), answer=answer, answer_token_ids=ids)])
    assert made.samples["answer_token_ids"].to_list() == [list(ids)]
    assert again(model, made.conversations()).tokens.equals(made.tokens)


@pytest.mark.parametrize(
    ("answer", "ids", "message"),
    [
        ("Yes.", (70, 71), r"conversation 'cat': answer_token_ids stand for .* and the answer is 'Yes.'"),
        ("Yes.", (), "stand for ''"),
        ("Yes.", (70, 10**6), r"has the token 1000000, and the model's vocabulary has \d+"),
        (None, (-1,), "has the token -1"),
    ],
)
def test_tokens_of_another_answer_or_model_are_refused_before_anything_is_written(
    model: Model, tmp_path: Path, answer: str | None, ids: tuple[int, ...], message: str
) -> None:
    good = dataclasses.replace(conversation("sea"), answer="A sea.")
    wrong = dataclasses.replace(conversation("cat"), answer=answer, answer_token_ids=ids)
    with pytest.raises(InputError, match=message):
        read(model, [good, wrong], to=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_answer_without_tokens_stays_one(model: Model) -> None:
    good = dataclasses.replace(conversation("sea"), answer="A sea.")
    empty = dataclasses.replace(conversation("cat"), answer="", answer_token_ids=())
    first = again(model, [good, empty])
    second = again(model, first.conversations())
    for made in (first, second):
        samples = made.samples.filter(id="cat")
        assert samples.select("answer", "reason").rows() == [("", "the answer has no tokens")]
        assert samples["answer_token_ids"].to_list() == [[]]


def test_other_tokens_are_another_job(model: Model, tmp_path: Path) -> None:
    answer = "the the"
    ids = tuple(model.tokenizer(answer)["input_ids"])
    cut = tuple(int(model.tokenizer.get_vocab()[letter]) for letter in "theĠthe")
    assert ids != cut
    one = dataclasses.replace(conversation("cat"), answer=answer, answer_token_ids=ids)
    read(model, [one], to=tmp_path / "run", progress=False)
    with pytest.raises(foretell.errors.RunError, match="differs in conversations"):
        read(model, [dataclasses.replace(one, answer_token_ids=cut)], to=tmp_path / "run", progress=False)


@pytest.mark.parametrize("ids", ["[1, 2", '"12"', "{}", "[1.5]", "[true]", "[-1]", '["a"]', "[null]"])
def test_token_ids_that_are_none_are_refused_by_row_and_column(tmp_path: Path, ids: str) -> None:
    path = tmp_path / "a.csv"
    pl.DataFrame({"query": ["a"], "answer": ["b"], "answer_token_ids": [ids]}).write_csv(path)
    with pytest.raises(ConversationError, match=r'a\.csv, row 1, column "answer_token_ids"'):
        foretell.read_conversations(path)


def test_positions_count_from_the_start_of_the_conversation(run: Run) -> None:
    tokens = run.tokens.filter(segment="generated").select("id", "position", "answer_position")
    assert run.tokens.filter(pl.col("segment") != "generated")["answer_position"].null_count() == (
        run.tokens.height - tokens.height
    )
    for _, own in run.tokens.group_by("id", maintain_order=True):
        assert own["position"].to_list() == list(range(own.height))
    for table in (run.activity, run.rows):
        found = table.select("id", "position", "answer_position").unique().sort("id", "position")
        assert found.equals(tokens.sort("id", "position"))
    prompts = run.samples.select("id", n=pl.sum_horizontal("^n_tokens_(system|prompt|query|template)$"))
    first = tokens.filter(answer_position=0).sort("id")
    assert first["position"].to_list() == prompts.sort("id")["n"].to_list()
