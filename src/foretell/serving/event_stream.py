"""Server-sent events of one job. A reader that goes away stops the job, also while nothing is sent.

return EventStream(job, stop=lambda: queue.stop(job))
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from foretell.serving.all_answers import Event
from foretell.serving.model_queue import Job

__all__ = ["EventStream"]

_SILENT_SECONDS = 15.0
"""After so long a comment is sent, so that a reader that is gone without a word is noticed."""


class EventStream(Response):
    """Sends the events of a job as they happen.

    Args:
        job: Whose events.
        stop: Called once, when the stream has ended for whatever reason.
    """

    media_type = "text/event-stream"

    def __init__(self, job: Job, stop: Callable[[], object]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._job, self._stop = job, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the last one, or until the reader is gone."""
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _send(send, f"event: job\ndata: {json.dumps({'event': 'job', 'job': self._job.id})}\n\n")
            while not gone.done():
                event = await self._next(gone)
                if event is None:
                    break
                await _send(send, event)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the reader is gone
            pass
        finally:
            self._stop()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    async def _next(self, gone: asyncio.Future[None]) -> str | None:
        """Return the next event as text; None at the end, or when the reader is gone."""
        coming = asyncio.ensure_future(self._job.events.get())
        either: tuple[asyncio.Future[Any], ...] = (gone, coming)
        await asyncio.wait(either, timeout=_SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            event: Event | None = coming.result()
            return None if event is None else f"data: {json.dumps(event, ensure_ascii=False, allow_nan=False)}\n\n"
        coming.cancel()
        return None if gone.done() else ": still here\n\n"


async def _send(send: Send, text: str) -> None:
    # A token may hold half a character, which UTF-8 has no bytes for.
    body = text.encode("utf-8", "replace")
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
