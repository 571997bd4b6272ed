"""The pages of the docs that benchmarks write have the text of the benchmarks' templates."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = {
    "null_tables": "null-tables.md",
    "interval_coverage": "intervals.md",
    "detector_coverage": "held-out-intervals.md",
    "many_designs": "coverage.md",
}


@pytest.mark.parametrize("script", TEMPLATES)
def test_a_page_has_the_text_of_its_template(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module(script)
    page = (ROOT / "docs" / "concepts" / TEMPLATES[script]).read_text(encoding="utf-8")
    pattern = "(?s:.+?)".join(re.escape(text) for text in re.split(r"\{\w+(?::[^}]*)?\}", module.PAGE))
    assert re.fullmatch(pattern, page), f"edit the template in benchmarks and {TEMPLATES[script]} together"
