"""The verbs: what they print, what they write, and how they refuse."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

import foretell
from foretell.cli.main import cli, main
from foretell.errors import InputError
from foretell.schema.tables import SHARES

VERBS = (
    *("demo", "spans", "read", "check", "show", "label", "export", "direction", "surface", "steer"),
    *("monitor", "watch", "study", "report"),
)


def attention(n_samples: int = 40, n_layers: int = 2, n_heads: int = 3, *, seed: int = 0) -> pl.DataFrame:
    """A table with the source's columns whose first head foretells the label."""
    generator = np.random.default_rng(seed)
    label = np.arange(n_samples) % 2
    raw = generator.gamma(4.0, size=(n_samples, n_layers, n_heads, 3))
    raw[:, 0, 0, 0] *= 1.0 + 2.0 * label
    shares = raw / raw.sum(axis=-1, keepdims=True)
    sample, layer, head = (axis.ravel() for axis in np.indices(shares.shape[:3]))
    columns = {name: shares[..., index].ravel() for index, name in enumerate(SHARES)}
    return pl.DataFrame(
        {"id": [f"s{i}" for i in sample], "dataset": "alpaca", "layer": layer, "head": head, **columns}
    ).with_columns(behavior_label=pl.Series(label[sample]))


def run(*words: str | Path, expect: int = 0) -> str:
    """Run a verb in a process of its own; return what it printed."""
    command = [sys.executable, "-m", "foretell.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout if expect == 0 else done.stderr


def refused(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a verb that must refuse; return its one line."""
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a clean CSV, made by the verb in a process that cannot import torch, in a bad environment.

    Its output is not UTF-8, and it inherited the way a notebook draws.
    """
    folder = tmp_path_factory.mktemp("studied")
    attention().write_csv(folder / "table.csv")
    code = (
        "import sys\nfrom importlib.abc import MetaPathFinder\n"
        "class NoTorch(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'safetensors', 'gguf'):\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from foretell.cli.main import main\n"
        f"sys.exit(main(['study', {str(folder / 'table.csv')!r}, '--to', {str(folder / 'out')!r}]))"
    )
    inherited = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONIOENCODING": "ascii"}
    environment = os.environ | inherited
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


def test_help_lists_the_verbs_in_the_order_of_the_work() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    places = [text.index(f"\n  {verb} ") for verb in VERBS]
    assert places == sorted(places)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_an_example(verb: str) -> None:
    text = CliRunner().invoke(cli, [verb, "--help"]).output
    assert re.search(rf"Examples?:\n\s+foretell {verb}", text)


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        run("--help")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


@pytest.mark.slow
def test_a_study_without_torch_writes_report_tables_and_figures(studied: Path) -> None:
    printed, out = (studied / "printed").read_text(), studied / "out"
    assert str(out / "report.html") in printed
    assert "\x1b[" not in printed, "colour where it is piped"
    wanted = {"association", "roc", "thresholds", "forest", "importances", "detectors", "verdicts"}
    assert wanted <= {path.stem for path in (out / "tables").glob("*.parquet")}
    assert {path.suffix for path in (out / "figures").iterdir()} == {".png", ".svg"}
    summary = json.loads((out / "study.json").read_text())
    assert {"settings", "ledger", "validity", "versions", "verdicts"} <= set(summary)


@pytest.mark.slow
def test_the_sources_troubles_change_the_ledger_and_nothing_else(studied: Path, tmp_path: Path) -> None:
    clean = attention()
    average = clean.group_by("id", "dataset").agg(pl.col(*SHARES, "behavior_label").first(), head=pl.lit(0))
    unlabelled = clean.filter(id="s0").with_columns(pl.lit("nobody").alias("id"))
    text = pl.col("layer", "head", "behavior_label").cast(pl.String)
    troubled = pl.concat(
        [
            clean.with_columns(text),
            average.with_columns(layer=pl.lit("avg")).select(clean.columns).with_columns(text),
            unlabelled.with_columns(text).with_columns(behavior_label=pl.lit("NaN")),
        ]
    ).sample(fraction=1.0, shuffle=True, seed=1)
    troubled.write_csv(tmp_path / "troubled.csv")
    run("study", tmp_path / "troubled.csv", "--to", tmp_path / "out")
    for path in sorted((studied / "out" / "tables").glob("*.parquet")):
        assert pl.read_parquet(path).equals(pl.read_parquet(tmp_path / "out" / "tables" / path.name)), path.stem
    ledgers = [json.loads((folder / "out" / "study.json").read_text())["ledger"] for folder in (studied, tmp_path)]
    assert ledgers[0] != ledgers[1]


@pytest.mark.slow
def test_a_report_is_rendered_again_from_its_tables(studied: Path, tmp_path: Path) -> None:
    run("report", studied / "out", "--to", tmp_path / "again")
    assert (tmp_path / "again" / "report.html").read_text() == (studied / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "table.csv", "--labels", "others.csv"], "no id in common"),
        (["study", "lacking.csv"], '"PAM_norm"'),
        (["study", "empty.csv"], "empty"),
        (["study", "absent.csv"], "absent.csv"),
        (["study", "table.csv", "--metrics", "WAM"], '"WAM"'),
        (["read", "no-model", "prompts.txt"], "prompts.txt"),
        (["read", "no-model", "prompts.jsonl"], "none of the 1 conversations has an answer to read"),
        (["read", "no-model", "prompts.jsonl", "--answers", "generate"], "no-model"),
        (["read", "no-model", "prompts.jsonl", "--format", "scroll"], "'scroll' is not one of 'auto'"),
        (["direction", "no-model", "--pairs", "table.csv"], "table.csv"),
        (["surface", "no-model", "--question", "Who?"], "--generate"),
        (["surface", "no-model", "--question", "Who?", "--answer", "Ann.", "--direction", "x.st"], "x.st"),
        (["steer", "no-model", "--doses", "a,b"], "no list of numbers"),
        (["steer", "no-model", "--pairs", "table.csv"], "table.csv"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    words: Sequence[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    attention().write_csv("table.csv")
    attention().drop("PAM_norm").write_csv("lacking.csv")
    pl.DataFrame({"id": ["zebra"], "behavior_label": [1]}).write_csv("others.csv")
    Path("empty.csv").touch()
    Path("prompts.txt").write_text("just some words\nand more of them\n")
    Path("prompts.jsonl").write_text('{"id": "a", "query": "Hello"}\n')
    Path("no-model").mkdir()
    assert message in refused(*words, "--to", "out", capsys=capsys)
    assert not Path("out").exists()


@pytest.mark.model
def test_spans_show_every_character_once(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    messages = [{"role": "user", "content": "Add up.\x1b[31m Twice."}]
    path.write_text(json.dumps({"id": "one", "dataset": "own", "messages": messages, "answer": "Four."}) + "\n")
    shown = run("spans", "smollm2", path)
    assert "\x1b" not in shown
    assert "query" in shown
    assert "Add up.␛[31m Twice." in shown
    assert shown.rstrip().endswith("Four.")


@pytest.mark.model
def test_built_in_sets_are_read_by_name() -> None:
    assert "questions-capitals-france" in run("spans", "smollm2", "builtin:questions", "--limit", "1")


def test_no_such_run_and_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no run" in refused("label", tmp_path, capsys=capsys)
    assert "see `foretell study --help`" in refused("study", "table.csv", capsys=capsys)
    assert "No such command 'dance'" in refused("dance", capsys=capsys)


def test_escape_sequences_of_a_file_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = attention().with_columns(pl.lit("\x1b[31mred").alias("dataset")).drop("PAM_norm")
    table = table.rename({"QAM_norm": "QAM\x1b[2J_norm"})
    table.write_parquet(tmp_path / "table.parquet")
    assert "\x1b[2J" not in refused("study", tmp_path / "table.parquet", "--to", tmp_path / "out", capsys=capsys)


@pytest.mark.parametrize(("said", "asked"), [("8,16", [8, 16]), ("all", "all"), (None, None)])
def test_layers_of_hidden_states_are_passed_on(
    said: str | None, asked: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*_: object, hidden: object, **__: object) -> None:
        raise InputError(f"asked for {hidden}")

    def opened(_: str, options: dict[str, object]) -> None:
        for name in ("dtype", "device", "trust_remote_code"):
            options.pop(name)

    monkeypatch.setattr(foretell, "read", read, raising=False)
    monkeypatch.setattr("foretell.cli.main.opened_model", opened)
    words = ("read", tmp_path, "builtin", "--answers", "generate", "--to", tmp_path / "run")
    assert refused(*words, *(("--hidden", said) if said else ()), capsys=capsys) == f"error: asked for {asked}"
    if said == "all":
        for wrong in ("every", "8;16", "8-16", ""):
            message = refused(*words, "--hidden", wrong, capsys=capsys)
            assert f"{wrong!r} is neither all nor layers such as 8,16" in message


def test_families_of_signals_are_passed_on_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def study(*_: object, signals: dict[str, Path] | None, **__: object) -> None:
        raise InputError(f"asked for {signals and {name: path.name for name, path in signals.items()}}")

    monkeypatch.setattr(foretell, "study", study, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("table.csv", "probe.csv", "x=y.csv"):
        Path(name).write_text("id,score\n")
    for said, asked in (
        ((), "None"),
        (("probe.csv",), "{'probe': 'probe.csv'}"),
        (("mine=probe.csv", "x=y.csv"), "{'mine': 'probe.csv', 'x=y': 'x=y.csv'}"),
    ):
        words = [word for one in said for word in ("--signals", one)]
        assert refused("study", "table.csv", "--to", "out", *words, capsys=capsys) == f"error: asked for {asked}"
    for wrong, message in ((("nowhere.csv",), "'nowhere.csv' does not exist"), (("probe.csv",) * 2, "use NAME=FILE")):
        words = [word for one in wrong for word in ("--signals", one)]
        assert message in refused("study", "table.csv", "--to", "out", *words, capsys=capsys)
