"""Interventions against what is computed without them: edited weights, plain hooks, and eager attention by hand."""

from __future__ import annotations

import copy
import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from foretell.interventions.changing.attention_knockout import check_knockout
from foretell.interventions.changing.fed_tokens import FedTokens
from foretell.interventions.changing.head_outputs import head_places
from foretell.interventions.changing.intervened import References, intervened
from foretell.interventions.changing.intervention import (
    DirectionIntervention,
    Head,
    HeadIntervention,
    Intervention,
)
from foretell.interventions.changing.reference_values import Reference, reference_of
from foretell.reading.hooks.output_projection import output_projections
from foretell.reading.models.blocks import decoder_blocks
from foretell.reading.models.load import Model
from foretell.reading.models.trial import trial_text
from tests.reading.every_architecture import build
from tests.reading.tiny import tiny_model, tiny_tokenizer

SEGMENTS = torch.tensor([[3, 0, 0, 1, 1, 2, 2, 3, 4, 4, 4], [-1, -1, -1, 3, 0, 1, 2, 2, 3, 4, 4]])
IDS = torch.tensor(np.random.default_rng(3).integers(10, 250, SEGMENTS.shape))
KINDS = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral", "gpt2", "gpt_neox", "gpt_oss")
EAGER = {"gemma2", "gpt_oss"}
OTHERS = ("falcon", "mixtral", "olmo2", "starcoder2", "phi", "stablelm", "cohere", "opt")


def model_of(kind: str) -> Model:
    if kind in KINDS:
        return tiny_model(kind, attention="eager" if kind in EAGER else None)
    network, reason = build(kind, runs=lambda one: one(**trial_text(one)[0]))
    assert network is not None, reason
    return Model(network, tiny_tokenizer(), kind)


def logits(
    model: Model,
    intervention: Intervention | None,
    references: References,
    ids: Tensor = IDS,
    segments: Tensor = SEGMENTS,
) -> Tensor:
    """Logits at the real tokens."""
    fed = FedTokens(segments, torch.arange(len(ids)))
    with torch.no_grad(), intervened(model, intervention, fed, references):
        found: Tensor = model.model(input_ids=ids, attention_mask=(segments >= 0).long(), use_cache=False).logits
    return found[segments >= 0]


def replaced(model: Model, heads: tuple[Head, ...], value: float = 0.0) -> References:
    """References that replace heads by a constant."""
    places = head_places(model.model)
    places.check(heads)
    projections = output_projections(model.model)
    found = {}
    for layer, head in heads:
        width = width_of(projections[layer]) // places.n_heads[layer]
        found[layer, head] = reference_of([torch.full((3, width), value)], "mean")
    return References(places, found)


def width_of(projection: nn.Module) -> int:
    weight = projection.get_parameter("weight")
    return int(weight.shape[0] if isinstance(projection, Conv1D) else weight.shape[1])


def without_columns(network: PreTrainedModel, heads: tuple[Head, ...], n_heads: int) -> PreTrainedModel:
    """A copy whose output projections have no columns for some heads."""
    found = copy.deepcopy(network)
    for layer, head in heads:
        projection = output_projections(found)[layer]
        width = width_of(projection) // n_heads
        weight = projection.get_parameter("weight").data
        columns = weight if isinstance(projection, Conv1D) else weight.T
        columns[width * head : width * (head + 1)] = 0.0
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_a_zeroed_head_is_one_without_its_columns_of_the_output_projection(kind: str) -> None:
    model = model_of(kind)
    heads = ((0, 3), (1, 1), (1, 2))
    references = replaced(model, heads)
    found = logits(model, HeadIntervention(heads), references)
    assert references.places is not None
    edited = Model(without_columns(model.model, heads, references.places.n_heads[0]), model.tokenizer, kind)
    torch.testing.assert_close(found, logits(edited, None, References()), rtol=1e-4, atol=1e-4)
    assert (found - logits(model, None, References())).abs().max() > 1e-2


