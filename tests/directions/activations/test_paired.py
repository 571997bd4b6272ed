"""Hidden states of contrast pairs: the model library's own, whatever the batch, the padding or the shared beginning."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foretell.conversations.pairs import ContrastPair
from foretell.directions.activations import paired as module
from foretell.directions.activations.answer_batches import answer_batches, answer_tokens, shared_prefix
from foretell.directions.activations.paired import TokenChoice, read_activations, stream_activations
from foretell.directions.contrasts import Contrast
from foretell.errors import InputError
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from tests.reading.by_hand import capture_residual
from tests.reading.tiny import tiny_model

PAIRS = [
    ContrastPair("a", "one", "Who?", "It was Ann.", "It was Bo."),
    ContrastPair("b", "two", "Where is it, exactly?", "Far away from here.", "Here."),
    ContrastPair("c", "one", "When?", "No.", "It was long ago, they say."),
    ContrastPair("d", "two", "Why, after all?", "So.", "No."),
]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


def by_hand(model: Model, pair: ContrastPair, side: int) -> tuple[np.ndarray, float]:
    """`(token, layer, width)` of one answer's tokens and their mean log-probability, from one unpadded pass."""
    conversation, answer = pair.conversation("positive" if side == 0 else "negative")
    one = render(model, conversation, answer=answer)
    token_ids = torch.as_tensor(one.token_ids)[None]
    hidden = capture_residual(model.model, input_ids=token_ids)[:, 0].numpy()
    positions = np.flatnonzero(one.segments == 4)
    with torch.no_grad():
        scores = model.model(input_ids=token_ids).logits[0].log_softmax(-1)
    logprob = [float(scores[position - 1, token_ids[0, position]]) for position in positions]
    return hidden[:, positions].swapaxes(0, 1), float(np.mean(logprob))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gpt_neox", "gemma2", "mistral"])
def test_hidden_states_and_logprobs_equal_unpadded_passes(kind: str) -> None:
    tiny = tiny_model(kind)
    last, mean = (read_activations(tiny, PAIRS, tokens=choice, progress=False) for choice in ("last", "mean"))
    for index, pair in enumerate(PAIRS):
        for side in (0, 1):
            hidden, logprob = by_hand(tiny, pair, side)
            scale = np.abs(hidden).max()
            np.testing.assert_allclose(last.hidden[index, side], hidden[-1], atol=1e-5 * scale)
            np.testing.assert_allclose(mean.hidden[index, side], hidden.mean(axis=0), atol=1e-5 * scale)
            assert last.facts.n_tokens[index, side] == len(hidden)
            assert last.facts.mean_logprob[index, side] == pytest.approx(logprob, abs=1e-4)


def test_every_token_faces_its_counterpart_from_the_end(model: Model) -> None:
    every = read_activations(model, PAIRS, tokens="every", progress=False)
    for index, pair in enumerate(PAIRS):
        positive, negative = by_hand(model, pair, 0)[0], by_hand(model, pair, 1)[0]
        common = min(len(positive), len(negative))
        rows = every.hidden[every.row_pair == index]
        assert len(rows) == common
        np.testing.assert_allclose(rows[:, 0], positive[-common:], atol=1e-4)
        np.testing.assert_allclose(rows[:, 1], negative[-common:], atol=1e-4)


@pytest.mark.parametrize("choice", ["last", "mean", "every"])
def test_batches_do_not_change_what_is_read(model: Model, choice: TokenChoice) -> None:
    single = read_activations(model, PAIRS, tokens=choice, batch_tokens=1, progress=False)
    whole = read_activations(model, PAIRS, tokens=choice, batch_tokens=10**6, progress=False)
    np.testing.assert_allclose(single.hidden, whole.hidden, atol=1e-4)
    np.testing.assert_array_equal(single.row_pair, whole.row_pair)
    np.testing.assert_allclose(single.facts.calibration, whole.facts.calibration, atol=1e-4)
    np.testing.assert_allclose(single.facts.mean_logprob, whole.facts.mean_logprob, atol=1e-5)


