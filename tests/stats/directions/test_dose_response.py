from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from foretell.schema.tables import STEERING
from foretell.stats.directions.dose_response import dose_response


def test_shifts_are_means_with_students_interval(generator: np.random.Generator) -> None:
    base, shifted = generator.normal(size=15), generator.normal(size=(2, 15))
    random = generator.normal(size=(3, 2, 15))
    found = dose_response(base, shifted, random, (4.0, -1.0), concept="lying")
    assert found.columns == list(STEERING.dtypes)
    assert found["dose"].to_list() == [-1.0, 0.0, 4.0] * 2
    row = found.row(2, named=True)
    shift = shifted[0] - base
    ends = stats.t.interval(0.95, 14, shift.mean(), stats.sem(shift))
    assert (row["shift"], row["shift_lower"], row["shift_upper"]) == pytest.approx((shift.mean(), *ends))
    assert row["flipped"] == pytest.approx(np.mean((shifted[0] > 0) != (base > 0)))
    control = found.row(3, named=True)
    means = (random[:, 1] - base).mean(axis=1)
    assert (control["draw_lower"], control["draw_upper"]) == pytest.approx((means.min(), means.max()))
    assert control["shift"] == pytest.approx(means.mean())
    assert control["n_draws"] == 3


def test_one_pair_has_no_interval_and_no_control_no_rows(generator: np.random.Generator) -> None:
    base = generator.normal(size=1)
    found = dose_response(base, base[None] + 1.0, np.empty((0, 1, 1)), (1.0,), concept="lying")
    assert found["kind"].unique().to_list() == ["direction"]
    assert found["shift_lower"].null_count() == found.height
    assert found["reason"].null_count() == 0
    assert found.filter(pl.col("dose") == 0.0).height == 1


def test_the_directed_part_is_what_changes_its_sign_with_the_dose(generator: np.random.Generator) -> None:
    base = generator.normal(size=40)
    doses = (-2.0, -1.0, 1.0, 2.0, 3.0)
    sized = np.array(doses)[:, None]
    # Any push makes the model less sure, by the square of the dose; only the direction does more on one side.
    shifted = base + 0.5 * sized**2 + 0.3 * sized + 0.01 * generator.normal(size=(5, 40))
    random = base + 0.5 * sized**2 + generator.normal(size=(19, 1, 1)) * 0.02 * sized
    found = dose_response(base, shifted, random, doses, concept="lying")
    own = {row["dose"]: row for row in found.filter(pl.col("kind") == "direction").to_dicts()}
    assert own[-1.0]["shift"] > 0.15
    for dose in (-2.0, -1.0, 1.0, 2.0):
        odd = (shifted[doses.index(dose)] - shifted[doses.index(-dose)]) / 2
        ends = stats.t.interval(0.95, 39, odd.mean(), stats.sem(odd))
        row = own[dose]
        assert (row["directed"], row["directed_lower"], row["directed_upper"]) == pytest.approx((odd.mean(), *ends))
        assert row["directed"] == pytest.approx(0.3 * dose, abs=0.02)
        assert row["directed_p"] == pytest.approx(1 / 20)
    assert own[3.0]["directed"] is own[0.0]["directed"] is own[3.0]["directed_p"] is None
    control = found.filter((pl.col("kind") == "random") & (pl.col("dose") == 2.0)).row(0, named=True)
    draws = ((random[:, 3] - random[:, 0]) / 2).mean(axis=1)
    assert (control["directed"], control["directed_lower"], control["directed_upper"]) == pytest.approx(
        (draws.mean(), draws.min(), draws.max())
    )
    assert control["directed_p"] is None


@pytest.mark.calibration
def test_a_direction_that_is_random_itself_is_rare_as_often_as_it_says(generator: np.random.Generator) -> None:
    rare = []
    for _ in range(400):
        base = generator.normal(size=12)
        every = (
            base + np.array([[-1.0], [1.0]]) * generator.normal(size=(20, 1, 12)) + generator.normal(size=(20, 2, 12))
        )
        found = dose_response(base, every[0], every[1:], (-1.0, 1.0), concept="lying")
        rare.append(found.filter((pl.col("kind") == "direction") & (pl.col("dose") == 1.0))["directed_p"][0] <= 0.1)
    assert 0.06 < np.mean(rare) < 0.15


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("broken", ["direction", "random"])
def test_what_is_not_finite_is_null_with_a_reason(generator: np.random.Generator, value: float, broken: str) -> None:
    base, shifted, random = generator.normal(size=6), generator.normal(size=(2, 6)), generator.normal(size=(3, 2, 6))
    if broken == "direction":
        shifted[1, 2] = value
    else:
        random[0, 1, 2] = value
    found = dose_response(base, shifted, random, (-2.0, 2.0), concept="lying")
    for column in found.select(pl.selectors.float()):
        assert column.drop_nulls().is_finite().all(), column.name
    rows = {(row["kind"], row["dose"]): row for row in found.rows(named=True)}
    gone, back = rows[broken, 2.0], rows[broken, -2.0]
    assert (gone["shift"], gone["log_odds"], gone["flipped"], gone["directed"]) == (None,) * 4
    assert gone["reason"] == "the log-odds of 1 of 6 pairs are not finite at this dose"
    assert back["shift"] is not None
    assert (back["directed"], back["reason"]) == (None, "the log-odds are not finite at the opposite dose")
    other = rows["random" if broken == "direction" else "direction", 2.0]
    assert (other["directed"] is None) == (other["shift"] is None) == False  # noqa: E712
    if broken == "random":
        assert other["directed_p"] is None
        assert "so there is no p-value" in other["reason"]
