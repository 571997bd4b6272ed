"""From a labelled run to verdicts: a toy model in which the cause is known, and what is refused or cannot be said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

import foretell
from foretell.directions.direction import Direction
from foretell.errors import InputError, NotReadableError
from foretell.interventions.changing.intervention import Ablation
from foretell.interventions.outcomes import Measured
from foretell.reading.models.load import Model
from foretell.schema.tables import CAUSES
from foretell.storage.runs import Run
from tests.directions.test_direction import direction_for
from tests.interventions.changing.test_head_outputs import made as made_network
from tests.interventions.toy import ANSWER as ANSWER_AXIS
from tests.interventions.toy import ANSWERS, BYSTANDER, CAUSE, PUSHER, WIDTH, answered, asked, toy_model

N = 44
NULLS = [(0, 5), (1, 9)]
QUICK: dict[str, Any] = {"n_controls": 6, "progress": False}


def answers_of(n: int) -> dict[str, tuple[str, str]]:
    return {one.id: ANSWERS for one in asked(n)}


@pytest.fixture(scope="module")
def made() -> tuple[Model, Run]:
    model = toy_model()
    return model, answered(model, N)


def verdicts(table: pl.DataFrame) -> dict[str, str]:
    return dict(table.select("component", "verdict").iter_rows())


@pytest.mark.parametrize(("seed", "ablation"), [(1, "zero"), (2, "mean")])
def test_the_cause_predicts_and_causes_and_the_bystander_predicts_only(seed: int, ablation: Ablation) -> None:
    model = toy_model(seed)
    run = answered(model, N, seed=seed)
    heads = [CAUSE, BYSTANDER, PUSHER, *NULLS]
    table = foretell.causes(
        model, run, heads=heads, ablation=ablation, answers=answers_of(N), n_controls=8, progress=False
    )
    assert verdicts(table) == {
        "layer 0 head 2": "predicts and causes",
        "layer 1 head 1": "predicts only",
        # Its mean and what it does elsewhere are what it always writes.
        "layer 1 head 4": "causes only" if ablation == "zero" else "neither",
        "layer 0 head 5": "neither",
        "layer 1 head 9": "neither",
    }
    assert table.columns == list(CAUSES.dtypes)
    cause = table.row(0, named=True)
    assert (cause["layer"], cause["head"], cause["ablation"]) == (*CAUSE, ablation)
    assert cause["label_changed"] > 0.3
    assert cause["label_changed"] >= abs(cause["label_shift"])
    assert cause["odds_loss_lower"] > 5 * cause["odds_loss_control"]
    assert cause["reason"] is None
    assert cause["auc"] > 0.85
    assert f"held-out AUC {cause['auc']:.2f}" in cause["why"]
    bystander = table.row(1, named=True)
    assert (bystander["label_changed"], bystander["n_unlabelled"]) == (0.0, 0)
    assert bystander["label_changed_upper"] > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 9))
def test_the_same_over_more_seeds(seed: int) -> None:
    test_the_cause_predicts_and_causes_and_the_bystander_predicts_only(seed, ("zero", "mean", "resample")[seed % 3])


@pytest.mark.slow
def test_without_the_segment_of_the_marker_the_cause_is_lost(made: tuple[Model, Run]) -> None:
    model, run = made
    table = foretell.causes(
        model, run, heads=[CAUSE, BYSTANDER], segments=["query", "template"], answers=answers_of(N), **QUICK
    ).filter(pl.col("segment").is_not_null())
    assert verdicts(table) == {
        "layer 0 head 2, query masked": "predicts and causes",
        "layer 1 head 1, query masked": "predicts only",
        "layer 0 head 2, template masked": "predicts only",
        "layer 1 head 1, template masked": "predicts only",
    }
    assert table["ablation"].is_null().all()


def toy_direction(model: Model) -> Direction:
    """What the answer is read from, in both layers."""
    made = direction_for(model, np.random.default_rng(0), undefined=None)
    vectors = np.zeros((model.n_layers, WIDTH), dtype=np.float32)
    vectors[:, ANSWER_AXIS] = 1.0
    from dataclasses import replace

    return replace(made, vectors=vectors, standard_deviation=np.full(model.n_layers, 0.1))


def test_a_direction_that_the_answer_is_read_from_predicts_and_causes(made: tuple[Model, Run]) -> None:
    model, run = made
    direction = toy_direction(model)
    options: dict[str, Any] = {"directions": [direction], "layers": [1], "answers": answers_of(N), "n_controls": 10}
    table = foretell.causes(model, run, heads=(), doses=[-5.0, 5.0], ablation="zero", progress=False, **options)
    assert set(table["verdict"]) == {"predicts and causes"}
    assert table["component"].to_list() == [
        f"lying, layer 1 {one}" for one in ("removed", "-5 sd added", "+5 sd added")
    ]
    removed, less, more = table.iter_rows(named=True)
    assert less["odds_shift"] < -0.5 < 0.5 < more["odds_shift"]
    assert removed["odds_loss"] > 0.5
    assert (removed["ablation"], more["ablation"], more["dose"]) == ("zero", None, 5.0)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table_in_any_batches(made: tuple[Model, Run]) -> None:
    model, run = made
    options: dict[str, Any] = {"heads": [CAUSE], "ablation": "resample", "answers": answers_of(N), **QUICK}
    once = foretell.causes(model, run, **options)
    again = foretell.causes(model, run.path, batch_tokens=100, **options)
    other = foretell.causes(model, run, seed=1, **options)
    numbers = [name for name, dtype in CAUSES.dtypes.items() if dtype == pl.Float64()]
    for name in numbers:
        np.testing.assert_allclose(
            once[name].to_numpy().astype(float), again[name].to_numpy().astype(float), rtol=1e-3, atol=1e-4
        )
    assert other["odds_loss"].to_list() != once["odds_loss"].to_list()


def test_all_heads_together_are_one_more_part(made: tuple[Model, Run]) -> None:
    model, run = made
    table = foretell.causes(model, run, heads=2, together=True, answers=answers_of(N), max_new_tokens=0, **QUICK)
    assert table["component"].to_list() == ["layer 0 head 2", "layer 1 head 1", "2 heads together"]
    assert table.row(2, named=True)["verdict"] == "predicts and causes"
    assert table["label_changed"].is_null().all()
    assert table["reason"].to_list() == ["label: no answers are generated (max_new_tokens is 0)"] * 3


def test_without_second_answers_the_label_alone_is_tested(made: tuple[Model, Run]) -> None:
    model, run = made
    table = foretell.causes(model, run, heads=[CAUSE], **QUICK)
    row = table.row(0, named=True)
    assert row["verdict"] == "predicts and causes"
    assert row["odds_shift"] is None
    assert row["reason"] == "log-odds: no conversation has a second answer of the other label: give answers"


def test_too_few_groups_or_controls_cannot_say(made: tuple[Model, Run]) -> None:
    model, run = made
    few = foretell.causes(model, run, heads=[CAUSE], held_out=0.25, answers=answers_of(N), **QUICK).row(0, named=True)
    assert few["verdict"] == "cannot say"
    assert few["reason"] == "prediction: 6 held-out groups with label 1 can be compared: 4 more needed"
    assert few["auc"] is not None
    some = foretell.causes(model, run, heads=[CAUSE], answers=answers_of(N), n_controls=3, progress=False)
    assert some["verdict"].to_list() == ["cannot say"]
    assert "there are 3 controls to compare with: 2 more needed" in some["reason"][0]


def test_a_monitor_is_tested_on_groups_that_it_was_not_fitted_on(made: tuple[Model, Run]) -> None:
    model, run = made
    monitor = foretell.fit_monitor(
        run, signals=["attention"], max_heads=2, max_false_positive_rate=0.3, confidence=0.8, seed=3
    )
    table = foretell.causes(model, run, monitor, answers=answers_of(N), **QUICK)
    assert [(row["layer"], row["head"]) for row in table.iter_rows(named=True)] == list(monitor.columns.heads)
    assert table["n_odds_groups"].to_list() == [monitor.made_from.n_calibration_groups] * table.height
    others = answered(model, N - 8, seed=9)
    with pytest.raises(InputError, match="it cannot be known which of these groups the monitor was fitted on"):
        foretell.causes(model, others, monitor, **QUICK)
    named = [one.id for one in asked(N)][:24]
    found = foretell.causes(model, others, monitor, held_out=named, **QUICK)
    assert set(found["n_label_groups"]) == {24}


@pytest.mark.slow
def test_directions_of_a_monitor_are_removed(made: tuple[Model, Run]) -> None:
    model, _ = made
    run = foretell.read(
        model,
        asked(N),
        answers="generate",
        max_new_tokens=1,
        hidden={"layers": [1], "dtype": "float32"},
        progress=False,
    )
    foretell.label(run)
    monitor = foretell.fit_monitor(
        run, baseline=False, signals=["hidden states"], max_false_positive_rate=0.3, confidence=0.8
    )
    table = foretell.causes(model, run, monitor, answers=answers_of(N), **QUICK)
    row = table.row(0, named=True)
    assert (row["component"], row["kind"]) == ("the monitor's weights, layer 1 removed", "direction removed")
    assert row["auc"] > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": [(0, 16)]}, "there is no head 16 in layer 0; it has heads 0 to 15"),
        ({"heads": [(2, 0)]}, "there is no layer 2; LlamaForCausalLM has layers 0 to 1"),
        ({"heads": [3]}, r"a head is its layer and its number, such as \(3, 5\), not 3"),
        ({"heads": -1}, "heads must be a list, or a number of heads from 0 on, not -1"),
        ({"heads": ()}, "there is nothing to test: give heads, or directions and layers"),
        ({"heads": [CAUSE], "segments": ["question"]}, "segments must be some of system, prompt, query"),
        ({"heads": [CAUSE], "segments": "query"}, "segments must be some of"),
        ({"ablation": "noise"}, "ablation must be one of zero, mean, resample, not 'noise'"),
        ({"n_controls": 0}, "n_controls must be a whole number and at least 1, not 0"),
        ({"max_new_tokens": -1}, "max_new_tokens must be a whole number and at least 0"),
        ({"error_rate": 1.0}, "error_rate must be between 0 and 1, not 1.0"),
        ({"held_out": 1.5}, "held_out must be between 0 and 1, not 1.5"),
        ({"held_out": 0.001}, r"no group is held out \(the run has 44 labelled groups\)"),
        ({"held_out": ["nobody"]}, "there is no labelled group 'nobody' in the run"),
        ({"held_out": [f"c{index:03d}" for index in range(N)]}, "every group is held out"),
        ({"heads": (), "segments": ["query"]}, "segments are masked for heads, and there are none"),
        ({"layers": [0]}, "directions need layers at which they are removed or added"),
        ({"doses": [2.0]}, "directions need layers"),
        ({"answers": {"c999": ANSWERS}}, "there is no labelled conversation 'c999' in the run"),
        ({"answers": {"c001": ("+",)}}, "'c001' needs two texts, an answer of label 1 and one of label 0"),
        ({"behaviour": "sings"}, "has no behaviour or dataset 'sings'"),
    ],
)
def test_wrong_calls_are_refused(made: tuple[Model, Run], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        foretell.causes(*made, **{**QUICK, **options})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: {"layers": [2], "directions": [one]}, "there is no layer 2; the model has layers 0 to 1"),
        (lambda one: {"layers": [0], "directions": [one, one]}, "two directions have the same concept"),
        (lambda one: {"directions": [one]}, "directions need layers"),
        (lambda one: {"layers": [0], "directions": [one], "doses": [0.0]}, "a dose of 0 adds nothing"),
    ],
)
def test_wrong_directions_are_refused(
    made: tuple[Model, Run], change: Callable[[Direction], dict[str, Any]], message: str
) -> None:
    model, run = made
    with pytest.raises(InputError, match=message):
        foretell.causes(model, run, heads=(), **QUICK, **change(toy_direction(model)))


def test_what_is_no_labelled_run_of_this_model_is_refused(made: tuple[Model, Run], tmp_path: Path) -> None:
    model, run = made
    with pytest.raises(InputError, match="causes needs a run, its folder, or a study of a run"):
        foretell.causes(model, tmp_path)
    with pytest.raises(InputError, match="was made by toy; the weights of toy"):
        foretell.causes(toy_model(1), run)
    unlabelled = foretell.read(model, asked(4), answers="generate", max_new_tokens=1, progress=False)
    unlabelled.write_labels(unlabelled.samples.select("id", "behavior_label", "label_source", "label_reason"))
    with pytest.raises(InputError, match="none of its 4 answers has a label; call `foretell label` first"):
        foretell.causes(model, unlabelled)


class Gate(nn.Module):
    """An output projection of what a gate leaves of the heads."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own = own

    def forward(self, heads: Tensor) -> Tensor:
        return self.own(torch.sigmoid(heads) * heads)  # type: ignore[no-any-return]


