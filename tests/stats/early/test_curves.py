"""Studies of planted runs: a family is found from the moment on at which it carries the label, and not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from foretell.errors import InputError
from foretell.schema.tables import TABLES, conform
from foretell.stats.study import Study, study
from tests.stats.runs import planted_run

QUICK: dict[str, Any] = {
    "n_trees": 3,
    "n_permutations": 0,
    "detector_repeats": 1,
    "detector_folds": 3,
    "early_repeats": 1,
    "n_jobs": 1,
    "progress": False,
}
STUDIES = int(os.environ.get("FORETELL_STUDIES", "4"))
"""Simulated studies of noise."""
PLANTED_STUDIES = max(STUDIES // 4, 1)
CHECKPOINTS = [0, 1, 2, 4, 8, 16, 32, 40]


def curve(found: Study, signal: str, column: str = "auc") -> dict[int, float]:
    return dict(found.early.filter(pl.col("signal") == signal).select("n_generated", column).iter_rows())


def first_moments(found: Study) -> dict[str, int | None]:
    return dict(found.told_by.select("signal", "n_generated").iter_rows())


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Study:
    run = planted_run(tmp_path_factory.mktemp("run") / "run", planted=["hidden states"], strata=True, effect=2.5)
    return study(run, **QUICK)


def test_a_planted_family_is_found_where_it_begins(hidden: Study) -> None:
    found = curve(hidden, "hidden states")
    assert list(found) == CHECKPOINTS
    assert max(found[after] for after in (0, 1, 2, 4)) < 0.7 < min(found[after] for after in (8, 16, 32, 40))
    assert first_moments(hidden)["hidden states"] in {8, 16}
    assert {first_moments(hidden)[one] for one in ("attention", "activity", "confidence")} == {None}
    verdicts = dict(hidden.verdicts.select("signal", "verdict").iter_rows())
    assert verdicts["hidden states"] == "signal"
    assert verdicts["mass-mean probe"] == "signal"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["attention", "activity"])
def test_the_first_moment_is_within_one_checkpoint(family: str, tmp_path: Path) -> None:
    places, before = [], []
    for seed in range(PLANTED_STUDIES):
        run = planted_run(tmp_path / f"{seed}", planted=[family], effect=2.5, seed=seed)
        found = study(run, **QUICK, compute=False)
        places.append(first_moments(found)[family])
        before += [value for after, value in curve(found, family).items() if after < 8 and value is not None]
    assert np.mean(before) < 0.6
    assert all(place in {4, 8, 16} for place in places)


def test_tables_have_their_columns_and_every_null_a_reason(hidden: Study) -> None:
    for name in ("early", "early_relative", "told_by", "hidden_layers"):
        frame = hidden.tables()[name]
        assert frame.equals(conform(frame, TABLES[name]))
        assert frame.select(TABLES[name].key).is_duplicated().sum() == 0, name
    early = hidden.early.filter(pl.col("auc").is_null() | (pl.col("p").is_null() & (pl.col("signal") != "baseline")))
    assert early["reason"].null_count() == 0
    assert hidden.told_by.filter(pl.col("n_generated").is_null())["reason"].null_count() == 0
    assert hidden.early["counts"].all()
    assert set(hidden.early["n"]) == {120}


def test_each_moment_has_its_place_in_the_answers(hidden: Study) -> None:
    lengths = np.array(list(hidden.signals.lengths.values())) if hidden.signals else np.empty(0)
    shares = dict(hidden.early.select("n_generated", "share_written").unique().iter_rows())
    assert shares == pytest.approx({after: np.mean(np.minimum(after, lengths) / lengths) for after in CHECKPOINTS})
    assert (shares[0], shares[40]) == (0.0, 1.0)


def test_the_baselines_of_each_moment_are_those_of_its_tokens(hidden: Study) -> None:
    own = (
        hidden.early.filter(pl.col("signal") == "baseline").group_by("n_generated").agg("detector").sort("n_generated")
    )
    names = {after: set(several) for after, several in own.iter_rows()}
    always = {"kind of task", "segment lengths", "uniform attention", "words of the prompt", "all baselines"}
    written = {"log-probability so far", "repeats of the prompt", "words of the answer so far"}
    assert names[0] == always
    assert names[1] == always | written
    assert names[16] == names[40] == always | written | {"length so far"}
    assert "log-probability" not in names[40]


def test_every_layer_of_hidden_states_is_judged_alone(hidden: Study) -> None:
    layers = hidden.hidden_layers
    assert layers.height == 6
    assert set(layers["n_generated"]) == {40}
    strong = layers.filter(pl.col("pool") != "last prompt token")["auc"]
    assert strong.min() > 0.65  # type: ignore[operator]
    assert layers.filter(pl.col("pool") == "last prompt token")["auc"].max() < 0.65  # type: ignore[operator]


def test_detectors_and_verdicts_name_family_and_moment(hidden: Study) -> None:
    signals = dict(hidden.detectors.select("detector", "signal").iter_rows())
    assert signals["all heads"] == signals["attention"] == "attention"
    assert signals["all signals"] == "all"
    assert signals["mass-mean probe"] == "mass-mean probe"
    assert signals["majority"] == signals["words of the prompt"] == "baseline"
    why = dict(hidden.verdicts.select("signal", "why").iter_rows())
    assert "of whole answers" in why["hidden states"]


def test_words_that_predict_the_label_end_what_counts(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", planted=["activity"], since=2, effect=3.0, words_since=5)
    found = study(run, **QUICK)
    counts = dict(found.early.select("n_generated", "counts").unique().iter_rows())
    assert counts == {after: after < 8 for after in CHECKPOINTS}
    why = dict(found.verdicts.select("signal", "why").iter_rows())["activity"]
    assert "after 4 tokens (from token 8 on the words of the answer alone tell the label (AUC " in why
    assert first_moments(found)["activity"] in {2, 4}
    assert any("from token 8 on the words" in note for note in found.notes)
    assert set(found.hidden_layers["n_generated"]) == {4}


def test_a_check_of_the_text_ends_what_counts_where_words_are_blind_to_it(tmp_path: Path) -> None:
    found = study(planted_run(tmp_path / "run", commas_since=5, hidden=False), **QUICK)
    counts = dict(found.early.select("n_generated", "counts").unique().iter_rows())
    assert counts == {after: after < 8 for after in CHECKPOINTS}
    of_text = found.early.filter(n_generated=8, signal="baseline").select("detector", "auc")
    area = dict(of_text.iter_rows())
    assert area["checks of the answer so far"] == area["all baselines"] == 1
    assert area["words of the answer so far"] < 0.7
    note = "from token 8 on the checks of the answer alone tell the label (AUC 1.00), so only what comes before counts"
    assert any(note in one for one in found.notes)


def test_heads_of_whole_answers_are_no_signal_where_words_predict_the_label_by_then(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", planted=["attention"], since=2, effect=3.0, commas_since=20, tokens=(24, 40))
    found = study(run, **QUICK)
    heads = found.verdicts.row(by_predicate=pl.col("signal") == "all heads", named=True)
    assert heads["verdict"] == "no signal found"
    assert heads["p_adjusted"] < 0.05
    assert "of whole answers: from token 32 on the checks of the answer alone tell the label" in heads["why"]
    family = found.verdicts.row(by_predicate=pl.col("signal") == "attention", named=True)
    assert family["verdict"] == "signal"
    assert "after 16 tokens" in family["why"]
    first = study(run, first_tokens=4, **QUICK).verdicts.row(by_predicate=pl.col("signal") == "all heads", named=True)
    assert first["verdict"] == "no signal found"
    assert "of whole answers: the checks of the answer alone tell the label (AUC 1.00)" in first["why"]


def test_a_users_family_has_a_curve_of_its_own(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", hidden=False)
    label = dict(run.samples.select("id", "behavior_label").iter_rows())
    generator = np.random.default_rng(0)
    known = {id_: value * 2.0 + generator.normal() for id_, value in label.items()}
    late = pl.DataFrame({"id": list(known), "n_generated": 4, "probe": list(known.values())})
    found = study(run, signals={"whole": known, "late": late}, **QUICK)
    assert [after for after, value in curve(found, "late").items() if value is not None] == [4, 8, 16, 32, 40]
    assert [after for after, value in curve(found, "whole").items() if value is not None] == [40]
    assert first_moments(found)["late"] == 4
    assert first_moments(found)["whole"] == 40
    assert found.settings.signals == ("whole", "late")
    assert found.hidden_layers.height == 0
    assert "hidden states" not in set(found.early["signal"])


@pytest.mark.parametrize("signals", [{"all": {}}, {"mine": {"nobody": 1.0}}])
def test_signals_that_do_not_fit_are_refused_before_work_starts(signals: dict[str, Any], tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", n_samples=20, hidden=False)
    with pytest.raises(InputError, match="signals"):
        study(run, signals=signals, **QUICK)


def test_a_table_has_no_curves_and_takes_no_signals(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", n_samples=40, hidden=False)
    plain = study(run.table(), **QUICK)
    assert plain.early.height == plain.told_by.height == plain.hidden_layers.height == 0
    assert "attention" not in set(plain.verdicts["signal"])
    with pytest.raises(InputError, match="signals belong to a run"):
        study(run.table(), signals={"x": {"s000": 1.0}}, **QUICK)
    off = study(run, early=False, **QUICK)
    for name, frame in plain.tables().items():
        assert frame.equals(off.tables()[name]), name


def test_no_number_depends_on_names(tmp_path: Path) -> None:
    first, turned = (
        study(
            planted_run(tmp_path / str(turned), n_samples=40, tokens=(2, 5), turned=turned), **QUICK, compute=False
        ).early
        for turned in (False, True)
    )
    for column in ("auc", "increment", "p"):
        assert turned[column].fill_null(-1).to_list() == pytest.approx(first[column].fill_null(-1).to_list(), abs=1e-6)


@pytest.mark.calibration
def test_noise_has_no_first_moment_in_95_of_100_studies(tmp_path: Path) -> None:
    """With few studies this sees gross errors only; `benchmarks/planted_curves.py` makes hundreds."""
    said = 0
    for seed in range(STUDIES):
        run = planted_run(tmp_path / f"{seed}", n_samples=50, hidden=False, tokens=(2, 5), seed=1000 + seed)
        found = study(run, **QUICK, compute=False)
        said += any(one is not None for one in first_moments(found).values())
    assert said <= binom.isf(0.01, STUDIES, 0.05)


@pytest.fixture(scope="module")
def of_first_tokens(hidden: Study) -> Study:
    assert hidden.signals is not None
    return study(hidden.signals.run, first_tokens=4, **QUICK)


def test_first_tokens_are_judged_as_in_a_study_of_whole_answers(hidden: Study, of_first_tokens: Study) -> None:
    assert list(curve(of_first_tokens, "hidden states")) == [0, 1, 2, 4]
    assert of_first_tokens.early.equals(hidden.early.filter(pl.col("n_generated") <= 4))
    assert set(of_first_tokens.hidden_layers["n_generated"]) == {4}


def test_what_begins_later_is_no_signal_in_the_first_tokens(of_first_tokens: Study) -> None:
    verdicts = {row["signal"]: row for row in of_first_tokens.verdicts.to_dicts()}
    assert verdicts["hidden states"]["verdict"] == "no signal found"
    assert "after 4 tokens" in verdicts["hidden states"]["why"]
    assert first_moments(of_first_tokens)["hidden states"] is None


@pytest.mark.parametrize("wrong", [3, 12, -1, -4])
def test_first_tokens_are_a_moment_at_which_signals_are_stored(wrong: int, hidden: Study) -> None:
    assert hidden.signals is not None
    with pytest.raises(InputError, match=f"first_tokens is {wrong}: signals are stored after 0, 1, 2, 4, 8"):
        study(hidden.signals.run, first_tokens=wrong, **QUICK)


def test_first_tokens_need_a_run() -> None:
    rows = {"id": ["a", "b"], "dataset": "x", "layer": 0, "head": 0, "score": [0.1, 0.9], "behavior_label": [0, 1]}
    with pytest.raises(InputError, match="first_tokens belongs to a run"):
        study(pl.DataFrame(rows), metrics=["score"], first_tokens=0, **QUICK)
