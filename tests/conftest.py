"""Fixtures that every wing's tests share."""

import numpy as np
import pytest


@pytest.fixture
def generator() -> np.random.Generator:
    """A generator with a fixed seed, so that a failure repeats."""
    return np.random.default_rng(20231107)
