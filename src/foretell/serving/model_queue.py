"""One request at a time per model, the others in a queue whose places everybody sees, and a stop for each.

queue = ModelQueue(work)            # work(job) runs in a thread of its own
job = queue.add(question)
event = await job.events.get()      # {"event": "queued", "place": 1}, ..., None at the end
job.stop()
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from foretell.errors import ForetellError
from foretell.serving.all_answers import Event
from foretell.serving.question import Question
from foretell.serving.request_bounds import MAX_WAITING, RefusedError

__all__ = ["Job", "ModelQueue"]

_LOG = logging.getLogger(__name__)


class Job:
    """One request: what is asked, what has happened, and whether it is to end."""

    def __init__(self, question: Question, loop: asyncio.AbstractEventLoop) -> None:
        self.id = secrets.token_urlsafe(16)
        self.question = question
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        """In order; None is the end."""
        self.place = 0
        """Requests before it; 0 while it runs."""
        self._loop = loop
        self._stopped = threading.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether it is to end, asked by the thread that does it."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Let it end: at its next token, or before it began."""
        self._stopped.set()

    def pass_on(self, event: Event) -> None:
        """Pass on an event from any thread."""
        self._loop.call_soon_threadsafe(self.events.put_nowait, event)

    def end(self) -> None:
        """Say that nothing more comes, from any thread."""
        self._loop.call_soon_threadsafe(self.events.put_nowait, None)


class ModelQueue:
    """The requests to one model, in the order in which they came. It lives in one event loop.

    Args:
        work: Does one job; what it raises becomes an event.
    """

    def __init__(self, work: Callable[[Job], object]) -> None:
        self._work = work
        self._jobs: list[Job] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answering")
        self._worker: asyncio.Task[None] | None = None

    @property
    def n_jobs(self) -> int:
        """Requests that run or wait."""
        return len(self._jobs)

    def add(self, question: Question) -> Job:
        """Put a request at the end.

        Raises:
            RefusedError: Too many are waiting.
        """
        if self.n_jobs >= MAX_WAITING:
            raise RefusedError(429, f"{self.n_jobs} requests are waiting for this model; try again later")
        loop = asyncio.get_running_loop()
        job = Job(question, loop)
        self._jobs.append(job)
        self._announce_places()
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._run())
        return job

    def stop(self, job: Job) -> None:
        """Let a job end, and leave the queue at once if it has not begun."""
        job.stop()
        if job in self._jobs[1:]:
            self._jobs.remove(job)
            job.pass_on({"event": "stopped"})
            job.end()
            self._announce_places()

    def close(self) -> None:
        """Let everything end; what runs does so at its next token."""
        for job in self._jobs:
            job.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while self._jobs:
            job = self._jobs[0]
            await asyncio.get_running_loop().run_in_executor(self._thread, self._done, job)
            self._jobs.remove(job)
            self._announce_places()

    def _done(self, job: Job) -> None:
        """Do one job in the thread, whatever it raises."""
        try:
            if not job.is_stopped:
                self._work(job)
            if job.is_stopped:
                job.pass_on({"event": "stopped"})
        except ForetellError as error:
            job.pass_on({"event": "error", "message": str(error)})
        except Exception:  # noqa: BLE001 - one request must not end the others; the log has what it was
            _LOG.exception("a request failed")
            job.pass_on({"event": "error", "message": "something failed inside; the terminal of the server says what"})
        finally:
            job.end()

    def _announce_places(self) -> None:
        for place, job in enumerate(self._jobs):
            if place and place != job.place:
                job.pass_on({"event": "queued", "place": place})
            job.place = place