def attention_by_hand(forward: Callable[..., Any], layers: dict[nn.Module, int], head: Head, is_hidden: Tensor) -> Any:
    """The eager attention of a model, whose weights of one head are 0 at hidden keys and shared out anew."""

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        output, weights = forward(module, query, key, value, mask, **options)
        if layers.get(module) == head[0]:
            eye = torch.eye(weights.shape[-1], dtype=torch.bool)
            own = weights[:, head[1]] * (eye | ~is_hidden[:, None])
            own = own / own.sum(-1, keepdim=True)
            group = head[1] // (query.shape[1] // value.shape[1])
            output = output.clone()
            output[:, :, head[1]] = own @ value[:, group]
        return output, weights

    return attend


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma", "gemma3_text", "mistral", "gpt2", "gpt_neox"])
def test_a_masked_segment_is_eager_attention_without_its_weights(
    kind: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, eager = tiny_model(kind, attention=attention), tiny_model(kind, attention="eager")
    head, code = (1, 2), 1
    found = logits(model, HeadIntervention((head,), "prompt"), References(head_places(model.model)))
    blocks = decoder_blocks(eager.model)
    layers = {module: layer for layer, block in enumerate(blocks) for module in block.modules()}
    home = importlib.import_module(type(blocks[0]).__module__)
    by_hand = attention_by_hand(home.eager_attention_forward, layers, head, torch.eq(SEGMENTS, code))
    monkeypatch.setattr(home, "eager_attention_forward", by_hand)
    expected = logits(eager, None, References())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    monkeypatch.undo()
    assert (found - logits(eager, None, References())).abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["gpt_oss", "gemma2", "falcon", "qwen3"])
