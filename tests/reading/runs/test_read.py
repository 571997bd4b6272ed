"""Whole sets read into runs: the same numbers however they are batched, given or generated, resumed or not."""

from __future__ import annotations

import dataclasses
import os
import shutil
import types
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from foretell.conversations.conversation import Conversation, Message, Span
from foretell.errors import InputError, RunError
from foretell.reading.models.load import Model
from foretell.reading.runs.read import check_before_loading, read
from foretell.schema.tables import MASSES, SHARES
from foretell.storage.runs import Run
from tests.directions.test_direction import direction_for
from tests.reading.tiny import GEMMA, tiny_model

NOUNS = ("river", "cat", "old wooden house", "train")


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


def conversation(noun: str, *, answer: str | None = None) -> Conversation:
    task = f"Describe a {noun}."
    content = f"{task} Use few words."
    spans = (Span(0, len(task), "prompt"), Span(len(task) + 1, len(content), "query"))
    return Conversation(noun, "alpaca", (Message("user", content, spans),), answer, stratum="length")


GIVEN = [conversation(noun, answer=f"The {noun} is here.") for noun in NOUNS]
PROMPTS = [conversation(noun) for noun in NOUNS]


def close(left: pl.DataFrame, right: pl.DataFrame) -> None:
    assert_frame_equal(left, right, abs_tol=1e-5, rel_tol=1e-4)


def test_a_run_has_every_table_in_its_columns(model: Model) -> None:
    run = read(model, GIVEN)
    assert run.finished
    assert run.attention.height == len(GIVEN) * model.n_layers * model.n_heads
    assert np.allclose(run.attention.select(MASSES).sum_horizontal(), 1.0, atol=1e-6)
    assert np.abs(run.attention.select(SHARES).sum_horizontal().to_numpy() - 1.0).max() <= 4e-16
    counts = run.samples.select(pl.selectors.starts_with("n_tokens_")).sum_horizontal()
    assert counts.to_list() == run.tokens.group_by("id").len().sort("id")["len"].to_list()
    answers = run.tokens.filter(segment="generated").group_by("id", maintain_order=True).agg(pl.col("text").str.join())
    assert dict(answers.rows()) == {one.id: one.answer for one in GIVEN}


def test_batching_changes_nothing(model: Model) -> None:
    together, alone = read(model, GIVEN), read(model, GIVEN, batch_tokens=1)
    assert len(alone.part_names) == len(GIVEN)
    close(together.attention, alone.attention)
    close(together.tokens, alone.tokens)


def test_a_stored_answer_reads_as_it_did_while_it_was_generated(model: Model) -> None:
    generated = read(model, PROMPTS, answers="generate", max_new_tokens=9)
    ids = {key: frame["token_id"] for (key,), frame in generated.tokens.group_by("id")}
    stored = [
        dataclasses.replace(one, answer=answer)
        for one in PROMPTS
        for answer in generated.samples.filter(id=one.id)["answer"]
    ]
    forced = read(model, stored)
    again = {key: frame["token_id"] for (key,), frame in forced.tokens.group_by("id")}
    same = [one.id for one in PROMPTS if ids[one.id].to_list() == again[one.id].to_list()]
    if not same:
        pytest.fail("no random answer tokenises back to itself; choose another seed for the tiny model")
    chosen = pl.col("id").is_in(same)
    close(generated.attention.filter(chosen), forced.attention.filter(chosen))
    close(generated.tokens.filter(chosen), forced.tokens.filter(chosen))


def test_sampling_repeats_with_its_seed_and_only_with_it(model: Model) -> None:
    def answers(seed: int) -> list[str]:
        run = read(model, PROMPTS, answers="generate", max_new_tokens=8, temperature=1.0, seed=seed)
        return run.samples["answer"].to_list()

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)


def test_a_stopped_run_goes_on_to_the_same_numbers(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"answers": "generate", "max_new_tokens": 6, "temperature": 1.0, "batch_tokens": 1}
    whole = read(model, PROMPTS, to=tmp_path / "whole", **options)  # type: ignore[arg-type]
    appended, append = 0, Run.append

    def stopping(run: Run, name: str, tables: dict[str, pl.DataFrame]) -> None:
        nonlocal appended
        if appended == 2:
            raise KeyboardInterrupt
        appended += 1
        append(run, name, tables)  # type: ignore[arg-type]

    monkeypatch.setattr(Run, "append", stopping)
    with pytest.raises(KeyboardInterrupt):
        read(model, PROMPTS, to=tmp_path / "stopped", **options)  # type: ignore[arg-type]
    monkeypatch.undo()
    resumed = read(model, PROMPTS, to=tmp_path / "stopped", **options)  # type: ignore[arg-type]
    assert resumed.finished
    assert_frame_equal(whole.attention, resumed.attention)
    assert_frame_equal(whole.samples, resumed.samples)


