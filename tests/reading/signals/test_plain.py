"""Plain attention of a few rows against a slow definition in double precision, by both ways, however it is cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foretell.reading.capture.recording import Shelf
from foretell.reading.signals import parts
from foretell.reading.signals.indicators import Indicators
from foretell.reading.signals.plain import Plain
from foretell.reading.signals.questions import Added, Question, Weighed
from foretell.reading.signals.strips import strip_library
from tests.optional import missing

N_SAMPLES, N_GROUPS, N_SHARED, N_ROWS, N_KEYS, WIDTH = 3, 2, 3, 6, 29, 8
FEWEST_BYTES, A_GROUP, A_SAMPLE, ALL = 1, N_SHARED * N_ROWS * N_KEYS * 4, 2 * N_SHARED * N_ROWS * N_KEYS * 4, 1 << 30


@pytest.fixture(autouse=True, params=["strips", "pieces"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compiled code, and what does its work where there is none."""
    if request.param == "pieces":
        monkeypatch.setattr("foretell.reading.signals.plain.strip_library", lambda: None)
    elif strip_library() is None:
        missing("a compiler for C")
    return str(request.param)


def a_question(generator: np.random.Generator, *, spread: float = 1.0, dtype: torch.dtype = torch.float32) -> Question:
    def drawn(*shape: int) -> Tensor:
        return torch.from_numpy(generator.normal(size=shape).astype(np.float32)).to(dtype)

    return Question(
        query=drawn(N_SAMPLES, N_GROUPS * N_SHARED, N_ROWS, WIDTH) * spread,
        # Models keep tokens before heads.
        key=drawn(N_SAMPLES, N_KEYS, N_GROUPS, WIDTH).transpose(1, 2),
        value=drawn(N_SAMPLES, N_KEYS, N_GROUPS, WIDTH + 1).transpose(1, 2),
        mask=None,
        causal=True,
        scale=0.3,
    )


def codes_of(generator: np.random.Generator) -> Tensor:
    """Segments with padding on the left of the second sample, and one segment that the third does not have."""
    codes = np.sort(generator.integers(0, 5, size=(N_SAMPLES, N_KEYS)), axis=1)
    codes[0, 3:5] = 3
    codes[1, :4] = -1
    codes[2][codes[2] == 1] = 2
    return torch.from_numpy(codes)


def hiding(codes: Tensor, n_heads: int = 1) -> Tensor:
    """A causal mask over the last rows that hides padding too, `(sample, head, row, key)`."""
    later = torch.arange(N_KEYS) > torch.arange(N_KEYS - N_ROWS, N_KEYS)[:, None]
    hidden = later[None, None] | (codes < 0)[:, None, None]
    return torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min).expand(-1, n_heads, -1, -1)


def seen_by(hidden: Tensor) -> Tensor:
    return (hidden == 0).float()


def slowly(question: Question, added: list[Added], codes: Tensor, factor: Tensor | None) -> dict[str, np.ndarray]:
    """The definition: one sample, head and row at a time, in double precision."""
    n_samples, n_heads = question.query.shape[:2]
    assert question.value is not None
    found = {"mass": np.zeros((n_samples, n_heads, N_ROWS, 5)), "entropy": np.zeros((n_samples, n_heads, N_ROWS))}
    found["contribution"] = np.zeros((n_samples, n_heads, N_ROWS, 5))
    for sample, head, row in np.ndindex(n_samples, n_heads, N_ROWS):
        group = head // N_SHARED
        scores = question.key[sample, group].double() @ question.query[sample, head, row].double() * question.scale
        for one in added:
            whole = one.values.expand(n_samples, n_heads, -1, -1)
            scores[one.first :] += whole[sample, head, row].double()
        weights = scores.softmax(0)
        found["entropy"][sample, head, row] = torch.special.entr(weights).sum()
        norms = []
        for segment in range(5):
            inside = (codes[sample] == segment).double()
            found["mass"][sample, head, row, segment] = weights @ inside
            part = (weights * inside) @ question.value[sample, group].double()
            own = None if factor is None else factor[sample if len(factor) > 1 else 0, head].double()
            norms.append(torch.linalg.vector_norm(part if own is None else own @ part))
        found["contribution"][sample, head, row] = torch.stack(norms) / torch.stack(norms).sum()
    return found


