"""The real model, loaded once per test run."""

from __future__ import annotations

import pytest

from foretell.errors import ModelError
from foretell.reading.models import Model, load_model
from tests.optional import missing


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """SmolLM2-135M-Instruct from the user's cache, converted if it is not there yet."""
    try:
        return load_model("smollm2")
    except ModelError as error:
        missing(str(error))
