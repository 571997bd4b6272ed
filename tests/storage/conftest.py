"""Tests of the store do not wait for the disk; one of them checks that the store does."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def not_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time of small files."""
    monkeypatch.setattr("foretell.storage.atomic._sync", lambda _: None)
