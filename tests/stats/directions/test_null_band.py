from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from foretell.schema.tables import DIRECTION_AGREEMENT, DIRECTION_CHOICE, DIRECTION_NULL, DIRECTION_TRANSFER
from foretell.stats.directions.null_band import agreement, chosen_layers, layer_aucs, null_band, transfer_matrix


def signal(generator: np.random.Generator, *, n: int = 60, strength: tuple[float, ...] = (0.0, 0.0, 2.0)) -> np.ndarray:
    """Scores (pair, side, layer) whose positive side lies higher in the layers with a strength."""
    scores = generator.normal(size=(n, 2, len(strength)))
    scores[:, 0] += np.array(strength)
    return scores


def test_areas_are_those_of_the_oracle_with_ties(generator: np.random.Generator) -> None:
    scores = generator.integers(0, 4, size=(2, 25, 2, 3)).astype(float)
    found = layer_aucs(scores)
    label = np.repeat([1, 0], 25)
    for draw in range(2):
        for layer in range(3):
            joined = np.concatenate([scores[draw, :, 0, layer], scores[draw, :, 1, layer]])
            assert found[draw, layer] == pytest.approx(roc_auc_score(label, joined), abs=1e-12)
    scores[0, 3, 0, 1] = np.nan
    assert np.isnan(layer_aucs(scores)[0, 1])


def test_a_signal_leaves_the_band_and_noise_stays_in_it(generator: np.random.Generator) -> None:
    drawn = np.stack([signal(generator, strength=(0.0, 0.0, 0.0)) for _ in range(99)])
    found = null_band(layer_aucs(drawn), signal(generator), concept="c", method="m", kind="random", layers=(4, 5, 6))
    assert found.columns == list(DIRECTION_NULL.dtypes)
    assert found["layer"].to_list() == [4, 5, 6, None]
    assert found["p_value"][2] == found["p_value"][3] == pytest.approx(0.01)
    for row in found.head(3).to_dicts():
        areas = layer_aucs(drawn)[:, row["layer"] - 4]
        assert (row["auc_lower"], row["auc_upper"]) == pytest.approx(tuple(np.quantile(areas, [0.05, 0.95])))
    # The best of three layers of noise lies above each of them on average: that is what the last row pays for.
    assert found["auc_mean"][3] > max(found["auc_mean"][:3])


@pytest.mark.calibration
def test_the_best_layer_of_noise_passes_the_test_as_often_as_it_says(generator: np.random.Generator) -> None:
    values = []
    for _ in range(300):
        every = np.stack([signal(generator, n=20, strength=(0.0,) * 6) for _ in range(40)])
        found = null_band(layer_aucs(every[1:]), every[0], concept="c", method="m", kind="random")
        values.append(found.filter(pl.col("layer").is_null())["p_value"][0])
    assert 0.02 < np.mean(np.array(values) <= 0.05) < 0.09


def test_undefined_layers_have_a_reason_and_leave_the_others_alone(generator: np.random.Generator) -> None:
    scores, drawn = signal(generator), np.stack([signal(generator) for _ in range(9)])
    scores[:, :, 0] = np.nan
    found = null_band(layer_aucs(drawn), scores, concept="c", method="m", kind="shuffled")
    assert found["auc_observed"][0] is None
    assert found["reason"][0]
    assert found["auc_observed"][3] == found["auc_observed"][2]
    nothing = null_band(layer_aucs(drawn), np.full_like(scores, np.nan), concept="c", method="m", kind="shuffled")
    assert nothing["reason"].null_count() == 0


def choice(inner: np.ndarray, outer: np.ndarray, **baselines: np.ndarray) -> pl.DataFrame:
    folds = np.arange(len(outer)) % 3
    return chosen_layers(
        inner, outer, folds, ["a", "b", "c"], concept="lying", method="m", baselines=baselines, layers=(10, 11, 12)
    )


def test_the_layer_is_chosen_without_the_fold_it_is_judged_on(generator: np.random.Generator) -> None:
    inner, outer = np.stack([signal(generator, n=90) for _ in range(3)]), signal(generator, n=90)
    # Fold 1 is separated perfectly by the first layer: a choice that looked at it would take that layer.
    outer[1::3, 0, 0], outer[1::3, 1, 0] = 9.0, -9.0
    inner[1, 1::3] = np.nan
    found = choice(inner, outer, mean_logprob=-outer[:, :, 2] + generator.normal(size=(90, 2)))
    assert found.columns == list(DIRECTION_CHOICE.dtypes)
    assert found["heldout"].to_list() == ["a", "b", "c", "all"]
    assert found["layer"].to_list() == [12, 12, 12, None]
    together = found.row(3, named=True)
    assert together["auc"] == pytest.approx(layer_aucs(outer)[2])
    assert together["n"] == 180
    assert together["best_baseline"] == "mean_logprob"
    assert together["baseline_auc"] > 0.5
    assert together["increment_lower"] < together["increment"] < together["increment_upper"]
    assert together["increment"] == pytest.approx(together["auc"] - together["baseline_auc"])


def test_a_score_adds_nothing_to_itself(generator: np.random.Generator) -> None:
    inner, outer = np.stack([signal(generator) for _ in range(3)]), signal(generator)
    row = choice(inner, outer, copy=outer[:, :, 2]).row(3, named=True)
    assert row["increment"] == row["increment_lower"] == row["increment_upper"] == 0.0


def test_without_a_choice_there_is_a_reason(generator: np.random.Generator) -> None:
    outer = signal(generator)
    found = choice(np.full((3, *outer.shape), np.nan), outer)
    assert found["auc"].null_count() == 4
    assert found["reason"].null_count() == 0


def test_transfer_uses_the_training_parts_layer(generator: np.random.Generator) -> None:
    sets = np.repeat([0, 1], 40)
    scores = np.stack([signal(generator, n=80, strength=(0.0, 3.0)), signal(generator, n=80, strength=(3.0, 0.0))])
    scores[0, 40:] = signal(generator, n=40, strength=(3.0, 0.0))
    found = transfer_matrix(scores, sets, ["plain", "negated"], concept="lying", method="m")
    assert found.columns == list(DIRECTION_TRANSFER.dtypes)
    cells = {(row["train"], row["judged"]): row for row in found.to_dicts()}
    assert cells["plain", "plain"]["layer"] == cells["plain", "negated"]["layer"] == 1
    assert cells["plain", "plain"]["auc"] > 0.9
    # Layer 0 would separate the negated ones; the choice did not see them.
    assert cells["plain", "negated"]["auc"] < 0.7
    assert cells["negated", "plain"]["layer"] == 0
    assert {row["n"] for row in found.to_dicts()} == {80}
    scores[1] = np.nan
    last = transfer_matrix(scores, sets, ["plain", "negated"], concept="lying", method="m").row(3, named=True)
    assert last["auc"] is None
    assert "negated" in last["reason"]


def test_agreement_is_the_cosine_of_each_couple_once(generator: np.random.Generator) -> None:
    one = generator.normal(size=(2, 5))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other = one.copy()
    other[1] = np.nan
    found = agreement({"a": one, "b": -one, "c": other}, concept="lying", layers=(3, 7))
    assert found.columns == list(DIRECTION_AGREEMENT.dtypes)
    assert found.select("method", "other").unique(maintain_order=True).rows() == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found["cosine"].to_list()[:3] == pytest.approx([-1.0, -1.0, 1.0])
    assert found["cosine"][3] is None
    assert found["reason"][3]
    assert agreement({"a": one}, concept="lying").is_empty()
