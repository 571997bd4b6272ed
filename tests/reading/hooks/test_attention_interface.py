"""Layers that wait for each other say what layers say that are read at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from foretell.reading.capture import attention as attending
from foretell.reading.capture.listen import listen
from foretell.reading.capture.results import Heard
from foretell.reading.signals.attention_mass import RowReading, Rows
from foretell.reading.signals.questions import Question
from tests.reading import by_hand
from tests.reading.tiny import tiny_model

LENGTHS = ((13, 7), (8, 4), (20, 9))


def hear(kind: str, given: by_hand.Text, **wanted: Any) -> Heard:
    model = tiny_model(kind)
    with torch.no_grad(), listen(model, given.segments, **wanted) as heard:
        model.model(**given.inputs)
    return heard


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("detail", [True, False])
@pytest.mark.parametrize("samples", [1, 3])
def test_waiting_changes_no_number(
    samples: int, detail: bool, rows: bool, monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator
) -> None:
    given = by_hand.text(generator, LENGTHS[:samples])
    wanted = {"contribution": detail, "entropy": detail, "rows": rows}
    asked: list[int] = []
    answer = Rows.answer

    def counted(self: Rows, question: Question, factor: torch.Tensor | None = None) -> RowReading:
        asked.append(len(question.query) // samples)
        return answer(self, question, factor)

    hear("llama", given, **wanted)
    monkeypatch.setattr(Rows, "answer", counted)
    together = hear("llama", given, **wanted)
    _ = together.mass
    # Small layers are asked as one.
    assert asked == [len(together.layers)]
    asked.clear()
    monkeypatch.setattr(attending, "_WAITING_BYTES", 0)
    at_once = hear("llama", given, **wanted)
    assert asked == [1] * len(at_once.layers)
    for name in ("mass", "lift", *(("contribution", "attention_entropy") if detail else ())):
        np.testing.assert_allclose(getattr(together, name), getattr(at_once, name), atol=1e-6)
    assert list(together.projected) == list(at_once.projected)


class Behind(torch.nn.Module):
    """A projection that is given something else than what attention returned."""

    def __init__(self, projection: torch.nn.Module) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.projection(given * 1.0))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("most_bytes", [0, 4 << 20])
def test_a_layer_without_a_projection_takes_none_from_the_next(
    most_bytes: int, samples: int, monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator
) -> None:
    given = by_hand.text(generator, LENGTHS[:samples])
    whole = hear("llama", given, contribution=True).contribution
    monkeypatch.setattr(attending, "_WAITING_BYTES", most_bytes)
    model = tiny_model()
    attention = model.model.model.layers[0].self_attn
    attention.o_proj = Behind(attention.o_proj)
    with torch.no_grad(), listen(model, given.segments, contribution=True) as heard:
        model.model(**given.inputs)
    assert list(heard.projected) == list(heard.layers)[1:]
    np.testing.assert_allclose(heard.contribution[:, 1:], whole[:, 1:], atol=1e-6)
    assert np.abs(heard.contribution[:, 0] - whole[:, 0]).max() > 1e-3


def test_nothing_waits_past_the_block_or_an_exception(generator: np.random.Generator) -> None:
    given = by_hand.text(generator, LENGTHS)
    model = tiny_model()
    with torch.no_grad(), listen(model, given.segments) as heard:
        model.model.model(**given.inputs)
    assert np.isfinite(heard.mass).all()

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    with torch.no_grad(), listen(model, given.segments) as heard:
        handle = model.model.model.layers[1].mlp.register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            model.model(**given.inputs)
        handle.remove()
        model.model(**given.inputs)
        again = heard.mass
    with torch.no_grad(), listen(model, given.segments) as fresh:
        model.model(**given.inputs)
    np.testing.assert_array_equal(again, fresh.mass)
