"""Logs of inspect_ai that are one JSON object, sample by sample: the list of samples is never held as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from foretell.records.content import Content
from foretell.records.json_window import NOT_UTF8, JsonWindow
from foretell.records.skipped import BadRecords

__all__ = ["LogObject", "is_log_object"]

_HEAD = re.compile(rb'\A(?:\xef\xbb\xbf)?\s*\{\s*"version"\s*:\s*\d+\s*,\s*"(?:status|eval)"\s*:')


def is_log_object(content: Content) -> bool:
    """Whether a JSON object starts as the harness writes its logs."""
    return _HEAD.match(content.head) is not None


class LogObject:
    """A log whose header was read, and whose samples follow."""

    def __init__(self, content: Content) -> None:
        """Read the fields before the samples; the file stays open until the samples were read.

        Raises:
            ValueError: They are no JSON, or there are no samples.
            RecursionError: They are nested too deeply.
        """
        self.header: dict[str, Any] = {}
        """The fields before the samples."""
        self._lines = content.lines()
        self._window = JsonWindow(self._lines)
        try:
            self._read_header()
        except BaseException:
            self._lines.close()
            raise

    def _read_header(self) -> None:
        self._window.take("{")
        while True:
            name = self._window.value()
            self._window.take(":")
            if name == "samples" and self._window.peek() == "[":
                self._window.take("[")
                return
            self.header[name] = self._window.value()
            if self._window.peek() == "}":
                raise ValueError("holds no samples: the log was written without them, or nothing was finished")
            self._window.take(",")

    def close(self) -> None:
        """Close the file of a log whose samples are not read."""
        self._lines.close()

    def samples(self, *, bad: BadRecords, limit: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number and the fields of every sample; after one that is no JSON there is no way to go on.

        Args:
            bad: Takes samples that cannot be read.
            limit: At most so many.
        """
        with self._lines:
            yield from self._samples(bad, limit)

    def _samples(self, bad: BadRecords, limit: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        row = 0
        while self._window.peek() not in {"]", ""} and (limit is None or row < limit):
            row += 1
            try:
                sample = self._window.value()
            except (ValueError, RecursionError) as cause:
                message = f"is cut off or damaged ({str(cause)[:120]}), and nothing after it can be read"
                bad.add(row, message, cause=cause)
                return
            if self._window.is_damaged:
                bad.add(row, NOT_UTF8)
            elif isinstance(sample, dict):
                yield row, sample
            else:
                bad.add(row, f"is a {type(sample).__name__}, not an object with named fields")
            if self._window.peek() == ",":
                self._window.take(",")
        if self._window.peek() == "":
            bad.add(row + 1, "is lacking: the log was cut off; copy it again")
