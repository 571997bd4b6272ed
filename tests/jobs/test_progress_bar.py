"""The bar: rate and time left, from what this call does, and nowhere that nobody looks."""

from __future__ import annotations

import io
import subprocess
import sys

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


def test_a_notebook_has_a_bar_and_no_warning() -> None:
    """The library looks for the kernel; without widgets it would warn, and draws text instead."""
    code = (
        "import sys, types\n"
        "shell = type('ZMQInteractiveShell', (), {'config': {'IPKernelApp': {}}})()\n"
        "for name in ('IPython', 'ipykernel', 'ipykernel.zmqshell'): sys.modules[name] = types.ModuleType(name)\n"
        "sys.modules['IPython'].get_ipython = lambda: shell\n"
        "from foretell.jobs.progress_bar import progress_bar\n"
        "with progress_bar(total=2, desc='reading', unit='sample') as bar: bar.update(2)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "reading: 100%" in done.stderr + done.stdout
    assert "Warning" not in done.stderr