def test_what_cannot_be_read_is_kept_with_its_reason(model: Model) -> None:
    run = read(model, [*GIVEN, conversation("silence", answer=""), conversation("nothing")])
    reasons = dict(run.samples.select("id", "reason").drop_nulls().rows())
    assert reasons == {
        "silence": "the answer has no tokens",
        "nothing": "no answer was given; give one, or let the model generate it",
    }
    assert set(run.attention["id"]) == set(NOUNS)


def test_a_given_label_speaks_of_the_given_answer_only(model: Model) -> None:
    labelled = [dataclasses.replace(one, behavior_label=1, label_source="file") for one in GIVEN]
    assert read(model, labelled).samples["behavior_label"].to_list() == [1] * len(GIVEN)
    generated = read(model, labelled, answers="generate", max_new_tokens=4)
    assert generated.samples["behavior_label"].null_count() == len(GIVEN)


def test_another_job_in_the_folder_is_refused(model: Model, tmp_path: Path) -> None:
    read(model, GIVEN, to=tmp_path / "run")
    with pytest.raises(RunError, match=r"differs in conversations: .*; n_conversations: 4 in the run, 2 now"):
        read(model, GIVEN[:2], to=tmp_path / "run")


def test_overwriting_starts_anew_and_leaves_other_files(model: Model, tmp_path: Path) -> None:
    run = read(model, GIVEN, to=tmp_path / "run", batch_tokens=1)
    run.write_labels(pl.DataFrame({"id": ["cat"], "behavior_label": [1], "label_source": "file"}))
    (run.path / "notes.txt").write_text("mine")
    again = read(model, GIVEN[:2], to=tmp_path / "run", overwrite=True)
    assert again.samples["id"].to_list() == sorted(one.id for one in GIVEN[:2])
    assert again.samples["behavior_label"].null_count() == 2
    assert {path.stem for path in (run.path / "samples").iterdir()} == again.part_names
    assert (run.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("answers", ["given", "generate"])
def test_a_folder_of_other_things_is_refused_before_anything_is_rendered(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: Literal["given", "generate"]
) -> None:
    monkeypatch.setattr("foretell.reading.runs.read.render", lambda *_, **__: pytest.fail("rendered"))
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(InputError, match="holds a study already"):
        read(model, GIVEN, answers=answers, to=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file"):
        read(model, GIVEN, answers=answers, to=tmp_path / "file" / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"study.json", "file"}


def test_a_second_writer_is_refused_and_the_first_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    append = Run.append

    def beside(run: Run, name: str, tables: dict[str, pl.DataFrame]) -> None:
        with pytest.raises(RunError, match=rf"process {os.getpid()} on .* is writing into it") as error:
            read(model, GIVEN, to=tmp_path / "run", batch_tokens=1, overwrite=len(said) > 1)
        said.append(str(error.value))
        append(run, name, tables)  # type: ignore[arg-type]

    monkeypatch.setattr(Run, "append", beside)
    run = read(model, GIVEN, to=tmp_path / "run", batch_tokens=1)
    assert len(said) == len(GIVEN)
    assert run.finished
    assert run.samples.height == len(GIVEN)
    assert read(model, GIVEN, to=tmp_path / "run", batch_tokens=1).finished
    assert not list(run.path.glob(".*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"batch_tokens": 0}, "batch_tokens"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(
    model: Model, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(model, GIVEN, to=tmp_path / "run", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_no_conversations_and_repeated_ids_are_refused(model: Model) -> None:
    with pytest.raises(InputError, match="no conversations"):
        read(model, [])
    with pytest.raises(InputError, match="'cat' stands for more than one"):
        read(model, [GIVEN[1], GIVEN[1]])


def test_contribution_entropy_and_checkpoints_are_written(model: Model) -> None:
    run = read(model, PROMPTS, answers="generate", max_new_tokens=9, detail=True, progress=False)
    attention = run.attention
    contribution = attention.select(pl.col("^contribution_.*$")).to_numpy()
    assert np.abs(contribution.sum(1) - 1).max() < 1e-5
    assert (attention["entropy"] > 0).all()
    checkpoints = run.checkpoints
    assert set(checkpoints["n_generated"]) <= {1, 2, 4, 8}
    lengths = {row["id"]: row["n_tokens_generated"] for row in run.samples.iter_rows(named=True)}
    for (identity,), own in checkpoints.group_by("id"):
        assert own["n_generated"].to_numpy().max() == 1 << (lengths[identity].bit_length() - 1)
    rows = run.attention.filter(id=PROMPTS[0].id)
    first = checkpoints.filter(id=PROMPTS[0].id, n_generated=lengths[PROMPTS[0].id])
    longer = read(model, PROMPTS[:1], answers="generate", max_new_tokens=8, progress=False)
    eight = longer.checkpoints.filter(n_generated=8)
    for mass in MASSES:
        assert np.abs(eight[mass].to_numpy() - longer.attention[mass].to_numpy()).max() < 1e-6
        assert first.height == 0 or np.abs(first[mass].to_numpy() - rows[mass].to_numpy()).max() < 1e-6
    tokens = run.tokens
    said, others = tokens.filter(segment="generated"), tokens.filter(pl.col("segment") != "generated")
    for name in ("entropy", "margin"):
        assert said[name].null_count() == 0
        assert others[name].null_count() == others.height
    assert said["margin"].is_between(0, 1).all()
    assert np.abs(eight["lookback"].to_numpy() - longer.attention["lookback"].to_numpy()).max() < 1e-6
    assert run.attention["lookback"].is_between(0, 1).all()


@pytest.mark.parametrize("answers", ["given", "generate"])
def test_rows_are_kept_in_half_precision_when_asked_for(model: Model, answers: Literal["given", "generate"]) -> None:
    samples = GIVEN if answers == "given" else PROMPTS
    whole, bare = (
        read(model, samples, answers=answers, max_new_tokens=6, rows=rows, progress=False) for rows in (True, False)
    )
    assert bare.rows.height == 0
    rows = whole.rows
    assert all(rows[mass].dtype == pl.Float16 for mass in MASSES)
    lengths = {row["id"]: row["n_tokens_generated"] for row in whole.samples.iter_rows(named=True)}
    means = (
        rows.with_columns(pl.col(*MASSES).cast(pl.Float64))
        .group_by("id", "layer", "head")
        .agg(pl.col(*MASSES).mean(), pl.len(), pl.col("answer_position").max())
        .sort("id", "layer", "head")
    )
    assert [lengths[one] for one in means["id"]] == means["len"].to_list() == (means["answer_position"] + 1).to_list()
    for table in (whole, bare):
        assert means.select("id", "layer", "head").equals(table.attention.select("id", "layer", "head"))
        for mass in MASSES:
            # Half precision has 11 bits.
            assert np.abs(means[mass].to_numpy() - table.attention[mass].to_numpy()).max() < 2**-11
    total = rows.select(pl.sum_horizontal(pl.col(*MASSES).cast(pl.Float64))).to_series().to_numpy()
    assert np.abs(total - 1).max() < 5 * 2**-11


def test_a_character_of_several_tokens_is_shown_once(model: Model) -> None:
    asked = Conversation("cafe", "own", (Message("user", "Un café ?"),), answer="Très bien 👍")
    tokens = read(model, [asked], progress=False).tokens
    said = tokens.filter(pl.col("segment") == "generated")["text"].to_list()
    assert "".join(said) == "Très bien 👍"
    assert len(said) == len("Très bien 👍".encode())
    assert said[-4:] == ["", "", "", "👍"]


def test_detail_is_read_when_asked_for(model: Model) -> None:
    whole, bare = (
        read(model, PROMPTS[:2], answers="generate", max_new_tokens=5, detail=detail, progress=False)
        for detail in (True, False)
    )
    assert bare.attention["entropy"].null_count() == bare.attention.height
    assert bare.attention["contribution_query"].null_count() == bare.attention.height
    for mass in MASSES:
        assert np.abs(whole.attention[mass].to_numpy() - bare.attention[mass].to_numpy()).max() < 1e-5


NOTHING_GIVEN = "none of the 4 conversations has an answer to read: give answers, or let the model write them"


@pytest.mark.parametrize("answer", [None, ""])
def test_nothing_to_read_is_said_before_anything_is_written(model: Model, tmp_path: Path, answer: str | None) -> None:
    asked = [dataclasses.replace(one, answer=answer) for one in PROMPTS]
    with pytest.raises(InputError, match=NOTHING_GIVEN):
        read(model, asked, to=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("answers", ["given", "generate"])
def test_conversations_that_cannot_be_rendered_are_refused_together(
    tmp_path: Path, answers: Literal["given", "generate"]
) -> None:
    model = tiny_model("llama")
    model.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(
        InputError, match=r"none of the 4 .* refuses .*roles must alternate \(4 of them, such as 'river'\)"
    ):
        read(model, GIVEN, answers=answers, to=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_another_chat_template_is_another_job(tmp_path: Path) -> None:
    model = tiny_model("llama")
    read(model, GIVEN, to=tmp_path / "run", progress=False)
    model.tokenizer.chat_template = GEMMA
    with pytest.raises(RunError, match="differs in template"):
        read(model, GIVEN, to=tmp_path / "run", progress=False)


@pytest.mark.parametrize("answers", ["given", "generate"])
def test_what_was_read_is_whole_in_every_table(
    model: Model, tmp_path: Path, answers: Literal["given", "generate"]
) -> None:
    asked = [*GIVEN, dataclasses.replace(PROMPTS[0], id="nothing")] if answers == "given" else PROMPTS
    direction = direction_for(model, np.random.default_rng(0))
    options: dict[str, Any] = {"detail": True, "rows": True, "hidden": "all", "batch_tokens": 64, "progress": False}
    run = read(model, asked, answers=answers, directions=[direction], max_new_tokens=5, to=tmp_path / "run", **options)
    assert len(run.parts) > 1
    assert run.check() == []
    tables = ("samples", "attention", "checkpoints", "rows", "tokens", "activity")
    before = {name: getattr(run, name) for name in tables}
    run.compact()
    assert run.check() == []
    for name, expected in before.items():
        assert_frame_equal(getattr(run, name), expected)


def test_a_disk_without_space_is_refused_before_anything_is_read(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"disk has 0\.0 MiB free, and what is still to be read takes at least"):
        read(model, GIVEN, to=tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert read(model, GIVEN, to=tmp_path / "run", progress=False).finished


def test_another_tokenizer_is_another_job(tmp_path: Path) -> None:
    model = tiny_model("llama")
    read(model, GIVEN, to=tmp_path / "run", progress=False)
    model.tokenizer.add_tokens(["river"])
    with pytest.raises(RunError, match=r"differs in tokenizer: \w{16} in the run, \w{16} now"):
        read(model, GIVEN, to=tmp_path / "run", progress=False)


def test_the_same_job_in_other_words_goes_on_to_the_same_tables(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another path of the model, another order of conversations, directions and layers, numbers of another type."""
    pair = [
        dataclasses.replace(direction_for(model, np.random.default_rng(seed)), concept=str(seed)) for seed in (1, 2)
    ]
    nothing = dataclasses.replace(PROMPTS[0], id="nothing")
    job: dict[str, Any] = {"directions": pair, "batch_tokens": 1, "hidden": [0, 1], "progress": False}
    whole = read(model, [*GIVEN, nothing], to=tmp_path / "whole", **job)
    append = Run.append

    def stopping(run: Run, name: str, tables: Any) -> None:
        if name == "part-00002":
            raise KeyboardInterrupt
        append(run, name, tables)

    monkeypatch.setattr(Run, "append", stopping)
    with pytest.raises(KeyboardInterrupt):
        read(model, [*GIVEN, nothing], to=tmp_path / "run", **job)
    monkeypatch.undo()
    moved = dataclasses.replace(model, name="/models/elsewhere")
    again = {"directions": pair[::-1], "batch_tokens": 1, "hidden": (1, 0), "progress": False}
    run = read(moved, [nothing, *GIVEN[::-1]], to=tmp_path / "run", **again)  # type: ignore[arg-type]
    for table in ("samples", "attention", "tokens", "activity", "hidden_states"):
        assert_frame_equal(getattr(run, table), getattr(whole, table))
    assert set(run.samples["model"]) == {model.name}


def test_two_directions_of_one_concept_are_refused_by_name(model: Model) -> None:
    one, other = (direction_for(model, np.random.default_rng(seed)) for seed in (1, 2))
    with pytest.raises(InputError, match='2 directions have the concept "lying": give each a name of its own'):
        read(model, GIVEN, directions=[one, other], progress=False)
    with pytest.raises(InputError, match='2 directions have the concept "lying"'):
        read(model, GIVEN, directions=[one, one], progress=False)
    with pytest.raises(InputError, match='2 directions have the concept "lying"'):
        check_before_loading(GIVEN, answers="given", directions=[one, other], to=None)