def differences(found: Weighed, expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest difference of each quantity; what is no number is infinitely far off."""
    apart = {name: np.abs(getattr(found, name).numpy() - values) for name, values in expected.items()}
    return {name: float(np.nan_to_num(values, nan=np.inf).max()) for name, values in apart.items()}


@pytest.mark.parametrize("most_bytes", [FEWEST_BYTES, A_GROUP, A_SAMPLE, ALL])
@pytest.mark.parametrize("masked", ["nothing", "tail", "padding", "each head", "known to hide", "tail known to hide"])
@pytest.mark.parametrize("n_projections", [0, 1, N_SAMPLES])
def test_rows_equal_their_slow_definition(
    masked: str, most_bytes: int, n_projections: int, generator: np.random.Generator
) -> None:
    question, codes = a_question(generator), codes_of(generator)
    n_heads = N_GROUPS * N_SHARED
    first = N_KEYS - N_ROWS + 1
    tail = hiding(codes[:1])[..., first:]
    by_head = torch.from_numpy(generator.normal(size=(1, n_heads, 1, N_KEYS)).astype(np.float32))
    added = {
        "nothing": [],
        "tail": [Added(tail, first)],
        "padding": [Added(hiding(codes), 0)],
        "known to hide": [Added(hiding(codes), 0, seen_by(hiding(codes)))],
        "tail known to hide": [Added(tail, first, seen_by(tail))],
        "each head": [Added(hiding(codes, n_heads), 0), Added(by_head.expand(-1, -1, N_ROWS, -1), 0)],
    }[masked]
    drawn = generator.normal(size=(n_projections, n_heads, WIDTH + 1, WIDTH + 1)).astype(np.float32)
    factor = torch.from_numpy(drawn) if n_projections else None
    plain = Plain(most_bytes=most_bytes, entropy=True)
    found = plain.weigh(question, added, Indicators(codes, Shelf()), factor)
    assert max(differences(found, slowly(question, added, codes, factor)).values()) < 2e-6


def output_of(question: Question, added: list[Added]) -> Tensor:
    """What heads return: the sum over all keys, in double precision until the end."""
    assert question.value is not None
    key, value = (one.double().repeat_interleave(N_SHARED, 1) for one in (question.key, question.value))
    scores = question.query.double() @ key.transpose(2, 3) * question.scale
    for one in added:
        scores[..., one.first :] += one.values
    return (scores.softmax(3) @ value).float()


@pytest.mark.parametrize("most_bytes", [FEWEST_BYTES, A_GROUP, A_SAMPLE, ALL])
@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_the_longest_segment_is_what_the_others_leave_of_the_output(
    spread: float, most_bytes: int, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_WORTH_LEAVING", 1)
    question, codes = a_question(generator, spread=spread), codes_of(generator).clamp_min(0)
    added = [Added(hiding(codes), 0, seen_by(hiding(codes)))]
    told = dataclasses.replace(question, output=output_of(question, added))
    plain = Plain(most_bytes=most_bytes, entropy=False)
    for asked in (told, question, told):
        found = plain.weigh(asked, added, Indicators(codes, Shelf()), None).contribution
        assert found is not None
        expected = slowly(question, added, codes, None)
        assert np.abs(found.numpy() - expected["contribution"]).max() < 2e-5
        assert not found[torch.from_numpy(expected["mass"] == 0)].any()


def test_an_output_is_of_use_only_where_every_key_has_a_segment(
    generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_WORTH_LEAVING", 1)
    question, codes = a_question(generator), codes_of(generator)
    added = [Added(hiding(codes), 0)]
    other = dataclasses.replace(question, output=output_of(question, added) + 1.0)
    found = [
        Plain(most_bytes=ALL, entropy=False).weigh(asked, added, Indicators(codes, Shelf()), None).contribution
        for asked in (question, other)
    ]
    assert found[0] is not None
    assert found[1] is not None
    same = [torch.equal(*pair) for pair in zip(*found, strict=True)]
    assert same == [bool((row < 0).any()) for row in codes] == [False, True, False]


def test_masses_alone_are_the_same(generator: np.random.Generator) -> None:
    question, codes = a_question(generator), codes_of(generator)
    added = [Added(hiding(codes), 0)]
    alone = dataclasses.replace(question, value=None)
    found = Plain(most_bytes=ALL, entropy=False).weigh(alone, added, Indicators(codes, Shelf()), None)
    assert found.entropy is None
    assert found.contribution is None
    assert np.abs(found.mass.numpy() - slowly(question, added, codes, None)["mass"]).max() < 1e-6


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("spread", [0.001, 10.0, 40.0, 400.0])
def test_scores_that_are_far_apart_are_no_trouble(spread: float, known: bool, generator: np.random.Generator) -> None:
    question, codes = a_question(generator, spread=spread), codes_of(generator)
    hidden = hiding(codes)
    added = [Added(hidden, 0, seen_by(hidden) if known else None)]
    found = Plain(most_bytes=ALL, entropy=True).weigh(question, added, Indicators(codes, Shelf()), None)
    expected = slowly(question, added, codes, None)
    assert float(expected["entropy"].min()) < 1e-3 or spread < 40
    # Scores of some hundreds have no more than four digits behind the point.
    assert max(differences(found, expected).values()) < 1e-5 * max(spread, 1.0)


@pytest.mark.parametrize("level", [-300.0, -95.0, -50.0, 50.0, 95.0, 300.0])
@pytest.mark.parametrize("entropy", [False, True])
def test_rows_whose_scores_are_all_large_or_small_are_no_trouble(
    level: float, entropy: bool, generator: np.random.Generator
) -> None:
    """Only differences of scores count; their exponentials by themselves would be nothing, or more than can be held."""
    question, codes = a_question(generator), codes_of(generator)
    hidden = hiding(codes)
    added = [Added(hidden, 0, seen_by(hidden)), Added(torch.full((1, 1, N_ROWS, N_KEYS), level), 0)]
    plain = Plain(most_bytes=A_GROUP, entropy=entropy)
    expected = slowly(question, added, codes, None)
    for _ in range(2):
        found = plain.weigh(question, added, Indicators(codes, Shelf()), None)
        wanted = expected if entropy else {name: one for name, one in expected.items() if name != "entropy"}
        assert max(differences(found, wanted).values()) < 3e-5


@pytest.mark.parametrize("entropy", [False, True])
def test_keys_that_are_hidden_twice_are_no_trouble(entropy: bool, generator: np.random.Generator) -> None:
    question, codes = a_question(generator), codes_of(generator)
    added = [Added(hiding(codes), 0), Added(hiding(codes), 0)]
    found = Plain(most_bytes=ALL, entropy=entropy).weigh(question, added, Indicators(codes, Shelf()), None)
    expected = slowly(question, added[:1], codes, None)
    wanted = expected if entropy else {name: one for name, one in expected.items() if name != "entropy"}
    assert max(differences(found, wanted).values()) < 2e-6


def test_one_head_with_large_scores_does_not_spoil_the_others(generator: np.random.Generator) -> None:
    question, codes = a_question(generator), codes_of(generator)
    question.query[:, 1] *= 300
    hidden = hiding(codes)
    added = [Added(hidden, 0, seen_by(hidden))]
    found = Plain(most_bytes=FEWEST_BYTES, entropy=True).weigh(question, added, Indicators(codes, Shelf()), None)
    ordinary = [0, *range(2, N_GROUPS * N_SHARED)]
    for name, values in slowly(question, added, codes, None).items():
        assert np.abs(getattr(found, name).numpy() - values)[:, ordinary].max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_weighed_in_single(dtype: torch.dtype, generator: np.random.Generator) -> None:
    question, codes = a_question(generator, dtype=dtype), codes_of(generator)
    added = [Added(hiding(codes), 0)]
    found = Plain(most_bytes=A_GROUP, entropy=True).weigh(question, added, Indicators(codes, Shelf()), None)
    assert found.mass.dtype == torch.float32
    assert max(differences(found, slowly(question, added, codes, None)).values()) < 2e-6


def test_room_is_used_again_by_larger_and_smaller_questions(generator: np.random.Generator) -> None:
    codes = codes_of(generator)
    plain = Plain(most_bytes=ALL, entropy=True)
    questions = [a_question(generator) for _ in range(3)]
    questions[1] = dataclasses.replace(questions[1], query=questions[1].query[:, :, :2])
    with torch.inference_mode():
        first = plain.weigh(questions[0], [], Indicators(codes, Shelf()), None)
    for question in questions[1:]:
        plain.weigh(question, [], Indicators(codes, Shelf()), None)
    again = plain.weigh(questions[0], [], Indicators(codes, Shelf()), None)
    assert torch.equal(first.mass, again.mass)


@pytest.mark.parametrize("most_bytes", [FEWEST_BYTES, A_GROUP, 2 * A_SAMPLE, 5 * A_SAMPLE, ALL])
@pytest.mark.parametrize("n_samples", [1, 2, 3])
@pytest.mark.parametrize("projected", [False, True])
def test_questions_of_one_kind_can_be_asked_as_one(
    projected: bool, n_samples: int, most_bytes: int, generator: np.random.Generator
) -> None:
    """One after the other, each with its own projection and all with the same masks."""

    def question(**changed: Any) -> Question:
        whole = a_question(generator)
        some = {name: getattr(whole, name)[:n_samples] for name in ("query", "key", "value")}
        return dataclasses.replace(whole, **(some | changed))

    questions = [question() for _ in range(4)]
    codes = codes_of(generator)[:n_samples]
    hidden = hiding(codes)
    added = [Added(hidden, 0, seen_by(hidden))]
    drawn = generator.normal(size=(4, N_GROUPS * N_SHARED, WIDTH + 1, WIDTH + 1)).astype(np.float32)
    factors = torch.from_numpy(drawn) if projected else None
    plain = Plain(most_bytes=most_bytes, entropy=True)
    assert len({one.kind for one in questions}) == 1
    tensors = [torch.cat(same) for same in zip(*(one.tensors for one in questions), strict=True)]
    as_one = dataclasses.replace(questions[0], query=tensors[0], key=tensors[1], value=tensors[2])
    together = plain.weigh(as_one, added, Indicators(codes, Shelf()), factors)
    for place, one in enumerate(questions):
        alone = slowly(one, added, codes, None if factors is None else factors[place : place + 1])
        for name, values in alone.items():
            found = getattr(together, name)[place * n_samples : (place + 1) * n_samples]
            assert np.abs(found.numpy() - values).max() < 2e-6
    assert question(scale=0.5).kind != questions[0].kind
    assert question(mask=torch.ones(1, 1, N_ROWS, N_KEYS)).kind != questions[0].kind
    for by_itself in (
        question(bias=torch.zeros(1, 1, N_ROWS, N_KEYS)),
        question(key=torch.zeros(1, N_GROUPS, 1 << 18, WIDTH)),
    ):
        assert by_itself.kind is None
