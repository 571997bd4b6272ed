"""Plain attention strip by strip, in compiled code: the scores of some rows at a time.

A strip never leaves the processor's cache between the product that makes its scores and the last thing that is asked
of its weights. `strips.c` has the same structures and does the work; here tensors are put into them.

    strips = Strips(strip_library(), most_bytes=64 << 20, entropy=False)
    if strips.takes(question, added):
        strips.weigh(question, added, indicators, factor)
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.reading.capture.recording import Shelf
from foretell.reading.capture.rooms import borrowed, returned
from foretell.reading.signals.indicators import Indicators
from foretell.reading.signals.parts import Runs, longest_segment
from foretell.reading.signals.questions import Added, Question, Weighed
from foretell.reading.signals.shared_library import shared_library
from foretell.schema.tables import SEGMENTS

__all__ = ["StripLibrary", "Strips", "strip_library"]

N_SEGMENTS = len(SEGMENTS)
_MOST_ADDITIONS = 2
_STRIP_BYTES = 3 << 19
"""Scores of one strip: what a core's own cache holds beside the keys and values that it is made of."""
_STRIPS_PER_THREAD = 8
"""More would only be smaller."""
_LANES = 16
"""Rows of all heads together come in a multiple of it, as in `strips.c`."""
_LINE = 16
"""Numbers in a line of a processor's cache."""

_Integer = ctypes.c_int64
_Pointer = ctypes.c_void_p


class _Table(ctypes.Structure):
    _fields_ = (("first", _Pointer), ("sample", _Integer), ("head", _Integer), ("row", _Integer))


class _Addition(ctypes.Structure):
    _fields_ = (("values", _Table), ("n_samples", _Integer), ("first_key", _Integer), ("n_keys", _Integer))


class _Run(ctypes.Structure):
    _fields_ = (("segment", _Integer), ("first", _Integer), ("stop", _Integer))


class _Question(ctypes.Structure):
    _fields_ = (
        *((name, _Integer) for name in ("n_samples", "n_heads", "n_shared", "n_rows", "n_keys", "width")),
        *((name, _Integer) for name in ("value_width", "n_segments", "n_segmented", "samples_per_factor")),
        *((name, _Integer) for name in ("n_together", "n_additions", "room_size")),
        ("scale", ctypes.c_float),
        *((name, _Table) for name in ("query", "key", "value", "output")),
        ("additions", _Addition * _MOST_ADDITIONS),
        *((name, _Pointer) for name in ("runs", "runs_from", "left", "factor", "mass", "contribution", "entropy")),
        ("room", _Pointer),
        ("product", _Pointer),
    )


class StripLibrary:
    """The compiled code, and the product of matrices that it takes.

    Args:
        library: made of `strips.c`.
        product: address of the tensor library's `sgemm`, which in a thread among others uses no more threads.
    """

    def __init__(self, library: ctypes.CDLL, product: int) -> None:
        self.library = library
        self.product = product
        self.weigh = library.weigh_strips
        self.weigh.argtypes, self.weigh.restype = (ctypes.POINTER(_Question), ctypes.c_int), None
        self.room = library.strip_room
        self.room.argtypes, self.room.restype = (ctypes.POINTER(_Question), _Integer), _Integer


@functools.cache
def strip_library() -> StripLibrary | None:
    """Return the compiled code, made now if it was not before; None where there is none to be had."""
    library = shared_library(Path(__file__).with_suffix(".c"))
    if library is None:
        return None
    try:
        tensors = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        product = _place(tensors, "sgemm_")
        # Threads of another compiler's library would wait busily on the processors that the tensor library's need.
        same_threads = _place(tensors, "omp_get_thread_num") == _place(library, "omp_get_thread_num")
    except (OSError, AttributeError):
        return None
    if not same_threads:
        return None
    found = StripLibrary(library, product)
    _make_room_for_products(found)
    return found


