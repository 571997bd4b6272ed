"""Skip a test for a missing part; where everything that can be installed must be there, fail."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the calling test because `what` is not installed; with CI=true fail it instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true requires every part")
    pytest.skip(f"{what} is missing")


def no_data(name: str) -> NoReturn:
    """Skip the calling test because the data `name` does not lie beside the repository: it cannot be installed."""
    pytest.skip(f"the data {name} is not beside the repository")
