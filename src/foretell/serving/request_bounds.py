"""Bounds on what the page may be asked for, in one place, and the refusal of what is beyond them or malformed.

raise RefusedError(413, "the request has more than 262144 bytes")
"""

from __future__ import annotations

from foretell.errors import InputError

__all__ = [
    "MAX_ANSWERS",
    "MAX_BODY_BYTES",
    "MAX_DOSE",
    "MAX_KEPT_RESULTS",
    "MAX_NAME",
    "MAX_NEW_TOKENS",
    "MAX_TITLE",
    "MAX_TOKENS",
    "MAX_WAITING",
    "RefusedError",
]

MAX_BODY_BYTES = 256 * 1024
"""Of a request."""
MAX_ANSWERS = 6
"""Side by side in one request."""
MAX_NEW_TOKENS = 1024
"""Of one answer that the model writes."""
MAX_TOKENS = 8192
"""Of one text that is read, prompt and answer together."""
MAX_NAME = 200
"""Characters of the name of a model."""
MAX_TITLE = 80
"""Characters of an answer's title."""
MAX_DOSE = 100.0
"""Of a direction that is added, in its standard deviations."""
MAX_WAITING = 16
"""Requests in one model's queue."""
MAX_KEPT_RESULTS = 32
"""Finished requests that can still be exported; the oldest is forgotten first."""


class RefusedError(InputError):
    """A request that is not done; `status` is that of the HTTP response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
