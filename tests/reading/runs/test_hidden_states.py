"""Runs with hidden states: given against generated, batched against single, prompts fed once, stopped and resumed."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from polars.testing import assert_frame_equal

from foretell.conversations.conversation import Conversation, Message
from foretell.errors import InputError, RunError
from foretell.reading.chat.spans import render
from foretell.reading.models.load import Model
from foretell.reading.runs.read import read
from foretell.schema.tables import HIDDEN, POOLS
from foretell.storage.runs import Run, open_run
from foretell.storage.state_choice import StateChoice
from tests.reading import by_hand
from tests.reading.runs.test_read import GIVEN, PROMPTS
from tests.reading.tiny import tiny_model

FULL: dict[str, Any] = {"layers": "all", "dtype": "float32"}


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


def states_of(run: Run) -> dict[tuple[int, str, int | None], tuple[list[str], np.ndarray]]:
    """Everything that is stored, as `Run.hidden` gives it."""
    places = run.hidden_states.select("layer", "pool", "n_generated").unique().rows()
    found = {place: run.hidden(*place) for place in places}
    return found | {(layer, pool, None): run.hidden(layer, pool) for layer, pool, _ in places}


def assert_same(one: Run, other: Run) -> None:
    first, second = states_of(one), states_of(other)
    assert set(first) == set(second)
    for place, (ids, states) in first.items():
        assert second[place][0] == ids
        np.testing.assert_allclose(second[place][1], states, atol=1e-4, rtol=1e-4)


def shards(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run.path / "hidden").iterdir())}


def test_states_are_those_of_each_text_read_alone(model: Model) -> None:
    run = read(model, GIVEN, hidden=FULL, progress=False)
    assert dict(run.hidden_states.schema) == HIDDEN.dtypes
    assert run.hidden_states.select(HIDDEN.key).is_unique().all()
    for asked in GIVEN:
        item = render(model, asked, answer=asked.answer)
        states = by_hand.capture_residual(model.model, input_ids=torch.from_numpy(item.token_ids)[None])[:, 0].numpy()
        answer = states[:, item.segments == 4]
        n_tokens = answer.shape[1]
        stored = run.hidden_states.filter(id=asked.id, layer=0, pool=POOLS[1])["n_generated"].to_list()
        assert stored == [*(k for k in (1, 2, 4, 8, 16, 32) if k < n_tokens), n_tokens]
        for layer in range(model.n_layers):
            expected = {(POOLS[0], 0): states[layer, item.n_prompt_tokens - 1]}
            expected |= {(POOLS[1], k): answer[layer, :k].mean(0) for k in stored}
            expected |= {(POOLS[2], k): answer[layer, k - 1] for k in stored}
            for (pool, number), vector in expected.items():
                ids, found = run.hidden(layer, pool, number)
                np.testing.assert_allclose(found[ids.index(asked.id)], vector, atol=1e-4, rtol=1e-4)


def test_none_is_the_whole_answer_and_a_number_gives_the_samples_with_so_many_tokens(model: Model) -> None:
    run = read(model, GIVEN, hidden=[1], progress=False)
    lengths = dict(run.samples.select("id", "n_tokens_generated").rows())
    longest = max(lengths.values())
    assert run.hidden(1, POOLS[1])[0] == run.hidden(1, POOLS[0])[0] == sorted(lengths)
    for number in (1, 8, 16):
        ids, states = run.hidden(1, POOLS[2], number)
        assert ids == sorted(one for one, length in lengths.items() if length >= number)
        assert states.shape == (len(ids), model.width)
        assert states.dtype == np.float32
    ids, states = run.hidden(1, POOLS[1], longest)
    whole = dict(zip(*run.hidden(1, POOLS[1]), strict=True))
    np.testing.assert_array_equal(states, [whole[one] for one in ids])


@pytest.mark.parametrize("answers", ["given", "generate"])
def test_batching_changes_nothing(model: Model, answers: Literal["given", "generate"]) -> None:
    samples = GIVEN if answers == "given" else PROMPTS
    options: dict[str, Any] = {"answers": answers, "max_new_tokens": 9, "hidden": FULL, "progress": False}
    together, alone = read(model, samples, **options), read(model, samples, batch_tokens=1, **options)
    assert len(alone.part_names) == len(samples)
    assert_same(together, alone)


def test_generated_answers_read_again_have_the_same_states(model: Model) -> None:
    """Also those that end early: the token that ends a turn is no token of the answer."""
    ending = tiny_model("llama")
    first = read(ending, PROMPTS, answers="generate", max_new_tokens=12, progress=False)
    longest = max(first.samples["answer_token_ids"].to_list(), key=len)
    ending.model.generation_config.eos_token_id = [3, longest[5]]
    generated = read(ending, PROMPTS, answers="generate", max_new_tokens=12, hidden=FULL, progress=False)
    lengths = set(generated.samples["n_tokens_generated"].drop_nulls().to_list())
    assert len(lengths) > 1
    assert_same(generated, read(ending, generated.conversations(), hidden=FULL, progress=False))
    rows = read(ending, generated.conversations(), hidden=FULL, rows=True, progress=False)
    assert_same(generated, rows)


def test_a_prompt_that_is_fed_once_changes_nothing(model: Model) -> None:
    asked = Conversation("one", "own", (Message("user", "Describe a river in few words."),))
    answers = ("A river.", "It is a long and winding river, they say.", "No.")
    several = [dataclasses.replace(asked, id=str(n), answer=text) for n, text in enumerate(answers)]
    together, alone = (read(model, several, hidden=FULL, progress=False, batch_tokens=n) for n in (4096, 1))
    assert len(together.part_names) == 1
    assert_same(together, alone)
    sampled = [dataclasses.replace(asked, id=str(n)) for n in range(3)]
    options: dict[str, Any] = {"answers": "generate", "temperature": 1.0, "hidden": FULL, "progress": False}
    generated = read(model, sampled, max_new_tokens=6, **options)
    assert_same(generated, read(model, generated.conversations(), hidden=FULL, progress=False, batch_tokens=1))


def test_half_precision_is_stored_within_its_rounding_and_never_overflows() -> None:
    model = tiny_model("llama")
    exact, half = (
        read(model, GIVEN, hidden={**FULL, "dtype": dtype}, progress=False) for dtype in ("float32", "float16")
    )
    for place, (_, states) in states_of(exact).items():
        np.testing.assert_allclose(half.hidden(*place)[1], states, rtol=2**-10, atol=1e-7)
    with torch.no_grad():
        model.model.model.layers[1].mlp.down_proj.weight.mul_(1e6)
    large = read(model, GIVEN, hidden=[0, 1], progress=False)
    states = large.hidden(1, POOLS[2])[1]
    assert np.abs(states).max() > np.finfo(np.float16).max
    expected = read(model, GIVEN, hidden={**FULL, "layers": [1]}, progress=False).hidden(1, POOLS[2])[1]
    np.testing.assert_array_equal(states, expected)


def test_states_are_part_of_the_job_only_when_asked_for(model: Model, tmp_path: Path) -> None:
    bare = read(model, GIVEN, to=tmp_path / "bare", progress=False)
    assert "hidden" not in bare.manifest["job"]
    assert bare.hidden_states.is_empty()
    with pytest.raises(InputError, match=r"has no hidden states; read it with hidden="):
        bare.hidden(0, POOLS[0])
    with pytest.raises(RunError, match="differs in hidden"):
        read(model, GIVEN, to=tmp_path / "bare", hidden=[0], progress=False)
    same = [read(model, GIVEN, to=tmp_path / "run", hidden=one, progress=False) for one in ([2, 0], range(0, 3, 2))]
    assert same[0].part_names == same[1].part_names
    again = read(model, GIVEN[:2], to=tmp_path / "run", overwrite=True, progress=False)
    assert not list((again.path / "hidden").iterdir())


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ([3], "no layer 3; the model has layers 0 to 2"),
        ({"layers": [0], "pools": ["mean"]}, "'mean' is no pool"),
        ({"layer": [0]}, "does not take layer"),
        ({"pools": "all"}, "needs layers"),
        ({"layers": "all", "dtype": "bfloat16"}, "dtype must be one of float16, float32"),
        ([], "names no layers"),
        (True, "names no layers"),
    ],
)
def test_wrong_choices_are_refused_before_anything_is_written(
    model: Model, tmp_path: Path, hidden: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(model, GIVEN, to=tmp_path / "run", hidden=hidden)
    assert not (tmp_path / "run").exists()


def test_the_size_is_printed_before_reading(model: Model, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = read(model, GIVEN, hidden=[0, 1], progress=True, to=tmp_path / "run")
    assert "hidden states: 0.0 MiB (2 layers, 3 pools)" in capsys.readouterr().err
    stored = run.hidden_states.height * model.width * 2
    lengths = run.samples["n_tokens_generated"].to_list()
    choice = StateChoice.of([0, 1], model.n_layers)
    assert choice.n_bytes(lengths, model.width) == stored
    read(model, PROMPTS, answers="generate", max_new_tokens=3, hidden="all", progress=True)
    assert "hidden states: at most 0.0 MiB (3 layers, 3 pools)" in capsys.readouterr().err


def test_samples_whose_states_are_not_finite_have_a_reason_and_none() -> None:
    model = tiny_model("llama")
    strange = model.tokenizer.encode("\u00a7")[0]
    with torch.no_grad():
        model.model.model.embed_tokens.weight[strange] = torch.inf
    broken = dataclasses.replace(GIVEN[0], id="broken", answer="\u00a7")
    run = read(model, [*GIVEN, broken], hidden=[2], progress=False)
    reasons = dict(run.samples.select("id", "reason").iter_rows())
    assert "hidden states are not finite in float32" in reasons.pop("broken")
    assert set(reasons.values()) == {None}
    assert "broken" not in set(run.hidden_states["id"])


def test_a_run_stopped_between_shard_and_manifest_goes_on_to_equal_shards(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"hidden": "all", "batch_tokens": 1, "progress": False}
    whole = read(model, GIVEN, to=tmp_path / "whole", **options)
    append = Run.append

    def stopping(run: Run, name: str, tables: Any) -> None:
        if name == "part-00002":
            (run.path / "hidden" / "part-00003.safetensors").write_bytes(b"left over")
            raise KeyboardInterrupt
        append(run, name, tables)

    monkeypatch.setattr(Run, "append", stopping)
    with pytest.raises(KeyboardInterrupt):
        read(model, GIVEN, to=tmp_path / "stopped", **options)
    monkeypatch.undo()
    stopped = open_run(tmp_path / "stopped")
    assert (stopped.path / "hidden" / "part-00002.safetensors").exists()
    assert len(stopped.hidden(0, POOLS[0])[0]) == 2
    resumed = read(model, GIVEN, to=tmp_path / "stopped", **options)
    assert shards(resumed) == shards(whole)
    assert_frame_equal(resumed.hidden_states, whole.hidden_states)
    resumed.verify()


KILLED = """
import os, signal, sys
from foretell.reading.runs import read as reading
from foretell.storage import state_shards
from safetensors import numpy as arrays
from tests.reading.runs.test_read import GIVEN
from tests.reading.tiny import tiny_model

