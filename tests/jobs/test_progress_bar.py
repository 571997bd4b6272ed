"""The bar: rate and time left, from what this call does, and nowhere that nobody looks."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from foretell.jobs.progress_bar import progress_bar


def test_rate_and_time_left_are_of_this_call(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(total=1000, done=900, desc="reading", unit="sample", progress=True) as bar:
        assert bar.format_dict["initial"] == 900
        bar.update(50)
        bar.refresh()
        rate = (bar.n - bar.format_dict["initial"]) / bar.format_dict["elapsed"]
    assert bar.n == 950
    shown = stream.getvalue()
    assert "reading:  95%" in shown
    assert "950/1000" in shown
    assert "sample/s" in shown or "s/sample" in shown
    assert rate > 0


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_is_shown_where_nobody_looks(progress: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=3, desc="reading", unit="sample", progress=progress) as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")


_NOTEBOOK = (
    "import sys, types\n"
    "shell = type('ZMQInteractiveShell', (), {'config': {'IPKernelApp': {}}})()\n"
    "for name in ('IPython', 'ipykernel', 'ipykernel.zmqshell'): sys.modules[name] = types.ModuleType(name)\n"
    "sys.modules['IPython'].get_ipython = lambda: shell\n"
)
"""Lets a process look like a notebook's to the library, which looks for the kernel."""

_STUDY = (
    "import foretell\n"
    "from tests.stats.tables import head_table\n"
    "foretell.study(head_table(datasets=('x',)), n_trees=5, n_permutations=0, n_jobs=1)\n"
)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (
            "from foretell.jobs.progress_bar import progress_bar\n"
            "with progress_bar(total=2, desc='reading', unit='sample') as bar: bar.update(2)\n",
            "reading: 100%",
        ),
        (
            "from foretell.jobs.progress_bar import progress_bar\n"
            "list(progress_bar(range(3), desc='judging', unit='layer'))\n",
            "judging: 100%",
        ),
        (_STUDY, "study: 100%"),
    ],
    ids=["bar", "iterable", "study"],
)
def test_a_notebook_has_a_bar_and_no_warning(work: str, said: str) -> None:
    """Without widgets the library would warn, and draws text instead."""
    command = [sys.executable, "-W", "error", "-c", _NOTEBOOK + work]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert said in done.stderr + done.stdout
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("package", ["stats", "showing", "directions", "reading", "monitors"])
def test_there_is_one_kind_of_bar(package: str) -> None:
    """A bar of the library itself is hidden in notebooks, whose streams are no terminals."""
    folder = Path(progress_bar.__code__.co_filename).parents[1] / package
    assert [path.name for path in folder.rglob("*.py") if "from tqdm" in path.read_text(encoding="utf-8")] == []
