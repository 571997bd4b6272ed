"""Families at a moment are the run's numbers of the first tokens, or of whole answers where these are shorter."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.schema.tables import MASSES, SHARES
from foretell.stats.detectors.log_ratios import centred_log_ratio
from foretell.stats.signals import run_signals
from foretell.stats.signals.attention_so_far import attention_family, lookback_family
from foretell.stats.signals.family import Family, standardised
from foretell.stats.signals.moment import Moment, after_tokens, at_share, checkpoints
from foretell.stats.signals.recurrent_confidence import PREVIOUS, RAUQ, rauq_family
from foretell.stats.signals.run_signals import RunSignals
from tests.stats.runs import N_HEADS, N_LAYERS, POOLS, RunOfStates, planted_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunOfStates:
    return planted_run(tmp_path_factory.mktemp("run") / "run", n_samples=20)


@pytest.mark.parametrize(
    ("lengths", "expected"), [([0], (0,)), ([1], (0, 1)), ([2, 5], (0, 1, 2, 4, 5)), ([8, 3], (0, 1, 2, 4, 8))]
)
def test_checkpoints_double_until_the_longest_answer(lengths: list[int], expected: tuple[int, ...]) -> None:
    assert checkpoints(np.array(lengths)) == expected


def test_an_answer_that_has_ended_counts_with_all_of_it(run: RunOfStates) -> None:
    signals = RunSignals(run)
    ids = sorted(run.lengths)
    own = signals.of(ids)
    family = own.families(own.moment(16))[0]
    assert family.columns is not None
    assert family.columns.shape == (20, N_LAYERS * N_HEADS * 8)
    for index, id_ in enumerate(ids):
        ended = run.lengths[id_] <= 16
        table = signals.attention if ended else signals.checkpoints.filter(pl.col("n_generated") == 16)
        rows = table.filter(pl.col("id") == id_).sort("layer", "head")
        expected = [centred_log_ratio(rows.select(names).to_numpy()).ravel() for names in (MASSES, SHARES)]
        assert family.columns[index] == pytest.approx(np.concatenate(expected))


@pytest.mark.parametrize("after", [1, 4, 16, 40])
def test_activity_and_confidence_are_of_the_first_tokens(run: RunOfStates, after: int) -> None:
    ids = sorted(run.lengths)
    own = RunSignals(run).of(ids)
    families = {one.name: one.columns for one in own.families(own.moment(after))}
    confidence, activity = families["confidence"], families["activity"]
    assert confidence is not None
    assert activity is not None
    for index, id_ in enumerate(ids):
        first = pl.col("answer_position") < after
        tokens = run.tokens.filter(pl.col("id") == id_, first).sort("answer_position")
        logprob, entropy = tokens["logprob"].to_numpy(), tokens["entropy"].to_numpy()
        assert confidence[index] == pytest.approx([logprob.mean(), logprob.min(), entropy.mean(), entropy.max()])
        rows = run.activity.filter(pl.col("id") == id_, first).sort("layer", "answer_position")
        values = rows["activity"].to_numpy().reshape(N_LAYERS, -1)
        assert activity[index] == pytest.approx(np.c_[values.mean(1), values.max(1), values[:, -1]].ravel())


def test_before_the_first_token_there_is_its_distribution_and_the_prompt_only(run: RunOfStates) -> None:
    ids = sorted(run.lengths)
    own = RunSignals(run).of(ids)
    families = {one.name: one for one in own.families(own.moment(0))}
    first = run.tokens.filter(pl.col("answer_position") == 0).sort("id")["entropy"].to_numpy()
    assert families["confidence"].columns == pytest.approx(first[:, None])
    assert families["attention"].columns is None
    assert "before the first generated token" in str(families["attention"].reason)
    assert families["activity"].columns is None
    assert own.hidden is not None
    assert own.hidden.pools(own.moment(0)) == [POOLS[0]]
    columns = families["hidden states"].columns
    assert columns is not None
    prompt = [np.asarray(run.states[layer, POOLS[0], 0][1], dtype=float) for layer in range(N_LAYERS)]
    centred = [one - one.mean(axis=0) for one in prompt]
    expected = sum(one @ one.T / (np.sum(one**2) / 20) for one in centred)
    assert columns @ columns.T == pytest.approx(expected)


def test_hidden_states_of_a_moment_are_those_of_as_many_tokens(run: RunOfStates) -> None:
    ids = sorted(run.lengths)
    own = RunSignals(run).of(ids)
    assert own.hidden is not None
    found = own.hidden.at(own.moment(16), 1, POOLS[2])
    assert found is not None
    for index, id_ in enumerate(ids):
        stored, states = run.states[1, POOLS[2], min(16, run.lengths[id_])]
        assert found[index] == pytest.approx(states[stored.index(id_)])
    assert own.hidden.at(own.moment(7), 1, POOLS[2]) is None


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_the_moment_of_a_share_is_the_last_checkpoint_by_then(share: float) -> None:
    lengths = np.arange(1, 300)
    found = at_share([str(one) for one in lengths], lengths, share)
    stored = [[0, *(one for one in (1, 2, 4, 8, 16, 32, 64, 128, 256) if one < length), length] for length in lengths]
    assert found.so_far.tolist() == [
        max(one for one in several if one <= share * length) for several, length in zip(stored, lengths, strict=True)
    ]
    assert found.share_written <= share
    assert found.is_end == (share == 1)


def test_signals_of_a_share_are_those_of_each_answers_own_checkpoint(run: RunOfStates) -> None:
    ids = sorted(run.lengths)
    own = RunSignals(run).of(ids)
    moment = own.at_share(0.5)
    assert len(set(moment.so_far.tolist())) > 1
    families = {one.name: one.columns for one in own.families(moment)}
    assert own.hidden is not None
    states = own.hidden.at(moment, 1, POOLS[2])
    assert states is not None
    for after in np.unique(moment.so_far).tolist():
        here = np.flatnonzero(moment.so_far == after)
        alone = own.moment(after)
        same = own.hidden.at(alone, 1, POOLS[2])
        assert same is not None
        np.testing.assert_array_equal(states[here], same[here])
        expected = {one.name: one.columns for one in own.families(alone)}
        for name in ("attention", "activity", "confidence"):
            found, known = families[name], expected[name]
            assert found is not None
            assert known is not None
            np.testing.assert_array_equal(found[here], known[here], name)


def heads(**more: list[float] | None) -> pl.DataFrame:
    about = {"id": ["a", "b"], "layer": 0, "head": 0, "n_generated": 2}
    masses = {key: [0.2, 0.3] for key in (*MASSES, *SHARES)}
    return pl.DataFrame({**about, **masses, **more}, strict=False)


def test_the_lookback_ratio_is_read_where_the_run_has_it() -> None:
    moment = after_tokens(("a", "b"), np.array([2, 2]), 2)
    whole = heads(lookback=[0.4, 0.9])
    assert lookback_family(moment, whole, whole.clear()).columns == pytest.approx(np.array([[0.4], [0.9]]))
    with_it, without = (attention_family(moment, one, whole.clear()).columns for one in (whole, heads()))
    assert with_it is not None
    assert without is not None
    assert with_it.shape[1] == without.shape[1] + 1
    assert lookback_family(moment, heads(), whole.clear()).reason == "it was not read"


def test_masses_that_were_not_read_after_so_many_tokens_leave_attention_undefined() -> None:
    moment = after_tokens(("a", "b"), np.array([2, 9]), 4)
    found = attention_family(moment, heads(), heads().clear())
    assert found.columns is None
    assert "masses after 4 tokens were not read" in str(found.reason)


def test_standardised_columns_leave_missing_and_constant_ones_at_zero() -> None:
    found = standardised(np.array([[1.0, 7.0, np.nan], [3.0, 7.0, 2.0], [np.nan, 7.0, 4.0]]))
    assert found.tolist() == [[-1.0, 0.0, 0.0], [1.0, 0.0, -1.0], [0.0, 0.0, 1.0]]
    assert Family("x", None).notes == ()


def test_single_rows_give_rauq_and_a_column_of_confidence(run: RunOfStates, generator: np.random.Generator) -> None:
    ids = sorted(run.lengths)
    plain = RunSignals(run).of(ids)
    signals = RunSignals(run)
    tokens = run.tokens.filter(pl.col("answer_position").is_not_null()).select("id", "answer_position")
    heads = pl.DataFrame({"layer": [0, 0, 1, 1, 2, 2], "head": [0, 1, 0, 1, 0, 1]})
    rows = tokens.join(heads, how="cross")
    signals.__dict__["rows"] = rows.with_columns(previous_token=pl.lit(generator.uniform(size=rows.height)))
    own = signals.of(ids)
    assert "RAUQ" not in [one.name for one in plain.published(plain.moment(8))]
    rauq = next(one for one in own.published(own.moment(8)) if one.name == "RAUQ").columns
    confidence = next(one for one in own.families(own.moment(8)) if one.name == "confidence").columns
    without = next(one for one in plain.families(plain.moment(8)) if one.name == "confidence").columns
    assert rauq is not None
    assert confidence is not None
    assert without is not None
    np.testing.assert_array_equal(confidence, np.column_stack([without, rauq]))
    assert np.isfinite(rauq).all()


def test_rauq_is_computed_once_for_the_confidence_and_by_itself(
    run: RunOfStates, monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator
) -> None:
    ids = sorted(run.lengths)
    places = [{"id": one, "answer_position": at} for one in ids for at in range(run.lengths[one])]
    rows = pl.DataFrame(places).with_columns(layer=0, head=0)
    signals, moments = RunSignals(run), []
    vars(signals)["rows"] = rows.with_columns(pl.Series(PREVIOUS, generator.uniform(size=rows.height)))

    def counted(moment: Moment, *arguments: Any) -> Family:
        moments.append(moment.after)
        return rauq_family(moment, *arguments)

    monkeypatch.setattr(run_signals, "rauq_family", counted)
    own = signals.of(ids)
    for after in (4, 8):
        confidence = {one.name: one.columns for one in own.families(own.moment(after))}["confidence"]
        alone = {one.name: one.columns for one in own.published(own.moment(after))}[RAUQ]
        assert confidence is not None
        assert alone is not None
        np.testing.assert_array_equal(confidence[:, -1:], alone)
    assert moments == [4, 8]
