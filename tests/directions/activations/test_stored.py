"""Hidden states in a file are those in memory, and states that fit nowhere are refused before any work."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from foretell.conversations.pairs import ContrastPair
from foretell.directions.activations.paired import TokenChoice, read_activations, states_needed
from foretell.directions.activations.stored import Stored, overflow_folder, state_bytes
from foretell.directions.fit import fit_direction, heldout_scores
from foretell.directions.fit_and_judge import Controls, judge_directions
from foretell.errors import InputError
from foretell.reading.models.load import Model
from tests.reading.tiny import tiny_model

PAIRS = [
    ContrastPair(f"{topic}-{index}", topic, f"Question {index * 37} about {topic}?", f"{word} so+", f"{word} so, no-")
    for topic in ("one", "two", "three")
    for index, word in enumerate(("It", "We say", "Maybe they all", "They"))
]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model("llama")


@pytest.mark.parametrize("tokens", ["last", "mean", "every"])
def test_a_file_holds_what_memory_holds(model: Model, tmp_path: Path, tokens: TokenChoice) -> None:
    within = read_activations(model, PAIRS, tokens=tokens, batch_tokens=150, progress=False)
    kept = read_activations(model, PAIRS, tokens=tokens, batch_tokens=150, folder=tmp_path, progress=False)
    assert isinstance(kept.hidden, np.memmap)
    assert kept.hidden.nbytes == states_needed(model, PAIRS, tokens) == (tmp_path / "states.float32").stat().st_size
    np.testing.assert_array_equal(kept.hidden, within.hidden)
    np.testing.assert_array_equal(kept.row_pair, within.row_pair)
    assert (np.diff(kept.row_pair) >= 0).all()
    layer = kept.layer(1)
    assert not isinstance(layer.hidden, np.memmap)
    np.testing.assert_array_equal(layer.hidden[:, :, 0], within.hidden[:, :, 1])
    np.testing.assert_array_equal(layer.facts.calibration[:, 0], within.facts.calibration[:, 1])


def test_rows_go_where_they_belong_whatever_their_order(generator: np.random.Generator) -> None:
    n_rows = np.array([2, 1, 3])
    rows = generator.normal(size=(6, 2, 2, 4)).astype(np.float32)
    sink = Stored(n_rows, 2, 4, None)
    for pairs in ([2, 0], [1]):
        at = np.concatenate([np.flatnonzero(sink.row_pair == pair) for pair in pairs])
        for layer in (0, 1):
            sink.add(layer, sink.row_pair[at], torch.as_tensor(rows[at, :, layer]))
    np.testing.assert_array_equal(sink.hidden, rows)


def test_evidence_from_a_file_is_the_evidence_from_memory(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[str] = []
    make = tempfile.TemporaryDirectory

    def noted(prefix: str) -> tempfile.TemporaryDirectory[str]:
        made = make(prefix=prefix)
        folders.append(made.name)
        return made

    monkeypatch.setattr(tempfile, "TemporaryDirectory", noted)
    methods, controls = ("mean-difference", "linear-discriminant"), Controls(n_random=5, n_shuffled=2)
    first, second = (
        judge_directions(model, PAIRS, methods=methods, controls=controls, memory_bytes=n_bytes, progress=False)
        for n_bytes in (2**30, 0)
    )
    assert len(folders) == 1
    assert not Path(folders[0]).exists()
    for name, table in first.tables.items():
        assert second.tables[name].equals(table), name
    for method in methods:
        np.testing.assert_array_equal(first.directions[method].vectors, second.directions[method].vectors)
    fitted = fit_direction(model, PAIRS, method="linear-discriminant", memory_bytes=0, progress=False)
    np.testing.assert_array_equal(fitted.vectors, first.directions["linear-discriminant"].vectors)
    scores = heldout_scores(model, PAIRS, memory_bytes=0, progress=False)
    assert scores.equals(first.evidence["mean-difference"].scores)


def test_states_that_fit_nowhere_are_refused_before_anything_is_read(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state_bytes(12, model.n_layers, model.width) == states_needed(model, PAIRS, "mean")
    with overflow_folder(10, memory_bytes=10) as folder:
        assert folder is None
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 3 * 2**30}))
    refused = r"take 10\.0 GiB, more than the 2\.0 GiB .* has 3\.0 GiB: give fewer pairs"
    with pytest.raises(InputError, match=refused), overflow_folder(10 * 2**30, memory_bytes=2 * 2**30):
        pass
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 0}))
    monkeypatch.setattr(type(model.model), "forward", lambda _model, **_options: pytest.fail("the model was read"))
    with pytest.raises(InputError, match="the hidden states take"):
        judge_directions(model, PAIRS, memory_bytes=0, progress=False)