where, written = sys.argv[2], []
def die(): os.kill(os.getpid(), signal.SIGKILL)
save, append = arrays.save_file, reading.Run.append
def saving(tensors, path):
    written.append(path)
    save(tensors, path)
    if where == "while writing" and len(written) == 3:
        with open(path, "r+b") as file: file.truncate(100)
        die()
def appending(run, name, tables):
    if where == "before the index" and name == "part-00002": die()
    append(run, name, tables)
    if where == "after the manifest" and name == "part-00002": die()
arrays.save_file, reading.Run.append = saving, appending
reading.read(tiny_model("llama"), GIVEN, to=sys.argv[1], hidden="all", batch_tokens=1, progress=False)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("where", ["while writing", "before the index", "after the manifest"])
def test_a_run_that_is_killed_goes_on_to_equal_shards(model: Model, tmp_path: Path, where: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "run"), where], check=False, cwd=Path.cwd())
    assert killed.returncode == -signal.SIGKILL
    options: dict[str, Any] = {"hidden": "all", "batch_tokens": 1, "progress": False}
    resumed = read(model, GIVEN, to=tmp_path / "run", **options)
    whole = read(model, GIVEN, to=tmp_path / "whole", **options)
    assert {name: data for name, data in shards(resumed).items() if not name.startswith(".")} == shards(whole)
    resumed.verify()
