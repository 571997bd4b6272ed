"""Where a sample's answer ends, however it ended: the tokens that count are those that `generate` meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from foretell.reading.capture.listen import listen
from foretell.reading.models.load import Model
from tests.reading import by_hand
from tests.reading.oracle import assert_captured
from tests.reading.tiny import tiny_model

N_NEW = 8
LENGTHS = ((13, 0), (7, 0), (9, 0))


class After(StoppingCriteria):
    """Ends the samples at given numbers of tokens."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> Any:
        return self.lengths <= input_ids.shape[1]


def free_answers(model: Model, given: by_hand.Text) -> torch.Tensor:
    network: Any = model.model
    answers: torch.Tensor = network.generate(**given.prompts, max_new_tokens=N_NEW, do_sample=False, eos_token_id=None)
    return answers[:, given.segments.shape[1] :]


def ends_at(answers: torch.Tensor, ends: set[int]) -> list[int]:
    """Tokens of each sample up to its first end, the end included."""
    return [next((place + 1 for place, token in enumerate(row) if token in ends), len(row)) for row in answers.tolist()]


@pytest.mark.parametrize("where", ["config argument", "keyword", "model's own", "list", "pad is end"])
def test_end_tokens_wherever_they_are_configured(where: str, generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    answers = free_answers(model, given)
    end = int(answers[0, 2])
    expected = ends_at(answers, {end, int(answers[1, 5])} if where == "list" else {end})
    options: dict[str, Any] = {"max_new_tokens": N_NEW, "do_sample": False}
    if where == "config argument":
        options = {"generation_config": GenerationConfig(**options, eos_token_id=end, pad_token_id=0)}  # type: ignore[no-untyped-call]
    elif where == "model's own":
        model.model.generation_config.eos_token_id = end
    elif where == "list":
        options["eos_token_id"] = [end, int(answers[1, 5])]
    elif where == "pad is end":
        options |= {"eos_token_id": end, "pad_token_id": end}
    else:
        options["eos_token_id"] = end
    check(model, given, options, expected)


@pytest.mark.parametrize("lengths", [[3, 6, 5], [2, 2, 2], [8, 1, 8]])
def test_stopping_criteria_of_ones_own(lengths: list[int], generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    criteria = StoppingCriteriaList([After([given.segments.shape[1] + length for length in lengths])])
    options = {"max_new_tokens": N_NEW, "do_sample": False, "eos_token_id": None, "stopping_criteria": criteria}
    check(model, given, options, lengths)


class Dictated(LogitsProcessor):
    """Lets the samples write given texts, one character per token."""

    def __init__(self, model: Model, texts: list[str], n_prompt: int) -> None:
        self.token_ids: Any = [model.tokenizer.convert_tokens_to_ids(list(text)) for text in texts]
        self.n_prompt = n_prompt

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        place = input_ids.shape[1] - self.n_prompt
        forced = torch.full_like(scores, -torch.inf)
        for sample, token_ids in enumerate(self.token_ids):
            forced[sample, token_ids[place]] = 0.0
        return forced


def test_stop_strings_end_the_sample_that_writes_them(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    model.model.generation_config.eos_token_id = None
    texts = ["xSTOPxxx", "xxxSTOPx", "STOxxxxx"]
    options = {
        "max_new_tokens": N_NEW,
        "do_sample": False,
        "stop_strings": ["STOP"],
        "tokenizer": model.tokenizer,
        "logits_processor": LogitsProcessorList([Dictated(model, texts, given.segments.shape[1])]),
    }
    check(model, given, options, [5, 7, 8])


def test_a_time_limit_ends_all(generator: np.random.Generator) -> None:
    given, model = by_hand.text(generator, LENGTHS), tiny_model()
    options = {"max_new_tokens": 50, "do_sample": False, "eos_token_id": None, "max_time": 1e-9}
    network: Any = model.model
    n_new = network.generate(**given.prompts, **options).shape[1] - given.segments.shape[1]
    check(model, given, options, [n_new] * 3)


def check(model: Model, given: by_hand.Text, options: dict[str, Any], expected: list[int]) -> None:
    """Fail unless just these tokens count, and their numbers are those of the texts alone."""
    network: Any = model.model
    with listen(model, given.segments) as capture:
        sequences = network.generate(**given.prompts, **options)
    assert list(capture.n_generated) == expected
    for sample, n_tokens in enumerate(expected):
        n_columns = given.segments.shape[1] + n_tokens
        codes = np.pad(given.segments[sample], (0, n_tokens), constant_values=4)
        assert_captured(capture, sample, model, sequences[sample, :n_columns], codes)
