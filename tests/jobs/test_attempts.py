"""Batches that fail: halves down to one item, whose failure is its result; and what is no failure of an item."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from foretell.errors import InputError, NotReadableError
from foretell.jobs.attempts import Failure, attempt, summary_of


def doubled(bad: dict[int, Exception], *, most: int = 1 << 30, seen: list[int] | None = None):  # type: ignore[no-untyped-def]
    """Work that doubles numbers, fails at bad ones, and has memory for so many at once."""

    def work(items: Sequence[int]) -> list[int]:
        if seen is not None:
            seen.append(len(items))
        if len(items) > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        for item in items:
            if item in bad:
                raise bad[item]
        return [2 * item for item in items]

    return work


@pytest.mark.parametrize("n_items", [1, 2, 7, 16])
@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_a_batch_that_is_too_large_is_halved_until_it_fits(n_items: int, most: int) -> None:
    seen: list[int] = []
    freed: list[None] = []
    results = attempt(range(n_items), doubled({}, most=most, seen=seen), free=lambda: freed.append(None))
    assert results == [2 * item for item in range(n_items)]
    assert len(freed) == sum(size > most for size in seen)


OUT_OF_MEMORY = [
    MemoryError(),
    MemoryError("Unable to allocate 4.00 GiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 549755813888 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
    type("OutOfMemoryError", (RuntimeError,), {})("HIP ran dry"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30])
def test_memory_that_is_too_small_for_one_item_is_its_reason(error: Exception) -> None:
    results = attempt(range(5), doubled({3: error}), free=lambda: None)
    assert [result for result in results if not isinstance(result, Failure)] == [0, 2, 4, 8]
    failure = results[3]
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("out of memory: with this sample alone (")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (IndexError("index out of range in self\nmore"), "model error: IndexError: index out of range in self"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "model error: RuntimeError: mat1 and mat2 shapes"),
        (KeyError("x"), "model error: KeyError: 'x'"),
        (ValueError(), "model error: ValueError"),
        (NotImplementedError(), "model error: NotImplementedError"),
    ],
)
def test_an_error_of_one_item_is_its_reason(error: Exception, reason: str) -> None:
    results = attempt(range(9), doubled({2: error, 7: error}), free=lambda: None)
    assert [place for place, result in enumerate(results) if isinstance(result, Failure)] == [2, 7]
    assert isinstance(results[2], Failure)
    assert results[2].reason.startswith(reason)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(1),
        OSError(errno.ENOSPC, "No space left on device"),
        InputError("already being listened to"),
        NotReadableError("not exactly"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_what_is_the_matter_with_the_work_as_a_whole_is_raised(error: BaseException) -> None:
    seen: list[int] = []
    with pytest.raises(type(error)) as raised:
        attempt(range(8), doubled({3: error}, seen=seen), free=lambda: None)  # type: ignore[dict-item]
    assert raised.value is error
    assert seen == [8]


def test_what_failed_is_not_kept_while_halves_are_tried() -> None:
    """The frames of an error hold the tensors that did not fit."""
    import gc
    import weakref

    class Large:
        pass

    alive: list[weakref.ref[Large]] = []

    def work(items: Sequence[int]) -> list[int]:
        gc.collect()
        assert not [one for one in alive if one() is not None], "the memory of an earlier try is still held"
        large = Large()
        alive.append(weakref.ref(large))
        if len(items) > 1:
            raise MemoryError
        del large
        return list(items)

    assert attempt(range(6), work, free=lambda: None) == list(range(6))


def test_reasons_are_counted_by_kind() -> None:
    reasons = [
        *(
            "too long: 600 tokens, and the model has 512 positions",
            "too long: 700 tokens, and the model has 512 positions",
        ),
        "the answer has no tokens",
        *[
            "attention masses (layer 1) are not finite in float16; x",
            "attention masses (layers 1 to 2) are not finite in float16; x",
        ],
        "attention masses (layer 1) are not finite in float16; x",
    ]
    assert summary_of(reasons) == [
        ("attention masses (layer 1) are not finite in float16; x, for example", 3),
        ("too long: 600 tokens, and the model has 512 positions, for example", 2),
        ("the answer has no tokens", 1),
    ]
    assert summary_of([]) == []
