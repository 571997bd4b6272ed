from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from foretell.schema import STEERING
from foretell.stats.steering import dose_response


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
