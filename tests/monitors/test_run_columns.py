"""Numbers of a run after so many tokens, against a slow definition."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from foretell.errors import InputError
from foretell.monitors.monitor_columns import Columns
from foretell.monitors.run_columns import Moments, RunColumns, ScoredAt, check_moments, moments
from foretell.schema.tables import MASSES
from foretell.storage.runs import Run
from tests.stats.runs import planted_run


@pytest.mark.parametrize(
    ("scored_at", "expected"),
    [
        ("checkpoints", [(0, 1), (0, 2), (0, 4), (0, 5), (1, 1), (2, 1), (2, 2), (2, 4)]),
        ("every token", [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 1), (2, 1), (2, 2), (2, 3), (2, 4)]),
        (4, [(0, 4), (1, 1), (2, 4)]),
        (1, [(0, 1), (1, 1), (2, 1)]),
    ],
)
def test_moments_of_answers(scored_at: ScoredAt, expected: list[tuple[int, int]]) -> None:
    found = moments(np.array([5, 1, 4]), scored_at)
    assert list(zip(found.sample.tolist(), found.n_generated.tolist(), strict=True)) == expected
    assert found.is_end.tolist() == [(5, 1, 4)[sample] == tokens for sample, tokens in expected]


@pytest.mark.parametrize("scored_at", [0, 3, -2, True, 4.0, "every", None])
def test_what_is_no_moment_is_refused(scored_at: object) -> None:
    with pytest.raises(InputError, match="scored_at must be"):
        check_moments(scored_at)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted_run(tmp_path_factory.mktemp("made") / "run", n_samples=12, seed=3)


@pytest.fixture(scope="module")
def found(run: Run) -> RunColumns:
    samples = run.samples
    lengths = samples["n_tokens_generated"].cast(pl.Int64).to_numpy()
    return RunColumns(run, samples["id"].to_list(), moments(lengths, "checkpoints"), "checkpoints")


def by_row(found: RunColumns) -> list[tuple[int, str, int, bool]]:
    rows: Moments = found.rows
    columns = (rows.sample.tolist(), rows.n_generated.tolist(), rows.is_end.tolist())
    return [
        (row, found.ids[sample], tokens, end) for row, (sample, tokens, end) in enumerate(zip(*columns, strict=True))
    ]


def test_masses_are_those_of_the_tables(run: Run, found: RunColumns) -> None:
    heads = ((1, 1), (0, 0))
    values = found.mass(heads)
    for row, name, tokens, end in by_row(found):
        table = run.attention if end else run.checkpoints.filter(pl.col("n_generated") == tokens)
        for place, (layer, head) in enumerate(heads):
            one = table.filter((pl.col("id") == name) & (pl.col("layer") == layer) & (pl.col("head") == head))
            np.testing.assert_array_equal(values[row, place], one.select(MASSES).to_numpy()[0].astype(np.float32))


def test_states_are_those_of_the_run(run: Run, found: RunColumns) -> None:
    assert found.pool == "mean over answer"
    assert found.state_layers("mean over answer") == [0, 1]
    values = found.states(1, "mean over answer")
    for row, name, tokens, end in by_row(found):
        ids, states = run.hidden(1, "mean over answer", None if end else tokens)
        np.testing.assert_array_equal(values[row], states[ids.index(name)])


def test_activity_and_confidence_are_of_the_tokens_so_far(run: Run, found: RunColumns) -> None:
    activity, logprob = found.activity((("truth", 1), ("none", 0))), found.logprob
    assert np.isnan(activity[:, 1]).all()
    for row, name, tokens, _ in by_row(found):
        own = run.activity.filter((pl.col("id") == name) & (pl.col("layer") == 1))
        so_far = own.sort("answer_position")["activity"].to_numpy()[:tokens]
        assert activity[row, 0] == pytest.approx([so_far.mean(), so_far[-1]])
        own = run.tokens.filter(pl.col("id") == name).sort("answer_position")
        sure = own["logprob"].to_numpy()[:tokens]
        assert logprob[row] == pytest.approx([sure.mean(), sure.min()])


def test_states_that_are_not_there_are_refused(found: RunColumns) -> None:
    with pytest.raises(InputError, match=r"has no hidden states of layer 7 \(mean over answer\)"):
        found.numbers(Columns(layers=(7,), width=6))


def test_a_missing_number_is_nan_and_so_is_the_matrix(found: RunColumns) -> None:
    columns = Columns(heads=((9, 9),))
    assert np.isnan(columns.matrix(found.numbers(columns))).all()
