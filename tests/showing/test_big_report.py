"""A report of ten thousand samples and a thousand heads can be sent around."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foretell.showing.report import write_report
from tests.showing import conftest

pytestmark = pytest.mark.slow


def test_ten_thousand_samples_and_a_thousand_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "N_LAYERS", 32)
    monkeypatch.setattr(conftest, "N_HEADS", 32)
    data = conftest.make_data()
    facts = replace(data.facts, conversations=conftest.make_conversations(10_000, n_tokens=48))
    page = write_report(replace(data, facts=facts), tmp_path / "out", progress=False)
    assert page.stat().st_size < 15e6
    assert "10,000 conversations, unpacked" in page.read_text(encoding="utf-8")
