"""Few studies of the simulated worlds, to see that the benchmark runs and that noise is not called a signal."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from foretell.schema.tables import SHARES

ROOT = Path(__file__).parents[2]
NULL = (
    "independent",
    "three datasets",
    "strata only",
    "lengths, U-shaped",
    "words of the answer",
    "groups of 1 to 30, both labels",
    "rows missing by label",
    "ties",
)
"""Worlds of noise that need another part of the statistics each."""
STUDIES = int(os.environ.get("FORETELL_STUDIES", "1"))
"""Of each world."""


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("studies")


def test_every_world_is_a_table(studies: Any) -> None:
    for name, world in studies.WORLDS.items():
        table = world.make(np.random.default_rng(0))
        assert table.select("id", "dataset", "layer", "head").is_duplicated().sum() == 0, name
        assert table["behavior_label"].n_unique() == 2, name
        if world.study.get("compositional", True):
            assert table.select(pl.sum_horizontal(SHARES)).to_series().to_list() == pytest.approx([1.0] * table.height)


def test_holms_p_values(studies: Any) -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(studies.holm(p), [0.03, np.nan, 0.06, 0.06])
    assert studies.primary(np.array([0.04, 0.001]), ["all heads", "forest on rows"])
    assert not studies.primary(np.array([0.04, 0.04]), ["all heads", "all heads"])
    assert not studies.primary(np.array([np.nan]), ["all heads"])


def test_a_world_of_one_study_is_counted(studies: Any) -> None:
    result = studies.studied(("pure strata", 0))
    assert (result["said"], result["found_by"]) == (False, [])
    world = studies.WORLDS["pure strata"]
    rows = studies.summary([world], [result])
    assert [row["world"] for row in rows] == ["pure strata", "all"]
    assert (rows[0]["n"], rows[0]["said"], rows[0]["lower"]) == (1, 0.0, 0.0)


@pytest.mark.calibration
@pytest.mark.slow
def test_noise_is_called_a_signal_in_few_studies_of_any_world(studies: Any) -> None:
    results = [studies.studied((name, 1000 + seed)) for name in NULL for seed in range(STUDIES)]
    said = Counter(one["world"] for one in results if one["said"])
    assert said.total() <= binom.isf(0.001, len(results), 0.05), said
    assert max(said.values(), default=0) <= binom.isf(0.001, STUDIES, 0.05), said


@pytest.mark.calibration
@pytest.mark.slow
@pytest.mark.parametrize("name", ["one head in 500", "beside a strong length effect", "within strata only"])
def test_what_is_planted_is_found(studies: Any, name: str) -> None:
    assert any(studies.studied((name, seed))["said"] for seed in range(2))
