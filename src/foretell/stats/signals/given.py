"""Families of signals that a user gives: numbers by sample, from a frame, a mapping, an array or a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from foretell.errors import InputError
from foretell.records.reader import read_source
from foretell.stats.signals.family import Family, undefined
from foretell.stats.signals.moment import Moment
from foretell.storage.state_files import read_state_file

__all__ = ["GivenFamily", "given_families"]

_AFTER = "n_generated"
_ARRAYS = (".npy", ".npz", ".safetensors")


@dataclass(frozen=True)
class GivenFamily:
    """A family that a user gives."""

    name: str
    ids: tuple[str, ...]
    after: tuple[int, ...] | None
    """Tokens of the answer after which each row holds; None: rows are of whole answers."""
    numbers: Float[np.ndarray, "row column"]

    def at(self, moment: Moment) -> Family:
        """Return each sample's latest row that is not later than the moment; nan where it has none."""
        if self.after is None and not moment.is_end:
            return undefined(self.name, f"it is given for whole answers only: give a column {_AFTER} for earlier ones")
        columns = np.full((len(moment.ids), self.numbers.shape[1]), np.nan)
        place = moment.present(self.ids)
        latest = np.full(len(moment.ids), -1)
        # An answer that has ended stays as it is, so a number of a later moment holds for it as well.
        by_now = np.where(moment.ended, moment.after, moment.so_far)
        for row, sample in enumerate(place.tolist()):
            when = 0 if self.after is None else self.after[row]
            if sample >= 0 and latest[sample] < when <= by_now[sample]:
                columns[sample], latest[sample] = self.numbers[row], when
        has = latest >= 0
        if not has.any():
            return undefined(self.name, f"no sample has a number after {moment.after} tokens or fewer")
        absent = [id_ for id_, there in zip(moment.ids, has, strict=True) if not there]
        notes = (f"{self.name}: {len(absent)} samples have no row, such as {absent[0]!r}",) if absent else ()
        return Family(self.name, columns, notes=notes)


def given_families(
    signals: Mapping[str, Any] | None, *, known: Collection[str], reserved: Collection[str]
) -> list[GivenFamily]:
    """Return the families that a user gives, checked.

    Args:
        signals: By name: a frame or a path of a table with id, optionally n_generated, and columns of numbers; a
            mapping from id to a number or numbers; ids and an array; a path of an array with ids, as
            `Run.import_hidden` reads it.
        known: Ids of the run's samples.
        reserved: Names that a family may not have.

    Raises:
        InputError: A name is taken, an id is not in the run or occurs twice, or a value is no number.
    """
    found = []
    for name, value in (signals or {}).items():
        if not name or name in reserved:
            raise InputError(f"signals: {name!r} is a name of the study's own; choose another")
        one = _read(name, value)
        unknown = sorted(set(one.ids).difference(known))
        if unknown:
            raise InputError(f"signals[{name!r}]: {len(unknown)} ids are not in the run, such as {unknown[0]!r}")
        keys = list(zip(one.ids, one.after or (0,) * len(one.ids), strict=True))
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InputError(
                f"signals[{name!r}]: id {twice[0]!r} has more than one row; give {_AFTER} to tell them apart"
            )
        found.append(one)
    return found


def _read(name: str, value: Any) -> GivenFamily:
    where = f"signals[{name!r}]"
    if isinstance(value, str | Path) and Path(value).suffix in _ARRAYS:
        return _of_array(name, where, *_array_file(Path(value), where))
    if isinstance(value, tuple) and len(value) == 2:
        return _of_array(name, where, list(value[0]), value[1])
    if isinstance(value, Mapping) and "id" not in value:
        return _of_array(name, where, list(value), [np.atleast_1d(one) for one in value.values()])
    frame = read_source(value, error=InputError).frame
    if "id" not in frame.columns:
        raise InputError(f"{where}: there is no column id; there are: {', '.join(frame.columns)}")
    columns = [column for column in frame.columns if column not in {"id", _AFTER}]
    if not columns:
        raise InputError(f"{where}: there is no column of numbers beside id")
    after = None
    if _AFTER in frame.columns:
        after = tuple(int(one) for one in _numbers(frame.select(_AFTER), where)[:, 0])
    ids = tuple(str(one) for one in frame.get_column("id").to_list())
    return GivenFamily(name, ids, after, _numbers(frame.select(columns), where))


def _numbers(frame: pl.DataFrame, where: str) -> Float[np.ndarray, "row column"]:
    for column in frame.columns:
        series = frame.get_column(column)
        numbers = (
            series.cast(pl.Float64, strict=False) if series.dtype.is_numeric() or series.dtype == pl.String else None
        )
        lost = series.is_not_null() if numbers is None else series.is_not_null() & numbers.is_null()
        if numbers is None or lost.any():
            row = int(lost.arg_max() or 0)
            raise InputError(f"{where}, column {column}, row {row + 1}: {series[row]!r} is no number")
        if numbers.is_infinite().any():
            raise InputError(f"{where}, column {column}: a number is infinite")
    return frame.select(pl.all().cast(pl.Float64).fill_null(np.nan)).to_numpy()


def _of_array(name: str, where: str, ids: Sequence[Any], values: Any) -> GivenFamily:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: the values are no array of numbers ({error})") from error
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    if numbers.ndim != 2 or len(numbers) != len(ids) or not numbers.shape[1]:
        raise InputError(f"{where}: {len(ids)} ids need an array (sample, column) of as many rows, not {numbers.shape}")
    if np.isinf(numbers).any():
        raise InputError(f"{where}: a number is infinite")
    return GivenFamily(name, tuple(str(one) for one in ids), None, numbers)


def _array_file(path: Path, where: str) -> tuple[list[str], np.ndarray]:
    """Return the ids and the array in a file."""
    try:
        return read_state_file(path)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
