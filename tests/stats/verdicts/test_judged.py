"""Evidence of whole studies: what baselines explain is taken out of single heads, and every signal has a p-value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.stats.auc.intervals import Estimate
from foretell.stats.heads.association import association
from foretell.stats.study import Study, study
from foretell.stats.verdicts.findings import FAMILY, FOREST
from foretell.stats.verdicts.judged import evidence_by_dataset, explained_by_dataset, of_whole_answers
from foretell.stats.verdicts.rules import Evidence, Sizes
from tests.stats.tables import METRICS, head_table

QUICK: dict[str, Any] = {
    "n_trees": 5,
    "n_permutations": 99,
    "detector_repeats": 1,
    "detector_folds": 3,
    "n_jobs": 1,
    "compute": False,
}
SIGNALS = ["all heads", "best single head", "mean over heads", FOREST, FAMILY]


def by_length(n_samples: int = 80, *, datasets: tuple[str, ...] = ("a",)) -> pl.DataFrame:
    """Return a table in which one head follows the answer's length, and the label too, but nothing else does."""
    generator = np.random.default_rng(4)
    table = head_table(n_samples=n_samples, datasets=datasets)
    ids = table["id"].unique(maintain_order=True)
    length = generator.integers(5, 300, len(ids))
    odds = 4 * (np.log(length) - np.log(length).mean())
    facts = pl.DataFrame(
        {
            "id": ids,
            "n_tokens_generated": length,
            "behavior_label": (generator.random(len(ids)) < 1 / (1 + np.exp(-odds))).astype(int),
        }
    )
    table = table.drop("behavior_label").join(facts, on="id", maintain_order="left")
    follows = (pl.col("layer") == 1) & (pl.col("head") == 2)
    factor = pl.when(follows).then((pl.col("n_tokens_generated") / 50) ** 1.5).otherwise(1.0)
    raw = table.with_columns(pl.col(METRICS[0]) * factor)
    return raw.with_columns(pl.col(METRICS) / pl.sum_horizontal(METRICS))


@pytest.fixture(scope="module")
def lengths() -> Study:
    return study(by_length(), **QUICK)


def test_words_of_one_dataset_count_for_the_pooled_ones() -> None:
    nothing = Estimate(None, None, None, 0.95, 4, 4, "made")
    one = Evidence("all heads", Sizes(20, 20), nothing, None, nothing, None)
    why = "the checks of the answer alone tell the label (AUC 0.97)"
    found = of_whole_answers({"a": [one], "b": [one], "all": [one]}, {"a": why, "b": None})
    assert [found[dataset][0].in_words for dataset in ("a", "b", "all")] == [why, None, f"a: {why}"]
    assert of_whole_answers({"all": [one]}, {"b": None})["all"][0].in_words is None


def test_a_head_that_only_follows_the_length_is_no_signal(lengths: Study) -> None:
    table, blind = lengths.association, association(lengths.table, n_permutations=99, progress=False)
    best, blindly = (
        frame.sort("p_max", pl.col("auc").sub(0.5).abs().neg()).row(0, named=True) for frame in (table, blind)
    )
    assert (blindly["layer"], blindly["head"]) == (1, 2)
    assert blindly["p_max"] <= 0.05
    assert best["p_max"] > 0.05
    assert {one.verdict for one in lengths.found["a"]} == {"no signal found"}
    assert table.drop("p_max", "reason").equals(blind.drop("p_max", "reason"))  # all other columns ignore baselines


def test_what_baselines_leave_of_the_label_is_uncorrelated_with_them(lengths: Study) -> None:
    found = explained_by_dataset(lengths.samples, lengths.judged)["a"]
    label = lengths.samples["a"].label
    detectors, known = lengths.judged["a"]
    assert known.scores is not None
    assert known.scores.probability is not None
    assert found.residual.sum() == pytest.approx(0, abs=1e-9)
    assert (np.corrcoef(found.residual, label)[0, 1]) > 0.3
    for one in detectors:
        if one.name == "answer length":
            assert found.residual @ one.heldout.score.mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert found.known is not None
    assert found.known.shape[0] == len(label)


def test_without_baselines_nothing_is_taken_out() -> None:
    plain = study(head_table(datasets=("a",)), **QUICK)
    assert explained_by_dataset(plain.samples, plain.judged) == {}
    assert plain.association.equals(association(plain.table, n_permutations=99, progress=False))
    for one in plain.evidence["a"]:
        assert one.increment.estimate is None
        assert one.p is not None


def test_baselines_that_cannot_be_judged_explain_nothing() -> None:
    few = by_length().filter(pl.col("id").is_in(["a-000", "a-001"])).with_columns(behavior_label=pl.lit(1))
    one = study(few, **QUICK)
    assert explained_by_dataset(one.samples, one.judged) == {}
    assert {found.verdict for found in one.found["a"]} == {"not enough data"}


def test_every_signal_of_every_dataset_has_evidence() -> None:
    found = study(by_length(40, datasets=("a", "b")), **QUICK)
    assert {name: [one.signal for one in several] for name, several in found.evidence.items()} == {
        "a": SIGNALS,
        "b": SIGNALS,
        "all": SIGNALS[:-1],  # the permutations are of one dataset
    }
    for several in found.evidence.values():
        for one in several:
            assert (one.p is None) == (one.reason is not None)
            assert (one.increment.estimate is None) == (one.signal == FAMILY)
    forests = {name: next(one for one in several if one.signal == FOREST) for name, several in found.evidence.items()}
    mean = np.mean([forests[name].increment.estimate or 0 for name in "ab"])
    assert forests["all"].increment.estimate == pytest.approx(mean, abs=0.15)
    assert forests["all"].increment.n_groups == 80


def test_sizes_count_groups_that_can_be_compared() -> None:
    table = by_length(60).with_columns(
        stratum=pl.when(pl.col("id").str.tail(3).cast(pl.Int64) < 20).then(pl.lit("pure")).otherwise(pl.lit("mixed"))
    )
    pure = pl.col("stratum") == "pure"
    found = study(
        table.with_columns(pl.when(pure).then(1).otherwise("behavior_label").alias("behavior_label")), **QUICK
    )
    samples = found.samples["a"]
    for one in found.evidence["a"]:
        assert one.sizes.n_positive == int(((samples.label == 1) & (samples.stratum == "mixed")).sum())
        assert one.sizes.n_negative == int((samples.label == 0).sum())
        assert one.within is not None


def test_the_level_reaches_every_interval(lengths: Study) -> None:
    found = evidence_by_dataset(lengths.samples, lengths.judged, lengths.forests, lengths.association, level=0.9)["a"]
    assert {one.signal: one.auc.level for one in found if one.signal == FAMILY} == {FAMILY: 0.9}
    assert {one.increment.level for one in found if one.signal == FOREST} == {0.9}
    other = replace(lengths, settings=replace(lengths.settings, level=0.9))
    assert all("90 % interval" in one.why for one in other.found["a"])