@pytest.mark.parametrize(("kind", "shares"), [("llama", True), ("gpt2", True), ("gpt_neox", True), ("gemma2", False)])
def test_a_shared_beginning_changes_nothing(kind: str, shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_model(kind)
    assert (shared_prefix(tiny, answer_tokens(tiny, PAIRS)) is not None) == shares
    shared = read_activations(tiny, PAIRS, progress=False)
    monkeypatch.setattr(module, "shared_prefix", lambda *_: None)
    whole = read_activations(tiny, PAIRS, progress=False)
    scale = np.abs(whole.hidden).max()
    np.testing.assert_allclose(shared.hidden, whole.hidden, atol=1e-5 * scale)
    np.testing.assert_allclose(shared.facts.mean_logprob, whole.facts.mean_logprob, atol=1e-4)


def test_a_prefix_never_swallows_the_token_that_predicts_the_answer(model: Model) -> None:
    twins = [replace(PAIRS[0], positive="aaa", negative="aab")]
    answers = answer_tokens(model, twins)
    prefix = shared_prefix(model, answers)
    assert prefix is not None
    assert prefix.get_seq_length() == answers[0][0].n_prompt_tokens - 1
    facts = read_activations(model, twins, progress=False).facts
    assert facts.mean_logprob[0, 0] == pytest.approx(by_hand(model, twins[0], 0)[1], abs=1e-4)


def test_batches_keep_pairs_whole_and_within_the_budget(model: Model) -> None:
    answers = answer_tokens(model, PAIRS * 5)
    batches = list(answer_batches(model, answers, n_prefix=0, batch_tokens=800))
    assert sorted(index for batch in batches for index in batch.pair.tolist()) == list(range(20))
    assert all(batch.attention_mask.numel() <= 800 for batch in batches)
    assert len(batches) > 2
    assert all(len(batch.lengths) == 2 * len(batch.pair) for batch in batches)


def test_calibration_holds_every_answer_token_in_order(model: Model) -> None:
    facts = read_activations(model, PAIRS, progress=False).facts
    expected = np.concatenate([by_hand(model, pair, side)[0] for pair in PAIRS for side in (0, 1)])
    np.testing.assert_allclose(facts.calibration, expected, atol=1e-4)
    np.testing.assert_array_equal(facts.calibration_pair, np.repeat(np.arange(4), facts.n_tokens.sum(axis=1)))


def test_calibration_stays_within_its_bytes_and_serves_all_topics(model: Model) -> None:
    many = [replace(pair, id=f"{pair.id}{index}", topic="x" if index else pair.topic)
            for index in range(10) for pair in PAIRS]  # fmt: skip
    n_bytes = 12 * 40 * 4 * model.n_layers * model.width
    facts = read_activations(model, many, calibration_bytes=n_bytes, progress=False).facts
    assert facts.calibration.nbytes <= n_bytes
    assert {many[index].topic for index in facts.calibration_pair} == {"one", "two", "x"}
    again = read_activations(model, many, calibration_bytes=n_bytes, progress=False).facts
    np.testing.assert_array_equal(facts.calibration_pair, again.calibration_pair)
    other = read_activations(model, many, calibration_bytes=n_bytes, seed=1, progress=False).facts
    assert set(other.calibration_pair) != set(facts.calibration_pair)


def test_sums_while_reading_equal_sums_of_what_was_stored(model: Model) -> None:
    stored = read_activations(model, PAIRS, tokens="mean", progress=False)
    sums = Contrast()
    stream_activations(model, PAIRS, [sums], tokens="mean", batch_tokens=200, progress=False)
    hidden = stored.hidden.astype(np.float64)
    layers = range(model.n_layers)
    difference = np.array([sums.difference[layer] for layer in layers]) / len(PAIRS)
    size = np.array([sums.size[layer] for layer in layers]) / len(PAIRS)
    np.testing.assert_allclose(difference, (hidden[:, 0] - hidden[:, 1]).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(size, np.square(hidden).mean(axis=(0, 1)), rtol=1e-5)
    distance = np.array([sums.distance[layer] for layer in layers]) / len(PAIRS)
    np.testing.assert_allclose(distance, np.square(hidden[:, 0] - hidden[:, 1]).mean(axis=0), rtol=1e-4)


def test_hooks_are_gone_after_a_sink_fails(model: Model) -> None:
    class Failing:
        def add(self, layer: int, pair: Int[np.ndarray, " row"], hidden: Float[Tensor, "row side width"]) -> None:
            raise ValueError("full")

    def n_hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules())

    before = n_hooks()
    with pytest.raises(ValueError, match="full"):
        stream_activations(model, PAIRS, [Failing()], progress=False)
    assert n_hooks() == before


def test_what_cannot_be_read_is_said(model: Model) -> None:
    with pytest.raises(InputError, match="no contrast pairs"):
        read_activations(model, [], progress=False)
    with pytest.raises(InputError, match='pair "e": its negative answer has no tokens'):
        read_activations(model, [ContrastPair("e", "t", "q", "yes", "")], progress=False)
    with pytest.raises(InputError, match='one of last, mean, every, not "first"'):
        inspect.unwrap(stream_activations)(model, PAIRS, [Contrast()], tokens="first", progress=False)