def _place(library: ctypes.CDLL, name: str) -> int:
    """Return where a function is that the library has, or one that it is linked with."""
    return ctypes.cast(getattr(library, name), _Pointer).value or 0


def _make_room_for_products(library: StripLibrary) -> None:
    """Take products as large as a strip's, once: the library that takes them keeps the room it makes for that.

    Made in the middle of a pass, that room would stand between its large tensors.
    """
    strips = Strips(library, most_bytes=_STRIP_BYTES * torch.get_num_threads(), entropy=False)
    for n_keys in (1024, 8192):
        query, key = torch.zeros(1, 3, 128, 128), torch.zeros(1, 1, n_keys, 128)
        codes = torch.zeros(1, n_keys, dtype=torch.int64)
        strips.weigh(Question(query, key, key, None, True, 1.0), [], Indicators(codes, Shelf()), None)
    strips.close()


class Strips:
    """Weighs rows, with room for strips that is used again and again.

    Args:
        library: the compiled code.
        most_bytes: bound for the room of all threads together (at least what one row of each head takes).
        entropy: whether entropies are wanted.
    """

    def __init__(self, library: StripLibrary, *, most_bytes: int, entropy: bool) -> None:
        self._library = library
        self._most_bytes = most_bytes
        self._entropy = entropy
        # Room is there before a pass, so that it is not in the way of what comes and goes in one.
        self._room = borrowed(torch.get_num_threads() * _STRIP_BYTES // 4, torch.device("cpu"))
        self._segmented: tuple[Runs, bool, tuple[ctypes.Array[Any], ...]] | None = None

    def close(self) -> None:
        """Give room back to those who come after."""
        self._segmented = None
        if len(self._room):
            returned(self._room)
            self._room = torch.empty(0)

    def takes(self, question: Question, added: list[Added]) -> bool:
        """Tell whether a question is one of single precision in main memory."""
        tensors = (*question.tensors, *(one.values for one in added))
        plain = all(one.device.type == "cpu" and one.dtype == torch.float32 for one in tensors)
        return plain and len(added) <= _MOST_ADDITIONS

    def weigh(
        self,
        question: Question,
        added: list[Added],
        indicators: Indicators,
        factor: Float[Tensor, "_ head width width"] | None,
    ) -> Weighed:
        """Return masses, and what else is wanted, of every row; see `Plain`."""
        n_samples, n_heads, n_rows, width = question.query.shape
        n_groups, n_keys = question.key.shape[1:3]
        # What is put in order here has to be there until the end.
        query, key = _ordered(question.query), _ordered(question.key)
        value = None if question.value is None else _ordered(question.value)
        output = None if question.output is None else _ordered(question.output)
        additions = [_ordered(one.values.expand(-1, n_heads, n_rows, -1)) for one in added]
        factor = None if factor is None else factor.contiguous()
        runs, runs_from, left = self._segments(indicators.runs(n_keys), n_keys, whole=output is not None)
        weighed = Weighed(
            mass=torch.empty((n_samples, n_heads, n_rows, N_SEGMENTS)),
            entropy=torch.empty((n_samples, n_heads, n_rows)) if self._entropy else None,
            contribution=None if value is None else torch.empty((n_samples, n_heads, n_rows, N_SEGMENTS)),
        )
        asked = _Question(
            n_samples=n_samples,
            n_heads=n_heads,
            n_shared=n_heads // n_groups,
            n_rows=n_rows,
            n_keys=n_keys,
            width=width,
            value_width=0 if value is None else value.shape[3],
            n_segments=N_SEGMENTS,
            n_segmented=indicators.n_samples,
            samples_per_factor=n_samples if factor is None else n_samples // len(factor),
            n_additions=len(added),
            scale=question.scale,
            query=_table(query),
            key=_table(key),
            value=_table(value),
            output=_table(output),
            additions=tuple(
                _Addition(_table(values), len(values), one.first, values.shape[3])
                for one, values in zip(added, additions, strict=True)
            ),
            runs=ctypes.addressof(runs),
            runs_from=ctypes.addressof(runs_from),
            left=ctypes.addressof(left),
            factor=_address(factor),
            mass=_address(weighed.mass),
            entropy=_address(weighed.entropy),
            contribution=_address(weighed.contribution),
            product=self._library.product,
        )
        self._weigh(asked, torch.get_num_threads())
        return weighed

    def _weigh(self, asked: _Question, n_threads: int) -> None:
        """Choose how many rows a strip has, lend room for one in every thread, and weigh them all.

        Where there is too little room for every thread, fewer work.
        """
        least = 4 * self._library.room(asked, 1)
        n_threads = max(1, min(n_threads, self._most_bytes // least))
        n_bytes = min(_STRIP_BYTES - 4 * _LINE, self._most_bytes // n_threads)
        n_lanes = max(1, n_bytes // least) * _whole(asked.n_shared)
        n_groups = asked.n_samples * asked.n_heads // asked.n_shared
        asked.n_together = _rows_together(
            asked.n_rows, asked.n_shared, n_groups, most=n_lanes // asked.n_shared, n_threads=n_threads
        )
        # No two threads write to the same line of a cache.
        asked.room_size = -(-self._library.room(asked, asked.n_together) // _LINE) * _LINE
        size = n_threads * asked.room_size
        if len(self._room) < size:
            self._room = borrowed(size, torch.device("cpu"))
        asked.room = self._room.data_ptr()
        self._library.weigh(asked, n_threads)

    def _segments(self, runs: Runs, n_keys: int, *, whole: bool) -> tuple[ctypes.Array[Any], ...]:
        """Return all samples' runs, where each sample's begin, and the segment that others leave of a whole."""
        known = self._segmented
        if known is None or known[0] is not runs or known[1] != whole:
            flat = [_Run(run.segment, run.keys.start, run.keys.stop) for own in runs for run in own]
            begin = [0, *itertools.accumulate(map(len, runs))]
            longest = [longest_segment(own, n_keys) if whole else None for own in runs]
            left = [-1 if one is None else one for one in longest]
            arrays = ((_Run * len(flat))(*flat), (_Integer * len(begin))(*begin), (_Integer * len(left))(*left))
            self._segmented = known = (runs, whole, arrays)
        return known[2]


def _whole(n_rows: int) -> int:
    """Return how many lanes so many rows of all heads together take."""
    return -(-n_rows // _LANES) * _LANES


@functools.lru_cache(maxsize=1024)
def _rows_together(n_rows: int, n_shared: int, n_groups: int, *, most: int, n_threads: int) -> int:
    """Return how many rows of each head a strip has, at most so many, so that the thread with most to do has least."""
    fewest = -(-n_rows // most)
    wanted = min(-(-_STRIPS_PER_THREAD * n_threads // n_groups), n_rows, _whole(n_rows * n_shared) // _LANES)

    def together(n_strips: int) -> int:
        return -(-n_rows // n_strips)

    def most_to_do(n_strips: int) -> tuple[int, int]:
        # Of equals the one with more strips: threads are not always equally fast.
        return -(-n_groups * n_strips // n_threads) * _whole(together(n_strips) * n_shared), -n_strips

    return together(min(range(fewest, max(fewest, wanted) + 1), key=most_to_do))


def _ordered(tensor: Tensor) -> Tensor:
    """Return it with the numbers of each row side by side, and rows that do not lie over each other."""
    n_rows, width = tensor.shape[2:]
    apart = n_rows == 1 or tensor.stride(2) >= width
    return tensor if apart and (width == 1 or tensor.stride(3) == 1) else tensor.contiguous()


def _table(tensor: Tensor | None) -> _Table:
    """Say where `(sample, head, row, number)` stands; a single row may have any stride."""
    if tensor is None:
        return _Table()
    sample, head, row, _ = tensor.stride()
    return _Table(tensor.data_ptr(), sample, head, max(row, tensor.shape[3]))


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
