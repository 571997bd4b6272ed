"""What only the compiled way of weighing rows has: odd layouts, room, threads, questions that it leaves to others."""

from __future__ import annotations

import ctypes
import dataclasses
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foretell.reading.capture.recording import Shelf
from foretell.reading.signals.indicators import Indicators
from foretell.reading.signals.piecewise import Piecewise
from foretell.reading.signals.questions import Added, Question, Weighed
from foretell.reading.signals.strips import StripLibrary, Strips, _rows_together, strip_library
from tests.optional import missing

ALL = 1 << 30


@pytest.fixture(scope="module")
def library() -> StripLibrary:
    found = strip_library()
    return missing("a compiler for C") if found is None else found


def processor_flags() -> set[str]:
    """What this machine's processor can do, as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def a_question(
    generator: np.random.Generator, n_samples: int, heads: tuple[int, int], n_rows: int, n_keys: int
) -> Question:
    """With `heads` of queries and of keys, eight numbers wide."""

    def drawn(*shape: int) -> Tensor:
        return torch.from_numpy(generator.normal(size=shape).astype(np.float32))

    return Question(
        query=drawn(n_samples, heads[0], n_rows, 8),
        key=drawn(n_samples, heads[1], n_keys, 8),
        value=drawn(n_samples, heads[1], n_keys, 8),
        mask=None,
        causal=True,
        scale=0.5,
    )


def indicators_of(generator: np.random.Generator, n_samples: int, n_keys: int) -> Indicators:
    """Segments in any order, with keys that are in none between them."""
    return Indicators(torch.from_numpy(generator.integers(-1, 5, size=(n_samples, n_keys))), Shelf())


def apart(one: Weighed, other: Weighed) -> float:
    names = [field.name for field in dataclasses.fields(Weighed)]
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return max(float((a - b).abs().nan_to_num(nan=np.inf).max()) for a, b in pairs if a is not None)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("most_bytes", [1, 20_000, ALL])
@pytest.mark.parametrize(
    ("n_samples", "heads", "n_rows", "n_keys"),
    [
        (1, (1, 1), 1, 1),
        (2, (4, 4), 3, 63),
        (1, (6, 2), 65, 64),
        (3, (8, 1), 17, 65),
        (1, (2, 2), 40, 1000),
        (2, (4, 2), 16, 11),
        (1, (2, 1), 32, 13),
        (1, (40, 1), 3, 50),
    ],
)
def test_strips_equal_pieces(
    library: StripLibrary,
    n_samples: int,
    heads: tuple[int, int],
    n_rows: int,
    n_keys: int,
    most_bytes: int,
    n_threads: int,
    generator: np.random.Generator,
) -> None:
    """Rows in strips of one or of many, one head or all to a group of keys, numbers that fill no whole register."""
    question = a_question(generator, n_samples, heads, n_rows, n_keys)
    indicators = indicators_of(generator, n_samples, n_keys)
    hidden = torch.zeros(1, 1, n_rows, n_keys)
    hidden[..., 1:] = torch.finfo(torch.float32).min * torch.from_numpy(generator.integers(0, 2, (n_rows, n_keys - 1)))
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        strips = Strips(library, most_bytes=most_bytes, entropy=True)
        found = strips.weigh(question, [Added(hidden, 0)], indicators, None)
    finally:
        torch.set_num_threads(before)
    expected = Piecewise(most_bytes=ALL, entropy=True).weigh(question, [Added(hidden, 0)], indicators, None)
    in_a_segment = torch.as_tensor(expected.mass.sum(-1) > 0)
    assert found.mass.shape == (n_samples, heads[0], n_rows, 5)
    # Entropies of up to 7 nats are rounded to 5e-7.
    assert apart(dataclasses.replace(found, contribution=None), dataclasses.replace(expected, contribution=None)) < 5e-6
    assert found.contribution is not None
    assert expected.contribution is not None
    assert (found.contribution - expected.contribution)[in_a_segment].abs().max() < 5e-6 if in_a_segment.any() else True


@pytest.mark.parametrize("width", [1, 8, 65])
@pytest.mark.parametrize(
    ("name", "needs", "lanes_at_once", "fewest_keys"),
    [
        ("dot_products_of_few", set(), 8, 1),
        ("dot_products", set(), 8, 4),
        ("dot_products_avx2", {"avx2", "fma"}, 16, 6),
        ("dot_products_avx512", {"avx512f"}, 32, 12),
    ],
)
def test_every_kind_of_processor_takes_the_same_products(
    library: StripLibrary,
    name: str,
    needs: set[str],
    lanes_at_once: int,
    fewest_keys: int,
    width: int,
    generator: np.random.Generator,
) -> None:
    """Keys that fill no whole tile, from rows that stand apart; nothing is written beside the scores."""
    if platform.machine() != "x86_64" and needs:
        pytest.skip("only processors of the x86-64 family have it")
    if not needs <= processor_flags():
        pytest.skip(f"this processor has no {' and '.join(sorted(needs))}")
    take = getattr(library.library, name)
    take.argtypes = (ctypes.c_void_p, *(ctypes.c_int64,) * 2, ctypes.c_void_p, *(ctypes.c_int64,) * 2, ctypes.c_void_p)
    for n_keys in (fewest_keys, fewest_keys + 1, 2 * fewest_keys - 1, 100):
        for n_lanes in (lanes_at_once, 3 * lanes_at_once):
            query = generator.normal(size=(width, n_lanes)).astype(np.float32)
            key = generator.normal(size=(n_keys, width + 3)).astype(np.float32)
            scores = np.full((n_keys + 1, n_lanes), -7, dtype=np.float32)
            take(query.ctypes.data, n_lanes, width, key.ctypes.data, width + 3, n_keys, scores.ctypes.data)
            expected = key[:, :width].astype(np.float64) @ query.astype(np.float64)
            np.testing.assert_allclose(scores[:-1], expected, atol=2e-5)
            assert (scores[-1] == -7).all()


@pytest.mark.parametrize("n_shared", [1, 3, 8, 71])
@pytest.mark.parametrize("n_groups", [1, 3, 90])
@pytest.mark.parametrize("n_threads", [1, 2, 7, 64])
def test_strips_are_cut_so_that_no_thread_has_much_more_to_do(n_shared: int, n_groups: int, n_threads: int) -> None:
    for n_rows, most in ((1, 1), (48, 100), (64, 40), (128, 32), (1000, 10)):
        together = _rows_together(n_rows, n_shared, n_groups, most=most, n_threads=n_threads)
        assert 1 <= together <= min(n_rows, most)
        lanes = [-(-min(together, n_rows - first) * n_shared // 16) * 16 for first in range(0, n_rows, together)]
        fair = n_groups * -(-n_rows * n_shared // 16) * 16 / n_threads
        assert -(-n_groups * len(lanes) // n_threads) * lanes[0] <= 1.75 * fair + lanes[0]
        assert sum(lanes) <= 1.75 * n_rows * n_shared + 16


def test_room_is_bounded_however_many_threads_there_are(
    library: StripLibrary, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretell.reading.capture.rooms._KEPT", {})
    question = dataclasses.replace(a_question(generator, 1, (8, 4), 100, 3000), value=None)
    indicators = indicators_of(generator, 1, 3000)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    monkeypatch.setattr("foretell.reading.signals.strips._STRIP_BYTES", 0)
    try:
        # What sixteen lanes take, twice and five times; eight threads would need more.
        for most_bytes in (2 * 16 * 3020 * 4, 5 * 16 * 3020 * 4):
            strips = Strips(library, most_bytes=most_bytes, entropy=False)
            found = strips.weigh(question, [], indicators, None)
            assert strips._room.nbytes <= most_bytes
            expected = Piecewise(most_bytes=ALL, entropy=False).weigh(question, [], indicators, None)
            assert apart(found, expected) < 5e-6
    finally:
        torch.set_num_threads(before)


def test_tensors_may_lie_in_any_order(library: StripLibrary, generator: np.random.Generator) -> None:
    question = a_question(generator, 2, (4, 2), 6, 30)
    indicators = indicators_of(generator, 2, 30)
    strips = Strips(library, most_bytes=ALL, entropy=True)
    expected = strips.weigh(question, [], indicators, None)
    assert question.value is not None
    for place in ("query", "key", "value"):
        tensor = getattr(question, place)
        turned = tensor.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0)
        wide = torch.cat([tensor, tensor], dim=3)[..., :8]
        for other in (turned, wide):
            assert torch.equal(other, tensor)
            assert other.stride() != tensor.stride()
            changed: dict[str, Any] = {place: other}
            asked = dataclasses.replace(question, **changed)
            assert apart(strips.weigh(asked, [], indicators, None), expected) < 1e-6
    # One head of keys that stands for several, and one key that stands for all, lie over each other.
    key = question.key[:, :1, :1].expand(2, 2, 30, 8)
    over = strips.weigh(dataclasses.replace(question, key=key), [], indicators, None)
    assert apart(strips.weigh(dataclasses.replace(question, key=key.clone()), [], indicators, None), over) < 1e-6


def test_what_is_added_comes_again_for_other_samples_and_heads(
    library: StripLibrary, generator: np.random.Generator
) -> None:
    question = a_question(generator, 4, (4, 2), 6, 30)
    indicators = indicators_of(generator, 2, 30)
    of_two = torch.from_numpy(generator.normal(size=(2, 1, 6, 30)).astype(np.float32))
    last = torch.from_numpy(generator.normal(size=(1, 4, 6, 5)).astype(np.float32))
    strips = Strips(library, most_bytes=ALL, entropy=True)
    found = strips.weigh(question, [Added(of_two, 0), Added(last, 25)], indicators, None)
    whole = of_two.repeat(2, 1, 1, 1) + torch.nn.functional.pad(last, (25, 0))
    assert apart(strips.weigh(question, [Added(whole, 0)], indicators, None), found) < 1e-6


def test_room_is_lent_for_as_long_as_it_is_used(
    library: StripLibrary, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretell.reading.capture.rooms._KEPT", {})
    strips = Strips(library, most_bytes=ALL, entropy=False)
    for n_keys in (20, 300, 40):
        question = a_question(generator, 1, (2, 1), 5, n_keys)
        strips.weigh(question, [], indicators_of(generator, 1, n_keys), None)
    from foretell.reading.capture import rooms

    assert not any(rooms._KEPT.values())
    strips.close()
    strips.close()
    assert [len(kept) for kept in rooms._KEPT.values()] == [1]


def test_what_is_not_of_single_precision_is_left_to_others(
    library: StripLibrary, generator: np.random.Generator
) -> None:
    strips = Strips(library, most_bytes=ALL, entropy=False)
    question = a_question(generator, 1, (2, 1), 5, 20)
    zeros = torch.zeros(1, 1, 5, 20)
    assert strips.takes(question, [Added(zeros, 0), Added(zeros, 0)])
    assert not strips.takes(question, [Added(zeros, 0)] * 3)
    assert not strips.takes(question, [Added(zeros.bfloat16(), 0)])
    assert not strips.takes(dataclasses.replace(question, key=question.key.half()), [])
    assert not strips.takes(dataclasses.replace(question, query=question.query.to("meta")), [])


def test_a_row_that_is_no_number_stays_one(library: StripLibrary, generator: np.random.Generator) -> None:
    """What a model made a mess of must not come out as a mass."""
    question = a_question(generator, 1, (2, 1), 5, 100)
    question.query[0, 0, 1, 3] = np.nan
    question.query[0, 1, 2, 3] = np.inf
    found = Strips(library, most_bytes=ALL, entropy=True).weigh(question, [], indicators_of(generator, 1, 100), None)
    wrong = torch.zeros(1, 2, 5, dtype=torch.bool)
    wrong[0, 0, 1] = wrong[0, 1, 2] = True
    assert torch.equal(found.mass.isnan().any(-1), wrong)
    assert found.entropy is not None
    assert torch.equal(found.entropy.isnan(), wrong)


@pytest.mark.parametrize("n_keys", [7, 64, 1000])
def test_masses_alone_are_the_masses_that_come_with_more(
    library: StripLibrary, n_keys: int, generator: np.random.Generator
) -> None:
    """Loops that only add up are made by themselves."""
    question = a_question(generator, 2, (4, 2), 19, n_keys)
    question.query[0, 1, 2, 3] = np.nan
    indicators = indicators_of(generator, 2, n_keys)
    hidden = torch.zeros(1, 1, 19, n_keys)
    hidden[..., 1:] = torch.finfo(torch.float32).min * torch.from_numpy(generator.integers(0, 2, (19, n_keys - 1)))
    more = Strips(library, most_bytes=ALL, entropy=True).weigh(question, [Added(hidden, 0)], indicators, None)
    asked = dataclasses.replace(question, value=None)
    alone = Strips(library, most_bytes=ALL, entropy=False).weigh(asked, [Added(hidden, 0)], indicators, None)
    torch.testing.assert_close(alone.mass, more.mass, rtol=1e-6, atol=1e-7, equal_nan=True)
    assert alone.mass[0, 1, 2].isnan().all()
    assert alone.entropy is None
    assert alone.contribution is None


def test_exponentials_are_exact_to_the_last_bit_or_so(library: StripLibrary) -> None:
    """Weights from 1 down to where shares are hardly normal numbers, against double precision, one by one."""
    n_keys = 4000
    logarithms = torch.linspace(0, -80, n_keys, dtype=torch.float32)
    # A single key in the first segment, all others in the second.
    question = Question(torch.ones(1, 1, 1, 1), logarithms[None, None, :, None], None, None, True, 1.0)
    codes = torch.ones(1, n_keys, dtype=torch.int64)
    weights = logarithms.double().exp()
    strips = Strips(library, most_bytes=ALL, entropy=False)
    for place in (0, 1, 10, 63, 64, 777, 2000, 3999):
        codes[:] = 1
        codes[0, place] = 0
        found = strips.weigh(question, [], Indicators(codes, Shelf()), None).mass[0, 0, 0, 0]
        expected = weights[place] / weights.sum()
        assert abs(float(found) / float(expected) - 1) < 1e-6
