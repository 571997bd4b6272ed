"""Listening while a model generates gives what reading the finished text gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from foretell.errors import InputError
from foretell.reading.capture.listen import listen
from foretell.reading.capture.results import Capture
from foretell.reading.hooks.attention_interface import AttentionCall
from foretell.reading.models.load import Model
from foretell.reading.models.signatures import cache_argument, cache_from
from foretell.reading.signals.attention_mass import RowReader, SegmentMass
from tests.reading import by_hand
from tests.reading.capture.test_listen import made_up_direction
from tests.reading.tiny import tiny_model

KINDS = ["llama", "qwen3", "gemma2", "gemma3_text", "mistral", "gpt2", "gpt_neox", "gpt_oss"]
N_NEW = 12


def finished(given: by_hand.Text, sequences: torch.Tensor, n_generated: np.ndarray) -> by_hand.Text:
    """The whole text with the generated tokens that count; others are masked."""
    n_new = sequences.shape[1] - given.segments.shape[1]
    codes = np.where(np.arange(n_new) < n_generated[:, None], 4, -1)
    return by_hand.Text(sequences, np.concatenate([given.segments, codes], axis=1))


def generate(model: Model, **options: Any) -> Any:
    network: Any = model.model
    return network.generate(**options)


def assert_same(first: Capture, second: Capture, tolerance: float = 1e-5) -> None:
    assert np.abs(first.mass - second.mass).max() < tolerance
    np.testing.assert_allclose(first.lift, second.lift, atol=20 * tolerance)
    np.testing.assert_allclose(first.logprob, second.logprob, atol=5 * tolerance)
    np.testing.assert_allclose(first.activity, second.activity, rtol=10 * tolerance, atol=20 * tolerance)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in KINDS),
        *((kind, {"use_cache": False}) for kind in ("llama", "gemma2", "gpt2")),
        *((kind, {"cache_implementation": "static"}) for kind in ("llama", "gemma3_text", "mistral")),
    ],
)
def test_generated_equals_teacher_forced(kind: str, options: dict[str, Any], generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((13, 0), (7, 0), (9, 0)))
    model = tiny_model(kind)
    direction = made_up_direction(generator, model.n_layers, model.width)
    settings = {"max_new_tokens": N_NEW, "do_sample": False, "disable_compile": True, **options}
    plain = generate(model, **given.prompts, **settings)
    with listen(model, given.segments, directions=[direction], previous_token=True) as capture:
        sequences = generate(model, **given.prompts, **settings)
    assert torch.equal(plain, sequences)
    whole = finished(given, sequences, capture.n_generated)
    assert capture.mass.shape[:2] == (3, model.n_layers)
    with torch.no_grad(), listen(model, whole.segments, directions=[direction], previous_token=True) as forced:
        model.model(**whole.inputs)
    assert_same(capture, forced)
    np.testing.assert_allclose(capture.row_previous_token, forced.row_previous_token, atol=1e-5)


def test_rows_after_the_end_of_a_sequence_do_not_count(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((13, 0), (7, 0), (9, 0)))
    model = tiny_model()
    free = generate(model, **given.prompts, max_new_tokens=N_NEW, do_sample=False)
    end = int(free[0, given.segments.shape[1] + 4])
    with listen(model, given.segments) as capture:
        sequences = generate(model, **given.prompts, max_new_tokens=N_NEW, do_sample=False, eos_token_id=end)
    expected = []
    for row in sequences[:, given.segments.shape[1] :].tolist():
        expected.append(row.index(end) + 1 if end in row else len(row))
    assert list(capture.n_generated) == expected
    assert min(expected) < max(expected)
    whole = finished(given, sequences, capture.n_generated)
    with torch.no_grad(), listen(model, whole.segments) as forced:
        model.model(**whole.inputs)
    assert_same(capture, forced)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_loop_of_ones_own_calls_finish(mode: Any, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((11, 0), (6, 0)))
    model = tiny_model()
    with mode(), listen(model, given.segments) as capture:
        token_ids, mask, cache, step = given.token_ids, given.attention_mask, None, given.token_ids
        for _ in range(5):
            positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -step.shape[1] :]
            memory = {cache_argument(model.model): cache}
            output = model.model(input_ids=step, attention_mask=mask, position_ids=positions, use_cache=True, **memory)
            cache, step = cache_from(output), output.logits[:, -1:].argmax(-1)
            token_ids = torch.cat([token_ids, step], dim=1)
            mask = torch.cat([mask, torch.ones_like(step)], dim=1)
        capture.finish(token_ids)
        capture.finish(token_ids)
    whole = finished(given, token_ids, capture.n_generated)
    with torch.no_grad(), listen(model, whole.segments) as forced:
        model.model(**whole.inputs)
    assert_same(capture, forced)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt_oss"])
def test_decode_steps_are_deferred_and_read_together(
    kind: str, monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator
) -> None:
    given = by_hand.text(generator, ((13, 0), (7, 0)))
    model = tiny_model(kind)
    direction = made_up_direction(generator, model.n_layers, model.width)
    calls: list[int] = []
    of_calls = RowReader.of_calls

    def counted(reader: RowReader, joined: Sequence[AttentionCall], factors: torch.Tensor | None) -> SegmentMass:
        calls.append(joined[0].query.shape[2])
        return of_calls(reader, joined, factors)

    wanted: dict[str, Any] = {"directions": [direction], "contribution": True, "entropy": True}
    settings: dict[str, Any] = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": None}
    with listen(model, given.segments, **wanted) as capture:
        monkeypatch.setattr(RowReader, "of_calls", counted)
        sequences = generate(model, **given.prompts, **settings)
        _ = capture.mass
        monkeypatch.undo()
    # 32 steps and then 8, of all layers that see every token at once.
    assert calls.count(32) == calls.count(8) == 1
    whole = finished(given, sequences, capture.n_generated)
    with torch.no_grad(), listen(model, whole.segments, **wanted) as forced:
        model.model(**whole.inputs)
    assert_same(capture, forced)
    assert np.abs(capture.contribution - forced.contribution).max() < 1e-5
    assert list(capture.projected) == list(forced.projected)
    np.testing.assert_allclose(capture.token_entropy, forced.token_entropy, atol=1e-4)


def test_results_can_be_read_between_steps(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((13, 0), (7, 0)))
    model = tiny_model()
    seen: list[np.ndarray] = []

    class Asking(LogitsProcessor):
        def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
            if input_ids.shape[1] > given.segments.shape[1]:
                seen.append(capture.mass)
            return scores

    settings: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    with listen(model, given.segments) as capture:
        generate(model, **given.prompts, **settings, logits_processor=LogitsProcessorList([Asking()]))
    assert len(seen) == 5
    for n_tokens, mass in enumerate(seen, start=1):
        assert np.abs(mass - capture.mass_after(n_tokens)).max() < 1e-6


def test_sampling_and_dictionary_output_are_read_too(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((11, 0), (6, 0)))
    model = tiny_model()
    torch.manual_seed(3)
    with listen(model, given.segments) as capture:
        output = generate(
            model,
            **given.prompts,
            max_new_tokens=6,
            do_sample=True,
            temperature=3.0,
            top_k=0,
            return_dict_in_generate=True,
        )
    whole = finished(given, output.sequences, capture.n_generated)
    with torch.no_grad(), listen(model, whole.segments) as forced:
        model.model(**whole.inputs)
    assert_same(capture, forced)


def test_a_second_generation_starts_afresh(generator: np.random.Generator) -> None:
    first, second = (by_hand.text(generator, ((11, 0), (6, 0))) for _ in range(2))
    model = tiny_model()
    with listen(model, second.segments) as alone:
        generate(model, **second.prompts, max_new_tokens=4, do_sample=False)
    with listen(model, second.segments) as capture:
        generate(model, **first.prompts, max_new_tokens=7, do_sample=False)
        generate(model, **second.prompts, max_new_tokens=4, do_sample=False)
    np.testing.assert_array_equal(alone.mass, capture.mass)


def test_beams_and_late_finishing_are_refused(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((11, 0), (6, 0)))
    model = tiny_model()
    with pytest.raises(InputError, match="for 2 samples, and the model got 4"), listen(model, given.segments):
        generate(model, **given.prompts, max_new_tokens=4, num_beams=2, do_sample=False)
    with torch.no_grad(), listen(model, given.segments) as capture:
        model.model(**given.inputs)
    with pytest.raises(InputError, match="the block of listen has been left"):
        capture.finish(torch.cat([given.token_ids, given.token_ids[:, :1]], dim=1))


@pytest.mark.parametrize("places", [[1, 0], [0, 0], None])
@pytest.mark.parametrize("most_steps", [1, 2, 32])
@pytest.mark.parametrize("moved_after", [2, 3])
def test_a_loop_that_moves_samples_in_the_cache_is_refused(
    moved_after: int,
    most_steps: int,
    places: list[int] | None,
    monkeypatch: pytest.MonkeyPatch,
    generator: np.random.Generator,
) -> None:
    """Also when both samples wrote the same tokens since."""
    given = by_hand.text(generator, ((11, 0), (11, 0)))
    model = tiny_model()
    monkeypatch.setattr("foretell.reading.capture.decode_steps._MOST_STEPS", most_steps)

    def write(n_steps: int) -> None:
        cache = cache_from(model.model(**given.prompts, use_cache=True))
        for step in range(n_steps):
            if step == moved_after and places is not None:
                cache.reorder_cache(torch.tensor(places))
            model.model(input_ids=torch.full((2, 1), 7), use_cache=True, **{cache_argument(model.model): cache})

    with torch.no_grad(), listen(model, given.segments) as capture:
        if places is None:
            write(5)
            assert capture.n_generated.tolist() == [5, 5]
        else:
            with pytest.raises(InputError, match="samples changed places between two steps"):
                write(5)


@pytest.mark.model
def test_smollm2_generated_equals_teacher_forced(smollm2: Model, generator: np.random.Generator) -> None:
    given = by_hand.text(generator, ((30, 0), (18, 0)), n_tokens=40000)
    direction = made_up_direction(generator, smollm2.n_layers, smollm2.width)
    with listen(smollm2, given.segments, directions=[direction]) as capture:
        sequences = generate(smollm2, **given.prompts, max_new_tokens=10, do_sample=False, pad_token_id=2)
    whole = finished(given, sequences, capture.n_generated)
    with torch.no_grad(), listen(smollm2, whole.segments, directions=[direction]) as forced:
        smollm2.model(**whole.inputs)
    assert np.abs(capture.mass - forced.mass).max() < 1e-5
    np.testing.assert_allclose(capture.logprob, forced.logprob, atol=2e-4)
    # Hidden states of this model reach thousands, so agreement is relative.
    np.testing.assert_allclose(capture.activity, forced.activity, rtol=2e-3, atol=2e-3)
