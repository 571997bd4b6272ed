"""Sentences follow their rules, for every verdict and both ways of every rule."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from foretell.showing.page.narrative import VERDICT_WORDS, Sentence, narrate, rules
from foretell.showing.report_data import ReportData


def _say(data: ReportData, rule: str, chapter: str = "alpaca") -> list[Sentence]:
    return [s for c in narrate(data) if c.title == chapter for s in c.sentences if s.rule == rule]


def _with(data: ReportData, table: str, **values: Any) -> ReportData:
    columns = [pl.lit(value, dtype=data.table(table).schema[name]).alias(name) for name, value in values.items()]
    return replace(data, tables={**data.tables, table: data.table(table).with_columns(columns)})


@pytest.mark.parametrize("verdict", VERDICT_WORDS)
def test_every_verdict_has_words(data: ReportData, verdict: str) -> None:
    sentence = _say(_with(data, "verdicts", verdict=verdict, why="0.7 against 0.5."), "verdict")[0]
    assert VERDICT_WORDS[verdict] in sentence.text
    assert sentence.text.endswith("(0.7 against 0.5).")


def test_each_sentence_has_a_stated_rule_and_every_source_leads_to_a_cell(data: ReportData) -> None:
    seen = set()
    for chapter in narrate(data):
        for sentence in chapter.sentences:
            seen.add(sentence.rule)
            assert sentence.rule in rules()
            for source in sentence.sources:
                found = re.fullmatch(r"(\w+)\[(.+)\]\.(\w+)", source)
                if found is None:
                    assert source in {"ledger", "settings.metrics", "settings.level"}
                    continue
                table, keys, column = found.groups()
                frame = data.direction if table == "direction" else data.table(table)
                assert frame is not None
                for key, value in (pair.split("=", 1) for pair in re.split(r", (?=\w+=)", keys)):
                    frame = frame.filter(pl.col(key).cast(pl.String) == value)
                assert frame.height == 1, source
                assert frame.item(0, column) is not None, source
    assert seen == set(rules())


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [
        (0.02, 0.1, "the internals add to what is known without them"),
        (-0.02, 0.1, "interval includes 0"),
        (-0.2, -0.1, "the internals make the prediction worse"),
        (None, None, "without an interval"),
    ],
)
def test_the_increment_is_interpreted_by_its_interval(
    data: ReportData, lower: float | None, upper: float | None, words: str
) -> None:
    changed = _with(data, "detectors", increment=0.04, increment_lower=lower, increment_upper=upper)
    assert words in _say(changed, "detector")[0].text


def test_an_undefined_increment_has_its_reason(data: ReportData) -> None:
    changed = _with(data, "detectors", increment=None, reason="the table has no baseline")
    assert (
        "Its increment over all baselines is undefined (the table has no baseline)" in _say(changed, "detector")[0].text
    )


def test_the_auc_within_strata_is_compared_with_that_over_all_samples(data: ReportData) -> None:
    assert "0.70 instead of 0.79" in _say(data, "strata")[0].text
    assert "not lower than" in _say(data, "strata", "flan")[0].text
    assert _say(_with(data, "detectors", auc_within_strata=None), "strata") == []


def test_the_best_head_is_named_with_its_corrected_p(data: ReportData) -> None:
    found = _say(data, "head", "sharegpt")[0].text
    assert "2 are significant" in found
    assert "layer 12, head 4, PAM_norm" in found
    assert "corrected p 0.003" in found
    lost = _say(_with(data, "association", p_max=0.4), "head")[0].text
    assert "none is significant" in lost
    assert "what the baselines leave of it is expected by chance" in lost
    alone = replace(data, tables={name: frame for name, frame in data.tables.items() if name != "detectors"})
    assert "significant beside the baselines" not in _say(alone, "head")[0].text
    assert "expected to reach this AUC by chance" in _say(_with(alone, "association", p_max=0.4), "head")[0].text
    assert _say(_with(data, "association", p_max=None), "head") == []


def test_the_best_head_is_that_with_the_auc_that_was_permuted(data: ReportData) -> None:
    """Of heads with one corrected p-value the strongest is that with the strongest AUC within strata."""
    chosen = (pl.col("layer") == 3) & (pl.col("head") == 2) & (pl.col("metric") == "QAM_norm")
    within = pl.when(chosen).then(0.32).otherwise(0.5).alias("auc_within")
    table = data.table("association").with_columns(
        within, p_max=pl.lit(0.001), auc=pl.when(chosen).then(0.5).otherwise(0.7)
    )
    text = _say(replace(data, tables={**data.tables, "association": table}), "head")[0].text
    assert "The strongest is layer 3, head 2, QAM_norm: AUC 0.50" in text
    assert "within task types 0.32" in text


@pytest.mark.parametrize(("level", "words"), [(None, "the 95 % interval."), (0.9, "the 90 % interval, those of the")])
def test_the_level_of_the_intervals_is_that_of_the_study(data: ReportData, level: float | None, words: str) -> None:
    changed = replace(data, settings={"level": level})
    assert words in _say(changed, "level", "All datasets")[0].text


def test_the_leak_is_the_difference_and_needs_the_placebo(data: ReportData) -> None:
    text = _say(data, "leak")[0].text
    assert "+0.13" in text
    assert "is leakage" in text
    assert "no leakage is shown" in _say(_with(data, "forest", auc_lower=0.45), "leak")[0].text
    for small in (_with(data, "forest", auc=0.54, auc_lower=0.52), _with(data, "forest", auc=0.6, auc_lower=0.55)):
        assert "no leakage of 0.05 or more" in _say(small, "leak")[0].text
    alone = replace(
        data, tables={**data.tables, "forest": data.table("forest").filter(pl.col("protocol") != "placebo")}
    )
    assert "dealt anew" not in _say(alone, "leak")[0].text


def test_accuracy_is_compared_with_the_majority_class(data: ReportData) -> None:
    assert "no evidence" in _say(data, "accuracy")[0].text
    assert "no evidence" not in _say(_with(data, "forest", accuracy=0.9), "accuracy")[0].text


def test_equal_impurities_are_called_an_artefact_and_unequal_ones_are_not(data: ReportData) -> None:
    assert "near 1/3 each" in _say(data, "impurity")[0].text
    assert _say(_with(data, "importances", importance=0.6), "impurity") == []


def test_permutation_names_only_columns_above_zero(data: ReportData) -> None:
    assert "PAM_norm" in _say(data, "permutation", "sharegpt")[0].text
    assert "does not significantly lower" in _say(data, "permutation", "alpaca")[0].text


def test_shares_and_letters_are_explained_only_where_they_occur(data: ReportData) -> None:
    last = narrate(data)[-1]
    assert {"simplex", "letters"} <= {sentence.rule for sentence in last.sentences}
    other = replace(
        data,
        tables={
            name: frame.with_columns(metric=pl.lit("lookback")) if "metric" in frame.columns else frame
            for name, frame in data.tables.items()
        },
    )
    assert not {"simplex", "letters"} & {sentence.rule for sentence in narrate(other)[-1].sentences}


def test_a_direction_is_compared_with_its_baselines(data: ReportData) -> None:
    assert data.direction is not None
    text = next(s.text for s in narrate(data)[-1].sentences if s.rule == "direction")
    assert "best at layer 29: AUC 0.98 [0.93, 1.00]" in text
    assert "mean logprob (lower is more of the concept): AUC 0.91, lower" in text
    likelier = pl.when(pl.col("measure") == "mean_logprob").then(0.004).otherwise(pl.col("auc")).alias("auc")
    worse = replace(data, direction=data.direction.with_columns(likelier))
    text = next(s.text for s in narrate(worse)[-1].sentences if s.rule == "direction")
    assert "mean logprob (lower is more of the concept): AUC 1.00, as high or higher" in text


def test_an_empty_report_has_no_sentences() -> None:
    assert narrate(ReportData(tables={})) == ()
