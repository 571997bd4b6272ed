"""Which heads can be isolated, and what is refused."""

from __future__ import annotations

import pytest
from transformers import PreTrainedModel

from foretell.errors import InputError, NotReadableError
from foretell.interventions.changing.head_outputs import head_places
from foretell.reading.hooks import output_projection
from foretell.reading.models.trial import trial_text
from tests.reading.every_architecture import build
from tests.reading.hooks.test_output_projection import model_with
from tests.reading.tiny import tiny_model


def made(kind: str) -> PreTrainedModel:
    network, reason = build(kind, runs=lambda one: one(**trial_text(one)[0]))
    assert network is not None, reason
    return network


def test_heads_are_query_heads_also_where_they_share_keys() -> None:
    places = head_places(tiny_model("llama", num_key_value_heads=1).model)
    assert places.n_heads == {0: 4, 1: 4, 2: 4}
    assert (places.n_layers, sorted(places.projections), places.path) == (3, [0, 1, 2], "interface")


@pytest.mark.filterwarnings("ignore")
def test_attention_that_calls_the_kernel_itself_is_observed_there() -> None:
    places = head_places(made("falcon"))
    assert (places.path, places.n_heads) == ("kernel", {0: 4, 1: 4})


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ((3, 0), "there is no layer 3; LlamaForCausalLM has layers 0 to 2"),
        ((-1, 0), "there is no layer -1"),
        ((1, 4), "there is no head 4 in layer 1; it has heads 0 to 3"),
        ((1, -1), "there is no head -1 in layer 1"),
    ],
)
def test_heads_that_do_not_exist_are_refused(head: tuple[int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        head_places(tiny_model().model).check([head])


def test_heads_behind_a_gate_are_refused_and_those_of_other_layers_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_projection, "_PATHS", {})
    places = head_places(model_with("a gate", layers=(2,)))
    places.check([(0, 0), (1, 3)])
    with pytest.raises(NotReadableError, match="the heads of layer 2 cannot be isolated"):
        places.check([(2, 0)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gptj", "GPTJForCausalLM: its heads cannot be isolated, because its attention is computed neither"),
        ("mamba", "MambaForCausalLM: its heads cannot be isolated"),
    ],
)
def test_models_whose_attention_is_not_observed_are_refused(kind: str, message: str) -> None:
    with pytest.raises(NotReadableError, match=message):
        head_places(made(kind))


@pytest.mark.filterwarnings("ignore")
def test_a_layer_without_attention_has_no_heads() -> None:
    places = head_places(made("jamba"))
    places.check([(1, 0)])
    with pytest.raises(InputError, match="layer 0 of JambaForCausalLM has no attention heads"):
        places.check([(0, 0)])
