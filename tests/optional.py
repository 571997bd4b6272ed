"""Skip a test for a missing optional part, or fail where everything must be there."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the calling test because `what` is missing; with CI=true fail it instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true requires every part")
    pytest.skip(f"{what} is missing")
