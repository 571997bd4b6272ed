"""A study turned over to pandas, table by table, computing no more than it needs."""

from __future__ import annotations

import numpy as np
import pytest

import foretell
from foretell.errors import InputError
from tests.stats.tables import head_table


def test_a_table_in_pandas_has_its_columns_and_numbers() -> None:
    study = foretell.study(head_table(), n_trees=5, n_permutations=0, compute=False, progress=False)
    found = study.to_pandas("association")
    assert list(found.columns) == study.association.columns
    np.testing.assert_array_equal(found["auc"].to_numpy(), study.association["auc"].to_numpy())
    assert "forests" not in vars(study)


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    study = foretell.study(head_table(), compute=False, progress=False)
    with pytest.raises(InputError, match=r"no table .x.: choose among association, roc, .*verdicts"):
        study.to_pandas("x")
