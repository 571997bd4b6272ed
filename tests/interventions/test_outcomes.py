"""Outcomes against the model's own answers and against log-probabilities computed one text at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import foretell
from foretell.interventions.answer_contrasts import Answer, AnswerContrast
from foretell.interventions.changing.head_outputs import head_places
from foretell.interventions.changing.intervened import References
from foretell.interventions.changing.intervention import HeadIntervention
from foretell.interventions.changing.reference_values import reference_of
from foretell.interventions.outcomes import Measured
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.runs.answers import Sampling
from tests.interventions.toy import CAUSE, HEAD, answered, asked, toy_model

CONTRASTS = {
    "c000": AnswerContrast(Answer("+ab"), Answer("-")),
    "c003": AnswerContrast(Answer("", (9, 10)), Answer("z")),
}


@pytest.fixture(scope="module")
def toy() -> Model:
    return toy_model()


def measured(model: Model, *, batch_tokens: int = 4096, sampling: Sampling | None = None) -> Measured:
    references = References(head_places(model.model), {CAUSE: reference_of([torch.zeros(1, HEAD)], "zero")})
    return Measured(model, asked(8), CONTRASTS, references, sampling=sampling, batch_tokens=batch_tokens)


def test_log_odds_are_those_of_single_texts(toy: Model) -> None:
    found = measured(toy).outcomes(None).odds
    assert np.isfinite(found).tolist() == [one.id in CONTRASTS for one in asked(8)]
    for at, one in enumerate(asked(8)):
        contrast = CONTRASTS.get(one.id)
        if contrast is None:
            continue
        sums = []
        for answer in (contrast.positive, contrast.negative):
            item = render(toy, one, answer=answer.text or None, answer_token_ids=answer.token_ids)
            ids = torch.as_tensor(item.token_ids)
            with torch.no_grad():
                scores = toy.model(input_ids=ids[None]).logits[0].log_softmax(-1)
            places = range(item.n_prompt_tokens, len(ids))
            sums.append(sum(float(scores[place - 1, ids[place]]) for place in places))
        assert found[at] == pytest.approx(sums[0] - sums[1], abs=1e-4)


def test_labels_are_those_of_the_answers_that_are_read(toy: Model) -> None:
    run = answered(toy, 8)
    labels = measured(toy, sampling=Sampling(max_new_tokens=1)).outcomes(None).label
    assert labels.tolist() == run.samples["behavior_label"].to_list()
    sampled = Sampling(max_new_tokens=3, temperature=1.5, seed=4)
    drawn = foretell.read(toy, asked(8), answers="generate", max_new_tokens=3, temperature=1.5, seed=4, progress=False)
    expected = foretell.label(drawn)["behavior_label"].to_list()
    found = measured(toy, sampling=sampled).outcomes(None).label
    assert [None if np.isnan(one) else int(one) for one in found] == expected


def test_outcomes_do_not_depend_on_the_batches(toy: Model) -> None:
    removed = HeadIntervention((CAUSE,))
    together = measured(toy, sampling=Sampling(max_new_tokens=2)).outcomes(removed)
    alone = measured(toy, sampling=Sampling(max_new_tokens=2), batch_tokens=1).outcomes(removed)
    np.testing.assert_array_equal(together.label, alone.label)
    np.testing.assert_allclose(together.odds, alone.odds, atol=1e-4)
    plain = measured(toy, sampling=Sampling(max_new_tokens=2)).outcomes(None)
    assert (plain.label != together.label).any()


def test_without_generation_or_verifier_there_is_no_label(toy: Model) -> None:
    assert np.isnan(measured(toy).outcomes(None).label).all()
    bare = [replace(one, verifier=None) for one in asked(2)]
    found = Measured(toy, bare, {}, References(), sampling=Sampling(max_new_tokens=1)).outcomes(None)
    assert np.isnan(found.label).all()
    assert np.isnan(found.odds).all()
