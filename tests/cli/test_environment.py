"""Where the verbs run: without the optional part, at a terminal that is not UTF-8, with files that are not there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import polars as pl
import pytest

from foretell.cli.main import cli, main

HEAVY = {"torch", "transformers", "polars", "sklearn", "scipy", "numpy", "matplotlib", "plotly", "rich", "numba"}
STRANGE = "größer → 漢字 🙂 \u200b"
"""Text that few character sets have."""

CALLS: dict[str, list[str]] = {
    "demo": ["--quick", "--to", "made"],
    "spans": ["model", "prompts.jsonl"],
    "read": ["model", "prompts.jsonl", "--to", "made"],
    "check": ["run"],
    "show": ["run"],
    "label": ["run"],
    "export": ["run", "--to", "made.csv"],
    "direction": ["model", "--pairs", "pairs.csv", "--to", "made.safetensors"],
    "surface": ["model", "--question", "Who?", "--answer", STRANGE, "--to", "made"],
    "steer": ["model", "--pairs", "pairs.csv", "--to", "made"],
    "monitor": ["fit", "run", "--to", "made.safetensors"],
    "watch": ["model", "monitor.safetensors"],
    "serve": ["model"],
    "causes": ["model", "run", "--to", "made"],
    "study": ["table.csv", "--to", "made"],
    "compare": ["table.csv", "table.csv", "--to", "made"],
    "report": ["run"],
}
"""A call of every verb; the files it names need not hold anything."""
WITH_FOLDER = ("demo", "read", "surface", "steer", "causes", "study", "compare", "report")
"""Verbs that write a folder."""


def _call(verb: str, to: str) -> list[str]:
    """Return the verb's call with another place for its results."""
    words = CALLS[verb]
    return [verb, *(words[: words.index("--to")] if "--to" in words else words), "--to", to]


WITHOUT_MODELS = {"check", "show", "label", "export", "monitor", "study", "compare", "report"}

ALL_VERBS = """
import contextlib, io, json, sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from foretell.cli.main import main
found = {{}}
for verb, words in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main([verb, *words])
    found[verb] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with everything that `CALLS` names; nothing in it makes sense."""
    monkeypatch.chdir(tmp_path)
    for folder in ("model", "run", "used"):
        Path(folder).mkdir()
    Path("used", "study.json").write_text("mine", encoding="utf-8")
    Path("model", "config.json").write_text("{}", encoding="utf-8")
    for file in ("prompts.jsonl", "pairs.csv", "table.csv", "monitor.safetensors"):
        Path(file).write_text("nothing\n", encoding="utf-8")
    return tmp_path


