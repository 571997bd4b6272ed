"""Fixtures of all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from tests.optional import missing

if TYPE_CHECKING:
    from foretell.reading.models.load import Model

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def generator() -> np.random.Generator:
    """A generator with a fixed seed, so that a failure repeats."""
    return np.random.default_rng(20231107)


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of the checker of accessibility."""
    from tests.showing.axe_checker import fetched_axe

    return fetched_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """SmolLM2-135M-Instruct from the user's cache, converted if it is not there yet."""
    from foretell.errors import ModelError
    from foretell.reading.models.load import load_model

    try:
        return load_model("smollm2")
    except ModelError as error:
        missing(str(error))
