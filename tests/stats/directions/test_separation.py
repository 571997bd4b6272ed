from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from foretell.errors import TableError
from foretell.schema.tables import DIRECTIONS
from foretell.stats.directions.separation import pair_accuracy, separation


def statements(generator: np.random.Generator, *, n: int = 40, layers: int = 3) -> pl.DataFrame:
    """Return true and false answers to questions; the deeper the layer, the better they are told apart."""
    index, positive, layer = (axis.ravel() for axis in np.indices((n, 2, layers)))
    likely = generator.normal(size=(n, 2)) - np.array([0.0, 2.0])
    return pl.DataFrame(
        {
            "id": [f"{question}-{side}" for question, side in zip(index, positive, strict=True)],
            "question": [f"q{question}" for question in index],
            "topic": [f"t{question % 4}" for question in index],
            "is_positive": positive == 1,
            "layer": layer,
            "score": generator.normal(size=index.size) + 2.0 * layer * positive,
            "mean_logprob": likely[index, positive],
        }
    )


def test_each_layer_has_its_auc_and_pairs(generator: np.random.Generator) -> None:
    table = statements(generator)
    found = separation(table, concept="lying", baselines=["mean_logprob"], pair="question")
    assert found.columns == list(DIRECTIONS.dtypes)
    assert found["layer"].to_list() == [0, 1, 2, None]
    for layer in range(3):
        part = table.filter(pl.col("layer") == layer)
        row = found.row(layer, named=True)
        assert row["auc"] == pytest.approx(roc_auc_score(part["is_positive"], part["score"]), abs=1e-12)
        assert row["auc_lower"] < row["auc"] <= row["auc_upper"]
        wide = part.pivot("is_positive", index="question", values="score")
        assert row["pair_accuracy"] == pytest.approx((wide["true"] > wide["false"]).mean())
        assert (row["n"], row["n_pairs"]) == (80, 40)
    assert found["auc"][2] > 0.9
    assert found["auc"][3] < 0.2


def test_pairs_by_hand_with_ties() -> None:
    score = np.array([1.0, 1.0, 0.0, 3.0, 2.0])
    label = np.array([1, 0, 0, 1, 0])
    assert pair_accuracy(score, label, np.array(["a", "a", "a", "b", "b"])) == (2.5 / 3, 3)
    accuracy, n_pairs = pair_accuracy(score, np.ones(5, dtype=np.int64), np.array(list("aabbb")))
    assert np.isnan(accuracy)
    assert n_pairs == 0


def test_topics_that_score_differently_do_not_hide_the_direction(generator: np.random.Generator) -> None:
    table = statements(generator, layers=2).filter(pl.col("layer") == 1)
    moved = table.with_columns(pl.col("score") + 20 * pl.col("topic").str.slice(1).cast(pl.Float64))
    row = separation(moved, concept="lying").row(0, named=True)
    assert row["auc"] < 0.7
    assert row["auc_within_topics"] > 0.85
    assert row["pair_accuracy"] is None
    assert "no column with pairs" in row["reason"]


def test_order_of_rows_and_null_scores(generator: np.random.Generator) -> None:
    table = statements(generator)
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=1)
    options = {"concept": "lying", "pair": "question"}
    assert separation(shuffled, **options).equals(separation(table, **options))  # type: ignore[arg-type]
    silent = table.with_columns(pl.when(pl.col("layer") == 0).then(None).otherwise("score").alias("score"))
    row = separation(silent, **options).row(0, named=True)  # type: ignore[arg-type]
    assert (row["auc"], row["n"], row["reason"]) == (None, 0, "no statement has a finite value")
    one_sided = table.filter("is_positive")
    assert separation(one_sided, concept="lying")["auc"].null_count() == 3


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match='column "topic" is missing'):
        separation(pl.DataFrame({"id": ["a"]}), concept="lying")
    columns = ("id", "topic", "is_positive", "layer", "score")
    assert separation(pl.DataFrame({name: [] for name in columns}), concept="lying").height == 0


def test_an_id_of_two_statements_is_refused(generator: np.random.Generator) -> None:
    table = statements(generator)
    twice = pl.concat([table, table.head(1)])
    with pytest.raises(TableError, match=rf'the id "{table["id"][0]}" stands for two statements at layer'):
        separation(twice, concept="lying")