def test_every_verb_is_called_here() -> None:
    assert list(CALLS) == cli.list_commands(click.Context(cli))


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("missing", [{"torch", "transformers", "safetensors", "gguf", "accelerate"}, {"transformers"}])
def test_without_the_optional_part_every_verb_says_what_to_install(missing: set[str]) -> None:
    code = ALL_VERBS.format(missing=missing)
    done = subprocess.run([sys.executable, "-c", code, json.dumps(CALLS)], capture_output=True, text=True, check=True)
    for verb, (exit_code, out, err) in json.loads(done.stdout).items():
        assert (exit_code, out) == (2, ""), (verb, err)
        assert len(err.splitlines()) == 1, err
        said = f"error: foretell {verb} needs an optional part: pip install 'foretell[models]'\n"
        assert (err == said) == (verb not in WITHOUT_MODELS), err
        assert "torch" not in err
    assert not Path("made").exists()


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["spans", "model", "absent.jsonl"], "absent.jsonl"),
        (["read", "model", "absent.jsonl", "--to", "made"], "absent.jsonl"),
        (["read", "./absent", "builtin", "--to", "made"], "./absent"),
        (["read", "model", "builtin", "--direction", "absent", "--to", "made"], "absent"),
        (["read", "model", "builtin", "--to", "table.csv"], "table.csv"),
        (["read", "model", "builtin"], "'--to'"),
        (["read", "model", "builtin:dolly", "--to", "made"], "no built-in set 'dolly': use builtin:instructions"),
        (["spans", "model", "builtin:"], "no built-in set ''"),
        (["label", "absent"], "absent"),
        (["label", "run", "--labels", "absent.csv"], "absent.csv"),
        (["direction", "absent.gguf", "--to", "made"], "absent.gguf"),
        (["direction", "model", "--pairs", "absent.csv", "--to", "made"], "absent.csv"),
        (["direction", "model", "--positive-system", "Lie.", "--to", "made"], "'--instructed'"),
        (["surface", "model", "--question", "Who?", "--to", "made"], "'--answer'"),
        (["surface", "model", "--question", "Who?", "--answer", "Ann.", "--layers", "1.9", "--to", "made"], "1.9"),
        (["surface", "model", "--question", "Who?", "--answer", "A", "--direction", "absent", "--to", "m"], "absent"),
        (["steer", "model", "--doses", "1,nan", "--to", "made"], "no list of numbers"),
        (["steer", "model", "--layers", "1,x", "--to", "made"], "no list of numbers"),
        (["steer", "model", "--layers", "2.5", "--to", "made"], "no list of whole numbers"),
        (["steer", "model", "--direction", "pairs.csv", "--to", "made"], "'--layers'"),
        (["study", "absent.csv", "--to", "made"], "absent.csv"),
        (["report", "absent"], "absent"),
        (["report", "run", "--surface", "absent"], "absent"),
        (["read", "model", "prompts.jsonl", "--max-new-tokens", "0", "--to", "made"], "0 is not in the range"),
        (["read", "model", "prompts.jsonl", "--top-p", "2", "--to", "made"], "2.0 is not in the range"),
        (["read", "model", "prompts.jsonl", "--temperature", "inf", "--to", "made"], "inf is not in the range"),
        (["surface", "model", "--question", "Who?", "--answer", " ", "--to", "made"], "an answer has no words"),
        (["surface", "model", "--question", "Who?", "--generate", "-2", "--to", "made"], "-2 is not in the range"),
        (["steer", "model", "--random", "-1", "--to", "made"], "-1 is not in the range"),
        (["study", "table.csv", "--seed", "-1", "--to", "made"], "-1 is not in the range"),
        (["spans", "model", "prompts.jsonl", "--limit", "-1"], "-1 is not in the range"),
        *((_call(verb, "used"), "used: holds a study already") for verb in WITH_FOLDER),
        *((_call(verb, "table.csv/in"), "table.csv: is a file; name a folder") for verb in (*WITH_FOLDER, "direction")),
        (_call("direction", "pairs.csv"), "pairs.csv: exists already"),
        ([*_call("direction", "made"), "--tables", "used"], "used: holds a study already"),
    ],
)
def test_a_wrong_call_is_answered_before_anything_heavy_is_loaded(words: Sequence[str], message: str) -> None:
    code = "import sys; from foretell.cli.main import main; code = main(sys.argv[1:]); print(code, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    exit_code, *modules = done.stdout.split()
    assert exit_code == "2"
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert not HEAVY & set(modules)
    assert not Path("made").exists()
    assert [path.name for path in Path("used").iterdir()] == ["study.json"]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    "words",
    [
        ["read", "model", "builtin", "--answers", "generate", "--to", "made"],
        ["surface", "model", "--question", "Who?", "--answer", "Ann.", "--to", "made"],
        ["steer", "model", "--layers", "1", "--to", "made"],
    ],
)
def test_a_file_that_holds_no_direction_is_refused_before_torch_is_loaded(words: Sequence[str]) -> None:
    code = "import sys; from foretell.cli.main import main; code = main(sys.argv[1:]); print(code, *sys.modules)"
    command = [sys.executable, "-c", code, *words, "--direction", "pairs.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    exit_code, *modules = done.stdout.split()
    assert exit_code == "2"
    assert "pairs.csv: holds no direction" in done.stderr
    assert not {"torch", "transformers"} & set(modules)
    assert not Path("made").exists()


def test_a_wrong_call_is_answered_at_once() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        command = [sys.executable, "-m", "foretell.cli.main", "read", "smollm2", "absent.jsonl", "--to", "made"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 2
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.usefixtures("there")
def test_a_terminal_sees_within_a_second_what_is_done() -> None:
    import pty

    seconds = []
    for _ in range(3):
        ours, theirs = pty.openpty()
        start = time.perf_counter()
        command = [sys.executable, "-m", "foretell.cli.main", "read", "model", "builtin", "--answers", "generate"]
        with subprocess.Popen([*command, "--to", "made"], stdout=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            shown = os.read(ours, 1000)
            seconds.append(time.perf_counter() - start)
            process.kill()
        os.close(ours)
        assert shown.startswith(b"opening builtin ...")
    assert min(seconds) < 1.0


def test_foretell_alone_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    alone = capsys.readouterr()
    assert main(["--help"]) == 0
    assert alone == capsys.readouterr()
    assert alone.out.startswith("Usage: foretell")
    assert alone.err == ""


@pytest.fixture
def sensible(there: Path) -> Path:
    """The files of `CALLS` with sensible contents, all of them with text that few character sets have."""
    from tests.reading.tiny import tiny_model

    model = tiny_model()
    model.model.save_pretrained(there / "model")
    model.tokenizer.save_pretrained(there / "model")
    prompt = {"id": f"{STRANGE} one", "dataset": STRANGE, "messages": [{"role": "user", "content": STRANGE}]}
    prompt["answer"] = STRANGE
    (there / "prompts.jsonl").write_text(json.dumps(prompt), encoding="utf-8")
    for file in ("pairs", "others"):
        topics = [f"{STRANGE} {file} {number}" for number in range(6)]
        columns = {"question": topics, "positive": [f"No {one}" for one in topics], "negative": topics, "topic": topics}
        pl.DataFrame(columns).write_csv(there / f"{file}.csv")
    return there


@pytest.mark.usefixtures("sensible")
def test_what_cannot_be_read_is_counted_at_the_end_or_stops_there(capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(Path("prompts.jsonl").read_text(encoding="utf-8"))
    long = {"messages": [{"role": "user", "content": "word " * 200}], "answer": "Yes."}
    records = [record, *({**long, "id": f"long-{number}", "dataset": "d"} for number in range(3))]
    records[-1]["messages"] = [{"role": "user", "content": "word " * 300}]
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    words = ["read", "model", "prompts.jsonl", "--to", "made"]
    assert main([*words, "--strict"]) == 1
    assert "conversation 'long-0' cannot be read: too long" in capsys.readouterr().err
    assert not Path("made").exists()
    assert main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("4 samples, ")
    assert [line[:26] for line in out[1:]] == ["  not read: 3 (too long: 1"]
    assert out[1].endswith("and the model has 512 positions, for example)")
    assert main([*words, "--strict"]) == 1


@pytest.mark.usefixtures("sensible")
@pytest.mark.parametrize("option", ["--gpus-per-worker=1", "--address=auto"])
def test_where_workers_are_is_said_of_workers(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "model", "prompts.jsonl", "--to", "made", option]) == 2
    assert "--gpus-per-worker and --address say where --workers are" in capsys.readouterr().err


def written_by(words: Sequence[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Call a verb whose output goes to a pipe of that character set."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        exit_code = main(list(words))
    for stream in streams:
        stream.flush()
        stream.seek(0)
    return exit_code, streams[0].read() + streams[1].read()


@pytest.mark.slow
@pytest.mark.usefixtures("sensible")
def test_every_verb_writes_to_a_pipe_that_is_not_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that need no study or monitor; these take long, and `test_main` makes a study at such a pipe."""
    saved = ["--direction", "made.safetensors", "--layers", "1"]
    calls = {
        **CALLS,
        "read": ["model", "prompts.jsonl", "--to", "run"],
        "direction": [*CALLS["direction"], "--concept", STRANGE],
        "surface": [*CALLS["surface"], *saved, "--no-band"],
        "steer": ["model", "--pairs", "others.csv", *saved, "--to", "steered"],
    }
    long = ("demo", "study", "report", "monitor", "watch", "serve", "causes", "compare")
    encodings = dict.fromkeys(long, ()) | {"spans": ("ascii", "cp1252")}
    Path("run").rmdir()
    for verb in cli.commands:
        for encoding in encodings.get(verb, ("cp1252",)):
            exit_code, shown = written_by([verb, *calls[verb]], encoding, monkeypatch)
            assert exit_code == 0, shown
            if verb in {"spans", "direction", "steer"}:
                assert "gr??er" in shown if encoding == "ascii" else "größer ?" in shown, shown


@pytest.mark.usefixtures("there")
def test_an_error_about_such_text_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("cp1252", "ascii", "utf-8"):
        exit_code, shown = written_by(["study", f"{STRANGE}\udc80.csv", "--to", "made"], encoding, monkeypatch)
        assert (exit_code, len(shown.splitlines())) == (2, 1)
        assert "does not exist" in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    command = [sys.executable, "-m", "foretell.cli.main", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    command = [sys.executable, "-m", "foretell.cli.main", "--help"]
    done = subprocess.run(command, stdout=ours, stderr=subprocess.PIPE, text=True, check=False)
    os.close(ours)
    assert (done.returncode, done.stderr) == (1, "")