def gated() -> PreTrainedModel:
    network = toy_model().model
    attention = network.get_submodule("model.layers.1.self_attn")
    attention.o_proj = Gate(attention.get_submodule("o_proj"))
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (gated, "LlamaForCausalLM: the heads of layer 1 cannot be isolated: what they write is not given to one"),
        (lambda: made_network("gptj"), "GPTJForCausalLM: its heads cannot be isolated, because its attention is"),
    ],
    ids=["gated", "inline"],
)
def test_heads_that_cannot_be_isolated_are_refused_before_any_answer(
    network: Callable[[], PreTrainedModel], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(model=network(), tokenizer=toy_model().tokenizer, name="made")
    run = foretell.read(model, asked(8), answers="generate", max_new_tokens=1, progress=False)
    labels = pl.Series([index % 2 for index in range(8)], dtype=pl.Int8)
    run.write_labels(run.samples.select("id", "label_source", "label_reason", behavior_label=labels))
    monkeypatch.setattr(Measured, "outcomes", None)
    with pytest.raises(NotReadableError, match=message):
        foretell.causes(model, run, heads=[(1, 0)], **QUICK)


def test_without_verifiers_and_second_answers_nothing_can_be_measured(made: tuple[Model, Run]) -> None:
    model, run = made
    from dataclasses import replace

    bare = [replace(one, verifier=None) for one in run.conversations()]
    given = foretell.read(model, bare, progress=False)
    with pytest.raises(InputError, match="no effect can be measured: no held-out conversation has a verifier"):
        foretell.causes(model, given, heads=[CAUSE], **QUICK)
    table = foretell.causes(model, given, heads=[CAUSE], answers=answers_of(N), **QUICK)
    assert table["verdict"].to_list() == ["predicts and causes"]


def test_of_a_study_labels_and_groups_are_taken(made: tuple[Model, Run]) -> None:
    model, run = made
    ids = run.samples["id"].to_list()
    groups = {one: f"g{index // 2:02d}" for index, one in enumerate(ids)}
    study = foretell.study(run, group=groups, compute=False)
    table = foretell.causes(model, study, heads=[CAUSE], answers=answers_of(N), held_out=0.5, **QUICK)
    assert table["n_odds_groups"].to_list() == [11]
