"""What the page shows of a token is what a run and a watched generation have of it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import foretell
from foretell.conversations.conversation import Conversation, Message
from foretell.directions.direction import Direction
from foretell.directions.steering import adding
from foretell.errors import InputError
from foretell.jobs.reading_settings import Sampling
from foretell.monitors.live.watched_answers import watched_answers
from foretell.monitors.live.watching import Scored
from foretell.monitors.monitor import Monitor
from foretell.reading.capture.listen import listen
from foretell.reading.chat.rendered import pad_batch
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.serving.catalogue import Catalogue
from foretell.serving.live_rows import LiveToken
from foretell.serving.one_answer import Answering, ReadAnswer
from foretell.serving.question import Steering
from foretell.storage.runs import Run
from tests.monitors.made_runs import N_TOKENS
from tests.reading.tiny import tiny_model
from tests.serving.conftest import ASKED

CLOSE = 1e-5


@pytest.fixture(scope="module")
def direction(catalogue: Catalogue) -> Direction:
    return catalogue.direction("direction-1")


@pytest.fixture(scope="module")
def monitor(catalogue: Catalogue) -> Monitor:
    return next(one.value() for one in catalogue.monitors.values() if one.name == "monitor")


@pytest.fixture(scope="module")
def run(catalogue: Catalogue) -> Run:
    return foretell.open_run(catalogue.run("run-1").path)


def activity(answer: ReadAnswer) -> np.ndarray:
    """Activity by token and layer."""
    return np.stack([token.activity for token in answer.tokens if token.activity is not None])


def check_equal(answer: ReadAnswer, run: Run, name: str) -> None:
    """Compare everything that was passed on with the tables of a run."""
    tokens = run.tokens.filter(id=name).drop_nulls("answer_position").sort("answer_position")
    assert [token.answer_position for token in answer.tokens] == list(range(tokens.height))
    np.testing.assert_allclose([token.logprob for token in answer.tokens], tokens["logprob"], rtol=CLOSE, atol=CLOSE)
    stored = run.activity.filter(id=name).sort("answer_position", "layer")
    np.testing.assert_allclose(activity(answer).ravel(), stored["activity"].to_numpy(), rtol=CLOSE, atol=CLOSE)
    columns = ("SAM", "PAM", "QAM", "TAM", "GAM")
    attention = run.attention.filter(id=name).group_by("layer").agg(pl.col(*columns).mean()).sort("layer")
    means = np.mean([token.mass for token in answer.tokens], axis=0)
    for place, column in enumerate(columns):
        np.testing.assert_allclose(means[:, place], attention[column].to_numpy(), rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("one", ASKED[:4], ids=lambda one: one.id)
def test_a_written_answer_has_the_numbers_of_the_run(
    one: Conversation, tiny: Model, direction: Direction, monitor: Monitor, run: Run
) -> None:
    passed: list[tuple[LiveToken, Scored | None]] = []
    answering = Answering(
        tiny, direction=direction, monitor=monitor, pass_on=lambda token, score: passed.append((token, score))
    )
    answer = answering.written(one, Sampling(N_TOKENS), draw=one.id)
    check_equal(answer, run, one.id)
    assert [token for token, _ in passed] == list(answer.tokens)
    assert answer.text == run.samples.filter(id=one.id)["answer"][0]
    [watched] = watched_answers(tiny, monitor, [one], every=1, sampling=Sampling(N_TOKENS))
    assert [score.n_generated for _, score in passed if score is not None] == list(range(1, len(passed) + 1))
    for (_, ours), theirs in zip(passed, watched.scores, strict=True):
        assert ours is not None
        assert (ours.n_generated, ours.alarm) == (theirs.n_generated, theirs.alarm)
        assert ours.score == pytest.approx(theirs.score, abs=CLOSE)
    by_run = {row["n_generated"]: row["score"] for row in monitor.apply(run).filter(id=one.id).iter_rows(named=True)}
    assert by_run
    for score in answer.scores:
        if score.n_generated in by_run:
            assert score.score == pytest.approx(by_run[score.n_generated], abs=CLOSE)


@pytest.mark.parametrize("one", ASKED[:4], ids=lambda one: one.id)
def test_the_same_answer_given_has_the_same_numbers(
    one: Conversation, tiny: Model, direction: Direction, monitor: Monitor, run: Run
) -> None:
    stored = next(each for each in run.conversations() if each.id == one.id)
    answering = Answering(tiny, direction=direction, monitor=monitor)
    given = answering.given(one, stored.answer or "", stored.answer_token_ids)
    check_equal(given, run, one.id)
    written = answering.written(one, Sampling(N_TOKENS), draw=one.id)
    assert [token.text for token in given.tokens] == [token.text for token in written.tokens]
    np.testing.assert_allclose(
        [score.score for score in given.scores], [score.score for score in written.scores], rtol=CLOSE, atol=CLOSE
    )
    assert given.outcome == "given"


def test_sampled_answers_follow_seed_and_name_as_those_of_a_run(tiny: Model) -> None:
    sampling = Sampling(N_TOKENS, temperature=1.5, seed=3)
    run = foretell.read(
        tiny, ASKED[:3], answers="generate", max_new_tokens=N_TOKENS, temperature=1.5, seed=3, progress=False
    )
    answers = dict(run.samples.select("id", "answer").iter_rows())
    for one in ASKED[:3]:
        assert Answering(tiny).written(one, sampling, draw=one.id).text == answers[one.id]
    assert Answering(tiny).written(ASKED[0], sampling, draw="another").text != answers[ASKED[0].id]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_stopped_answer_ends_within_a_token(after: int, tiny: Model) -> None:
    passed: list[LiveToken] = []
    answering = Answering(
        tiny, pass_on=lambda token, _score: passed.append(token), is_stopped=lambda: len(passed) >= after
    )
    answer = answering.written(ASKED[0], Sampling(N_TOKENS), draw="a")
    assert answer.outcome == "stopped"
    assert after <= len(answer.tokens) == len(passed) <= after + 1


def test_every_row_is_the_mean_of_the_heads_of_a_capture(tiny: Model) -> None:
    text = "an answer"
    answer = Answering(tiny).given(ASKED[0], text)
    rendered = render(tiny, ASKED[0], answer=text)
    batch = pad_batch([rendered], pad_id=tiny.pad_id, side="right")
    with listen(tiny, batch.segments) as capture:
        tiny.model(**batch.inputs)
    expected = capture.row_mass[0].mean(axis=1).transpose(1, 0, 2)
    np.testing.assert_allclose([token.mass for token in answer.tokens], expected, atol=1e-6)
    assert answer.attention_layers == tuple(capture.layers)


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "gpt_oss"])
def test_other_architectures_are_read_token_by_token(kind: str) -> None:
    model = tiny_model(kind)
    answer = Answering(model).written(ASKED[0], Sampling(4), draw="a")
    assert len(answer.tokens) == 4 or answer.outcome == "end of turn"
    assert all(np.isfinite(token.mass).all() and np.isfinite(token.logprob) for token in answer.tokens)


def test_characters_of_several_tokens_appear_once(tiny: Model) -> None:
    text = "né ✓ 日本 🙂"
    answer = Answering(tiny).given(ASKED[0], text)
    assert len(answer.tokens) == len(text.encode())
    assert "".join(token.text for token in answer.tokens) == text


class TestSteering:
    def test_nothing_added_changes_nothing(self, tiny: Model, direction: Direction) -> None:
        plain = Answering(tiny, direction=direction).written(ASKED[1], Sampling(6), draw="a")
        steering = Steering(0.0, 0, 2)
        steered = Answering(tiny, direction=direction, steering=steering).written(ASKED[1], Sampling(6), draw="a")
        assert [token.logprob for token in plain.tokens] == [token.logprob for token in steered.tokens]

    @pytest.mark.parametrize("dose", [-6.0, 6.0])
    def test_written_and_given_agree(self, dose: float, tiny: Model, direction: Direction) -> None:
        rendered = render(tiny, ASKED[1], answer=None)
        n_prompt, vector = len(rendered.token_ids), dose * direction.standard_deviation[1] * direction.vectors[1]

        def mask(width: int) -> torch.Tensor:
            return (torch.arange(width) >= (n_prompt - 1 if width > 1 else 0)).float()[None]

        ids = torch.from_numpy(rendered.token_ids)[None]
        with torch.inference_mode(), adding(tiny, {1: vector}, mask):
            output = tiny.model.generate(  # type: ignore[operator]
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, eos_token_id=None
            )
        fresh = output[0, n_prompt:].tolist()
        steered = Answering(tiny, direction=direction, steering=Steering(dose, 1, 1))
        written = steered.written(ASKED[1], Sampling(6), draw="a")
        n_written = len(written.tokens)
        assert n_written
        given = steered.given(ASKED[1], str(tiny.tokenizer.decode(fresh[:n_written])), fresh[:n_written])
        np.testing.assert_allclose(activity(written), activity(given), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("dose", [-6.0, 6.0])
    def test_the_activity_moves_with_the_dose_from_its_layer_on(
        self, dose: float, tiny: Model, direction: Direction
    ) -> None:
        plain = activity(Answering(tiny, direction=direction).given(ASKED[1], "abc"))
        steered = Answering(tiny, direction=direction, steering=Steering(dose, 1, 1))
        moved = activity(steered.given(ASKED[1], "abc"))
        np.testing.assert_allclose(moved[:, 0], plain[:, 0], rtol=CLOSE, atol=CLOSE)
        assert (np.sign(moved[:, 1] - plain[:, 1]) == np.sign(dose)).all()

    def test_the_prompt_is_left_alone(self, tiny: Model, direction: Direction) -> None:
        """Only the token before the answer and those of the answer are moved, as `steered_odds` does it."""
        text = "abc"
        rendered = render(tiny, ASKED[1], answer=text)
        batch = pad_batch([rendered], pad_id=tiny.pad_id, side="right")
        mask = np.zeros((1, len(rendered.token_ids)), dtype=np.float32)
        mask[0, rendered.n_prompt_tokens - 1 :] = 1.0
        vector = 4.0 * direction.standard_deviation[1] * direction.vectors[1]
        with (
            torch.inference_mode(),
            adding(tiny, {1: vector}, torch.from_numpy(mask)),
            listen(tiny, batch.segments, directions=[direction]) as capture,
        ):
            tiny.model(**batch.inputs)
        answer = Answering(tiny, direction=direction, steering=Steering(4.0, 1, 1)).given(ASKED[1], text)
        expected = capture.activity[0, :, rendered.n_prompt_tokens :, 0].T
        np.testing.assert_allclose(activity(answer), expected, rtol=CLOSE, atol=CLOSE)

    def test_layers_beyond_the_model_are_refused(self, tiny: Model, direction: Direction) -> None:
        with pytest.raises(InputError, match="no vector there"):
            Answering(tiny, direction=direction, steering=Steering(1.0, 7, 9))


@pytest.mark.parametrize(
    ("text", "n_new", "message"), [("a" * 600, 8, "too long"), ("Hi", 500, "and up to 500 new ones")]
)
def test_what_is_too_long_is_refused_before_it_is_fed(text: str, n_new: int, message: str, tiny: Model) -> None:
    long = Conversation("a", "live", (Message("user", text),))
    with pytest.raises(InputError, match=message):
        Answering(tiny).written(long, Sampling(n_new), draw="a")