def test_attention_of_every_kind_can_be_computed_with_another_mask(kind: str) -> None:
    model = model_of(kind)
    places = head_places(model.model)
    check_knockout(model, places)
    plain = logits(model, None, References())
    nowhere = SEGMENTS.masked_fill(SEGMENTS == 0, 1)
    unmasked = logits(model, HeadIntervention(((0, 1),), "system"), References(places), segments=nowhere)
    torch.testing.assert_close(unmasked, plain, rtol=1e-4, atol=1e-4)
    assert (logits(model, HeadIntervention(((0, 1),), "system"), References(places)) - plain).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_removed_direction_is_projected_out_by_a_plain_hook(kind: str) -> None:
    model = tiny_model(kind)
    vector = np.random.default_rng(1).normal(size=model.width)
    vector /= np.linalg.norm(vector)
    unit = torch.as_tensor(vector, dtype=torch.float32)

    def project_out(_module: object, _inputs: object, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        left = hidden - (hidden @ unit)[..., None] * unit
        return (left, *output[1:]) if isinstance(output, tuple) else left

    removed = DirectionIntervention("x", 1, vector, vector)
    references = References(directions={("x", 1): reference_of([torch.ones(2, 1)], "zero")})
    found = logits(model, removed, references)
    handle = decoder_blocks(model.model)[1].register_forward_hook(project_out)
    expected = logits(model, None, References())
    handle.remove()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_control_of_a_direction_changes_states_by_as_much() -> None:
    model = tiny_model()
    generator = np.random.default_rng(2)
    read, written = (one / np.linalg.norm(one) for one in generator.normal(size=(2, model.width)))
    references = References(directions={("x", 0): reference_of([torch.full((2, 1), 0.3)], "mean")})
    states: list[Tensor] = []
    handle = decoder_blocks(model.model)[1].register_forward_pre_hook(lambda _, given: states.append(given[0].clone()))
    for one in (None, DirectionIntervention("x", 0, read, read), DirectionIntervention("x", 0, read, written)):
        logits(model, one, references)
    handle.remove()
    own, control = ((changed - states[0]).norm(dim=-1) for changed in states[1:])
    torch.testing.assert_close(own, control)
    projection = (states[1] @ torch.as_tensor(read, dtype=torch.float32)).flatten()
    torch.testing.assert_close(projection, torch.full_like(projection, 0.3), rtol=0, atol=1e-5)


def interventions(model: Model) -> list[tuple[Intervention, References]]:
    """One of every kind, whose values differ by sample and position."""
    places = head_places(model.model)
    vector = np.eye(model.width)[5]
    generator = torch.Generator().manual_seed(0)
    donors = [torch.randn(length, 8, generator=generator) for length in (4, 7)]
    along = [one[:, :1] for one in donors]
    references = References(
        places,
        {(1, 2): reference_of(donors, "resample")},
        {("x", 1): reference_of(along, "resample")},
    )
    every: tuple[Intervention, ...] = (
        HeadIntervention(((1, 2),)),
        HeadIntervention(((0, 1), (1, 3)), "prompt"),
        HeadIntervention(((2, 0),), "generated"),
        DirectionIntervention("x", 1, vector, vector),
        DirectionIntervention("x", 1, vector, vector, dose=2.0, length=1.5),
    )
    return [(one, references) for one in every]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_numbers_do_not_depend_on_the_batch_or_on_a_cache(kind: str, place: int) -> None:
    model = tiny_model(kind)
    intervention, references = interventions(model)[place]
    together = logits(model, intervention, references)
    alone = []
    for sample in range(2):
        real = SEGMENTS[sample] >= 0
        fed = FedTokens(SEGMENTS[[sample]][:, real], torch.tensor([sample]))
        # Prompt first, then the answer token by token, as generating feeds them.
        ids, cache, found = IDS[[sample]][:, real], None, []
        n_prompt = int((SEGMENTS[sample][real] != 4).sum())
        with torch.no_grad(), intervened(model, intervention, fed, references):
            for first, end in [(0, n_prompt), *((at, at + 1) for at in range(n_prompt, ids.shape[1]))]:
                output = model.model(input_ids=ids[:, first:end], past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                found.append(output.logits)
        alone.append(torch.cat(found, dim=1)[0])
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-3)
    assert (together - logits(model, None, References())).abs().max() > 1e-3


@pytest.mark.parametrize("place", range(5))
def test_nothing_outside_the_block_is_disturbed_and_nothing_is_left(place: int) -> None:
    model = tiny_model()
    plain = logits(model, None, References())
    weights = copy.deepcopy(model.model.state_dict())
    intervention, references = interventions(model)[place]
    hooks = [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in model.model.modules()]
    beside: list[Tensor] = []
    fed = FedTokens(SEGMENTS, torch.arange(2))
    with torch.no_grad(), intervened(model, intervention, fed, references):
        thread = threading.Thread(target=lambda: beside.append(logits(model, None, References())))
        thread.start()
        thread.join()
        inside = model.model(input_ids=IDS, attention_mask=(SEGMENTS >= 0).long()).logits[SEGMENTS >= 0]
    assert torch.equal(beside[0], plain)
    assert not torch.equal(inside, plain)
    with (
        pytest.raises(RuntimeError, match="stop"),
        intervened(model, intervention, FedTokens(SEGMENTS, torch.arange(2)), references),
    ):
        raise RuntimeError("stop")
    assert torch.equal(logits(model, None, References()), plain)
    assert [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in model.model.modules()] == hooks
    assert all(torch.equal(weights[name], one) for name, one in model.model.state_dict().items())


def test_a_dose_is_added_from_the_last_token_of_the_prompt_on() -> None:
    model = tiny_model()
    vector = np.eye(model.width)[5]
    states: list[Tensor] = []
    handle = decoder_blocks(model.model)[1].register_forward_pre_hook(lambda _, given: states.append(given[0].clone()))
    added = DirectionIntervention("x", 0, vector, vector, dose=2.0, length=1.5)
    for one in (None, added):
        logits(model, one, References())
    handle.remove()
    moved = (states[1] - states[0])[..., 5]
    expected = torch.zeros(SEGMENTS.shape)
    expected[0, 7:], expected[1, 8:] = 1.5, 1.5
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_resampled_values_are_those_of_the_same_position_of_the_donor() -> None:
    reference = reference_of([torch.arange(3.0)[:, None], 10 + torch.arange(5.0)[:, None]], "resample")
    assert isinstance(reference, Reference)
    found = reference.at(torch.tensor([0, 1, 2]), torch.tensor([[0, 1, 4]] * 3))[..., 0]
    assert found.tolist() == [[0.0, 1.0, 1.0], [10.0, 11.0, 14.0], [0.0, 1.0, 1.0]]
    mean = reference_of([torch.tensor([[1.0]]), torch.tensor([[2.0], [6.0]])], "mean")
    assert mean.at(torch.tensor([5]), torch.tensor([[0, 9]])).flatten().tolist() == [3.0, 3.0]
