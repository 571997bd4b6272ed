"""Scores while a model writes: those of the run, alarms that stop, and a model that is afterwards as it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import StoppingCriteria, StoppingCriteriaList

import foretell
from foretell.errors import InputError
from foretell.jobs.reading_settings import Sampling
from foretell.monitors.live.watched_answers import watched_answers
from foretell.monitors.live.watching import ROUNDING, Scored, Watching
from foretell.monitors.monitor import Monitor
from foretell.monitors.monitor_columns import Columns
from foretell.reading.chat.rendered import Batch, pad_batch
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.storage.runs import Run
from tests.monitors.made_runs import N_TOKENS, answered_run, conversations
from tests.reading.tiny import tiny_model

ASKED = conversations()


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def run(model: Model) -> Run:
    return answered_run(model, ASKED)


@pytest.fixture(scope="module", params=["checkpoints", 4, "every token"])
def monitor(run: Run, request: pytest.FixtureRequest) -> Monitor:
    options = {"scored_at": request.param, "max_heads": 3}
    return foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.4, confidence=0.8, **options)


@pytest.fixture(scope="module")
def checkpoints(run: Run) -> Monitor:
    return foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.4, confidence=0.8, max_heads=3)


def prompts(model: Model, n: int = 6) -> Batch:
    return pad_batch([render(model, one, answer=None) for one in ASKED[:n]], pad_id=model.pad_id)


def generate(model: Model, n: int = 6, **options: object) -> torch.Tensor:
    batch, settings = prompts(model, n), {"max_new_tokens": N_TOKENS, "do_sample": False, **options}
    ids = {"input_ids": batch.token_ids, "attention_mask": batch.attention_mask}
    return model.model.generate(**ids, **settings)  # type: ignore[operator, no-any-return]


def test_sampled_answers_are_those_that_reading_draws(model: Model, checkpoints: Monitor) -> None:
    drawn: dict[str, Any] = {"max_new_tokens": N_TOKENS, "temperature": 1.5, "seed": 3}
    run = foretell.read(model, ASKED[:4], answers="generate", progress=False, **drawn)
    watched = watched_answers(model, checkpoints, ASKED[:4], sampling=Sampling(**drawn))
    assert {one.id: one.answer for one in watched} == dict(run.samples.select("id", "answer").iter_rows())
    greedy = watched_answers(model, checkpoints, ASKED[:4], sampling=Sampling(N_TOKENS))
    assert [one.answer for one in watched] != [one.answer for one in greedy]


def alarming(monitor: Monitor, score: float = -1e9) -> Monitor:
    """The same monitor with another threshold."""
    return replace(monitor, threshold=replace(monitor.threshold, score=score, reason=None))


def check_equal(watching: Watching, table: pl.DataFrame) -> None:
    known = {(one.sample, one.n_generated): one for one in watching.scored}
    assert len(known) == len(watching.scored), "no moment is scored twice"
    for sample, asked in enumerate(ASKED[: len(watching.n_generated)]):
        for row in table.filter(pl.col("id") == asked.id).iter_rows(named=True):
            one = known.pop((sample, row["n_generated"]))
            assert one.score == pytest.approx(row["score"], abs=1e-5)
            assert one.probability == pytest.approx(row["probability"], abs=1e-5)
            assert one.alarm == row["alarm"] or abs(row["score"] - watching.monitor.threshold.score) < ROUNDING
    assert not any(one.alarm for one in known.values()), "alarms come only at the moments of the calibration"


@pytest.mark.parametrize("every", [None, 1, 3, 8])
def test_live_scores_are_those_of_the_run(model: Model, run: Run, monitor: Monitor, every: int | None) -> None:
    with torch.inference_mode(), foretell.watch(model, monitor, conversations=ASKED[:6], every=every) as watching:
        generate(model)
    # row masses of a run are kept in half precision, so that those of single tokens are not the very same
    table = monitor.apply(run)
    if monitor.scored_at != "every token":
        check_equal(watching, table)
        return
    live = {(ASKED[one.sample].id, one.n_generated): one.score for one in watching.scored}
    both = [
        (live.pop((row["id"], row["n_generated"])), row["score"])
        for row in table.iter_rows(named=True)
        if (row["id"], row["n_generated"]) in live
    ]
    assert not live
    spread = float(table["score"].std())  # type: ignore[arg-type]
    assert np.abs(np.subtract(*zip(*both, strict=True))).max() < 0.01 * spread


def test_every_token_is_scored_and_nothing_else(model: Model, checkpoints: Monitor) -> None:
    seen: list[Scored] = []
    with foretell.watch(model, checkpoints, seen.append, conversations=ASKED[:6], every=1) as watching:
        generate(model)
    assert watching.scores.shape == (6, watching.n_generated.max())
    expected = np.arange(watching.scores.shape[1]) < watching.n_generated[:, None]
    np.testing.assert_array_equal(np.isfinite(watching.scores), expected)
    assert seen == watching.scored
    np.testing.assert_allclose(watching.probabilities, checkpoints.probability(watching.scores))


@pytest.mark.parametrize("kind", ["gpt2", "gemma3_text"])
def test_other_models_are_watched_with_the_same_numbers(kind: str) -> None:
    model = tiny_model(kind)
    run = answered_run(model, ASKED[:24])
    monitor = foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.5, confidence=0.6, max_heads=3)
    with torch.inference_mode(), foretell.watch(model, monitor, conversations=ASKED[:6]) as watching:
        generate(model)
    check_equal(watching, monitor.apply(run))


def test_answers_that_end_early_are_scored_at_their_end_and_no_further(model: Model, checkpoints: Monitor) -> None:
    plain = generate(model)[:, prompts(model).token_ids.shape[1] :]
    end = int(plain[2, 6])
    lengths = [row.index(end) if end in row else N_TOKENS for row in plain.tolist()]
    with foretell.watch(model, checkpoints, conversations=ASKED[:6], every=1) as watching:
        generate(model, eos_token_id=[end, 3])
    assert watching.n_generated.tolist() == lengths
    assert np.isfinite(watching.scores).sum(axis=1).tolist() == lengths


def test_answers_that_another_criterion_ends_are_scored_no_further(model: Model, checkpoints: Monitor) -> None:
    class Short(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
            n_tokens = input_ids.shape[1] - prompts(model).token_ids.shape[1]
            return torch.tensor([n_tokens >= 3 + sample for sample in range(len(input_ids))])

    with foretell.watch(model, checkpoints, conversations=ASKED[:6], every=1) as watching:
        generate(model, stopping_criteria=StoppingCriteriaList([Short()]))
    assert watching.n_generated.tolist() == [3, 4, 5, 6, 7, 8]
    assert np.isfinite(watching.scores).sum(axis=1).tolist() == [3, 4, 5, 6, 7, 8]


def test_weights_are_compared_again_where_they_were_changed(checkpoints: Monitor) -> None:
    model = tiny_model()
    checkpoints.check_model(model)
    checkpoints.check_model(model)
    with torch.no_grad():
        next(model.model.parameters()).mul_(1.5)
    with pytest.raises(InputError, match="the weights of this model are others"):
        checkpoints.check_model(model)


@pytest.mark.parametrize("after", [1, 4])
def test_stopping_saves_the_tokens_after_the_alarm(model: Model, run: Run, after: int) -> None:
    monitor = foretell.fit_monitor(run, baseline=False, scored_at=after, max_false_positive_rate=0.4, confidence=0.8)
    with foretell.watch(model, alarming(monitor), stop=True, conversations=ASKED[:6]) as watching:
        output = generate(model)
    assert watching.alarms == dict.fromkeys(range(6), after)
    assert output.shape[1] == prompts(model).token_ids.shape[1] + after + 1


def test_only_the_answer_with_an_alarm_is_stopped(model: Model, checkpoints: Monitor) -> None:
    with foretell.watch(model, checkpoints, conversations=ASKED[:6]) as watching:
        whole = generate(model)
    highest = np.nanmax(watching.scores, axis=1)
    monitor = alarming(checkpoints, float(np.sort(highest)[-2]))
    first = int(np.argmax(highest))
    with foretell.watch(model, monitor, stop=True, conversations=ASKED[:6]) as stopped:
        output = generate(model)
    assert list(stopped.alarms) == [first]
    others = [sample for sample in range(6) if sample != first]
    assert torch.equal(output[others], whole[others])
    assert stopped.n_generated[first] == min(stopped.alarms[first] + 1, N_TOKENS)


@pytest.mark.parametrize("is_watched_call", [True, False])
def test_a_crash_leaves_the_model_as_it_was(model: Model, checkpoints: Monitor, is_watched_call: bool) -> None:
    before, names, hooks = generate(model), dict(vars(model.model)), len(model.model._forward_hooks)

    def crash(one: Scored) -> None:
        raise RuntimeError(f"consumer gone after {one.n_generated}")

    def use() -> None:
        on_score = crash if is_watched_call else None
        with foretell.watch(model, checkpoints, on_score, conversations=ASKED[:6]):
            generate(model)
            crash(Scored(0, 1, 0.0, 0.5, alarm=False))

    with pytest.raises(RuntimeError, match="gone after"):
        use()
    assert vars(model.model).keys() == names.keys()
    assert len(model.model._forward_hooks) == hooks
    assert torch.equal(generate(model), before)
    with foretell.watch(model, checkpoints, conversations=ASKED[:6]) as watching:
        generate(model)
    assert watching.scored


def test_tokens_do_not_change_and_each_call_is_watched_anew(model: Model, checkpoints: Monitor) -> None:
    plain = generate(model)
    with foretell.watch(model, checkpoints, conversations=ASKED[:6]) as watching:
        assert torch.equal(generate(model), plain)
        first = watching.scored
        assert torch.equal(generate(model), plain)
    assert watching.scored == first


def test_another_thread_is_neither_watched_nor_disturbed(model: Model, checkpoints: Monitor) -> None:
    found: list[torch.Tensor] = []
    plain = generate(model, 2)
    with foretell.watch(model, checkpoints, conversations=ASKED[:6]) as watching:
        other = threading.Thread(target=lambda: found.append(generate(model, 2)))
        other.start()
        other.join()
        assert not watching.scored
        generate(model)
    assert torch.equal(found[0], plain)
    assert len(watching.n_generated) == 6


def test_two_threads_of_one_block_do_not_share_its_scores(model: Model, checkpoints: Monitor) -> None:
    """The second one is refused while the first one generates, and may go on afterwards."""
    started, refused = threading.Event(), threading.Event()

    def wait(_: Scored) -> None:
        started.set()
        refused.wait(10)

    async def serve() -> None:
        with foretell.watch(model, checkpoints, wait, conversations=ASKED[:6]) as watching:
            first = asyncio.create_task(asyncio.to_thread(generate, model))
            await asyncio.to_thread(started.wait, 10)
            with pytest.raises(InputError, match="another thread of this block is generating"):
                await asyncio.to_thread(generate, model)
            refused.set()
            await first
            scored = watching.scored
            await asyncio.to_thread(generate, model)
            assert watching.scored == scored

    asyncio.run(serve())


def test_a_consumer_that_is_closed_elsewhere_leaves_the_model_free(model: Model, checkpoints: Monitor) -> None:
    """As an asynchronous generator is, whose client left: another task closes it."""

    async def answers() -> AsyncIterator[int]:
        with foretell.watch(model, checkpoints, conversations=ASKED[:6]) as watching:
            await asyncio.to_thread(generate, model)
            for one in watching.scored:
                yield one.n_generated

    async def serve() -> None:
        stream = answers()
        assert await anext(stream) == 1
        await asyncio.create_task(stream.aclose())  # type: ignore[attr-defined]

    asyncio.run(serve())
    assert "generate" not in vars(model.model)
    assert watched_answers(model, checkpoints, ["one"])[0].scores


def test_a_cancelled_task_ends_the_generation_that_it_awaits(model: Model, checkpoints: Monitor) -> None:
    """A thread cannot be cancelled, but once the block is left the model is free."""
    plain, hooks = generate(model), len(model.model._forward_hooks)
    started = threading.Event()
    lengths: list[int] = []

    async def answer() -> None:
        def note(one: Scored) -> None:
            lengths.append(one.n_generated)
            started.set()

        with foretell.watch(model, checkpoints, note, conversations=ASKED[:6], every=1):
            await asyncio.to_thread(generate, model, max_new_tokens=5000)

    async def serve() -> None:
        task = asyncio.create_task(answer())
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(model.model._forward_hooks) == hooks
        assert "generate" not in vars(model.model)
        assert watched_answers(model, checkpoints, ["one"])[0].scores

    asyncio.run(serve())
    assert 0 < max(lengths) < 1000
    assert torch.equal(generate(model), plain)


def test_a_callback_that_waits_for_the_loop_that_leaves_does_not_block_it_for_ever(
    model: Model, checkpoints: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretell.monitors.live.watch._PATIENCE", 0.1)
    started, leaving = threading.Event(), threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        calls = []

        def ask_loop(_: Scored) -> None:
            started.set()
            leaving.wait(30)
            turn: Future[None] = Future()
            loop.call_soon_threadsafe(turn.set_result, None)
            turn.result(30)

        async def answer() -> None:
            with foretell.watch(model, checkpoints, ask_loop, conversations=ASKED[:6], every=1):
                calls.append(loop.run_in_executor(None, copy_context().run, generate, model))
                await asyncio.to_thread(started.wait, 30)
                leaving.set()
                raise RuntimeError("the consumer crashed")

        with pytest.raises(RuntimeError, match="the consumer crashed"):
            await answer()
        with pytest.raises(InputError, match="the block was left while this call was generating"):
            await calls[0]

    asyncio.run(serve())
    assert "generate" not in vars(model.model)
    assert watched_answers(model, checkpoints, ["one"])[0].scores


@pytest.mark.parametrize(("above", "is_alarm"), [(0.0, False), (5e-6, False), (1e-3, True)])
def test_rounding_makes_no_alarm_of_a_tie(model: Model, run: Run, above: float, is_alarm: bool) -> None:
    monitor = foretell.fit_monitor(run, baseline=False, scored_at=4, max_false_positive_rate=0.4, confidence=0.8)
    with foretell.watch(model, monitor, conversations=ASKED[:6]) as watching:
        generate(model)
    first = watching.scored[0]
    with foretell.watch(model, alarming(monitor, first.score - above), conversations=ASKED[:6]) as watching:
        generate(model)
    assert (first.sample in watching.alarms) == is_alarm


def test_a_server_loop_answers_in_threads(model: Model, checkpoints: Monitor) -> None:
    """One model answers one batch at a time; the loop itself is never blocked."""
    turn, beats = asyncio.Lock(), 0

    async def answer(text: str) -> str:
        async with turn:
            [one] = await asyncio.to_thread(watched_answers, model, checkpoints, [{"query": text}])
        assert one.scores
        return one.answer

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    async def serve() -> list[str]:
        beating = asyncio.create_task(beat())
        answers = await asyncio.gather(*(answer(text) for text in ("one", "two", "one")))
        beating.cancel()
        return answers

    answers = asyncio.run(serve())
    assert answers[0] == answers[2]
    assert beats > 3
    assert "generate" not in vars(model.model)


def test_a_cancelled_request_leaves_the_model_free(model: Model, checkpoints: Monitor) -> None:
    gone = threading.Event()

    def leave(_: Scored) -> None:
        if gone.is_set():
            raise InterruptedError("the client has left")

    async def serve() -> None:
        task = asyncio.create_task(
            asyncio.to_thread(watched_answers, model, checkpoints, ["one"], on_score=leave, every=1)
        )
        await asyncio.sleep(0)
        gone.set()
        with pytest.raises(InterruptedError):
            await task

    asyncio.run(serve())
    assert watched_answers(model, checkpoints, ["one"])[0].scores


def test_a_loop_of_ones_own_has_the_same_scores(model: Model, run: Run, checkpoints: Monitor) -> None:
    batch = prompts(model)
    with torch.inference_mode(), foretell.listen(model, batch.segments, **checkpoints.listen_options) as capture:
        generate(model)
        score = checkpoints.score(capture)
    for sample, asked in enumerate(ASKED[:6]):
        for row in checkpoints.apply(run).filter(pl.col("id") == asked.id).iter_rows(named=True):
            assert score[sample, row["n_generated"] - 1] == pytest.approx(row["score"], abs=1e-5)


@pytest.mark.parametrize(
    ("columns", "options", "what"),
    [
        (Columns(heads=((1, 0),)), {"layers": [0]}, "mass of layer 1"),
        (Columns(layers=(2,), width=32), {"hidden": [0]}, "hidden of layer 2"),
        (Columns(confidence=True), {"logprob": False}, "logprob, which was not read"),
    ],
)
def test_a_capture_that_lacks_something_is_refused(
    model: Model, checkpoints: Monitor, columns: Columns, options: dict[str, object], what: str
) -> None:
    n = sum(columns.sizes.values())
    monitor = replace(checkpoints, columns=columns, centre=np.zeros(n), weight=np.ones(n))
    with foretell.listen(model, prompts(model).segments, **options) as capture:  # type: ignore[arg-type]
        generate(model)
        with pytest.raises(InputError, match=what):
            monitor.score(capture)


def test_a_monitor_without_attention_needs_no_segments(model: Model, run: Run) -> None:
    signals = ("hidden states", "confidence")
    monitor = foretell.fit_monitor(run, baseline=False, signals=signals, max_false_positive_rate=0.4, confidence=0.8)
    assert monitor.listen_options["layers"] == ()
    with torch.inference_mode(), foretell.watch(model, monitor) as watching:
        generate(model)
    check_equal(watching, monitor.apply(run))


def test_what_cannot_be_watched_is_refused(model: Model, checkpoints: Monitor) -> None:
    with pytest.raises(InputError, match="give segments="), foretell.watch(model, checkpoints):
        pass
    with pytest.raises(InputError, match="every must be 1 token"), foretell.watch(model, checkpoints, every=0):
        pass
    codes = prompts(model).segments
    both = foretell.watch(model, checkpoints, segments=codes, conversations=ASKED[:6])
    with pytest.raises(InputError, match="not both"), both:
        pass
    beams = foretell.watch(model, checkpoints, segments=codes)
    with pytest.raises(InputError, match="beam search"), beams:
        generate(model, num_beams=2)
    with pytest.raises(InputError, match="segments are for"), foretell.watch(model, checkpoints, segments=codes):
        generate(model, 2)
    with foretell.watch(model, checkpoints, segments=codes):
        second = foretell.watch(model, checkpoints, segments=codes)
        with pytest.raises(InputError, match="already being watched"), second:
            pass


def test_other_models_are_refused(model: Model, checkpoints: Monitor) -> None:
    others = {
        "weights": tiny_model(initializer_range=0.3),
        "made from tiny-llama": tiny_model(num_hidden_layers=2),
        "precision": tiny_model(dtype=torch.bfloat16),
        "chat template": replace(model, tokenizer=tiny_model().tokenizer),
    }
    others["chat template"].tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    for what, other in others.items():
        with pytest.raises(InputError, match=what), foretell.watch(other, checkpoints, conversations=ASKED[:2]):
            pass


@pytest.mark.slow
@pytest.mark.model
def test_smollm2_is_watched_with_the_numbers_of_its_run(smollm2: Model) -> None:
    asked = foretell.builtin_conversations("questions")[:24]
    hidden = {"layers": [10, 20], "dtype": "float32"}
    run = foretell.read(smollm2, asked, answers="generate", max_new_tokens=12, hidden=hidden, progress=False)
    sure = run.samples["mean_logprob"]
    label = run.samples.select(
        "id",
        behavior_label=(sure > sure.median()).cast(pl.Int8),
        label_source=pl.lit("made"),
        label_reason=pl.lit(None, dtype=pl.String),
    )
    run.write_labels(label)
    monitor = foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.5, confidence=0.6)
    table = monitor.apply(run)
    with torch.inference_mode(), foretell.watch(smollm2, monitor, conversations=asked[:6]) as watching:
        batch = pad_batch([render(smollm2, one, answer=None) for one in asked[:6]], pad_id=smollm2.pad_id)
        ids = {"input_ids": batch.token_ids, "attention_mask": batch.attention_mask}
        smollm2.model.generate(**ids, max_new_tokens=12, do_sample=False)  # type: ignore[operator]
    known = {(asked[one.sample].id, one.n_generated): one.score for one in watching.scored}
    rows = table.filter(pl.col("id").is_in([one.id for one in asked[:6]])).iter_rows(named=True)
    expected = {(row["id"], row["n_generated"]): row["score"] for row in rows}
    assert known.keys() == expected.keys()
    assert max(abs(known[key] - expected[key]) for key in known) < ROUNDING / 2
