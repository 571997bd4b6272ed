"""What each address of the page answers.

Bodies are checked before anything is done; whatever takes long is done in threads, so that one browser never waits for
another's numbers.

app = Starlette(routes=routes(Serving(catalogue), token="...", cookie="...", is_known=guard.is_known))
"""

from __future__ import annotations

import asyncio
import copy
import mimetypes
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from foretell.errors import InputError
from foretell.reading.chat.spans import render
from foretell.schema.tables import SEGMENTS
from foretell.serving.all_answers import Result, answer_question
from foretell.serving.browsing import opened_run, sample_of, samples_of
from foretell.serving.catalogue import Catalogue
from foretell.serving.event_stream import EventStream
from foretell.serving.exports import FILES, exported
from foretell.serving.guard import same_token
from foretell.serving.model_queue import Job, ModelQueue
from foretell.serving.question import Question, parse_question
from foretell.serving.request_bounds import (
    MAX_ANSWERS,
    MAX_BODY_BYTES,
    MAX_DOSE,
    MAX_KEPT_RESULTS,
    MAX_NEW_TOKENS,
    RefusedError,
)
from foretell.storage.surfaces import builtin_surface_question

__all__ = ["Serving", "routes"]

_REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""A report is a page with scripts of its own: it gets an origin of its own, without this page's cookie."""


class Serving:
    """What lives as long as the server: queues, running requests, and results that can be exported.

    Args:
        catalogue: What there is to choose from.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.queues = {name: ModelQueue(self._work) for name in catalogue.loaders}
        self.running: dict[str, Job] = {}
        self._results: OrderedDict[str, Result] = OrderedDict()
        self._tokenizers: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.drawing = asyncio.Semaphore(1)

    def _work(self, job: Job) -> None:
        """Do one job, in the thread of its model."""
        result = answer_question(self.catalogue, job.question, pass_on=job.pass_on, is_stopped=lambda: job.is_stopped)
        with self._lock:
            self._results[job.id] = result
            while len(self._results) > MAX_KEPT_RESULTS:
                self._results.popitem(last=False)
        job.pass_on({"event": "done", "result": job.id})

    def result(self, name: str) -> Result:
        """Return a finished request, or refuse its id."""
        with self._lock:
            if name not in self._results:
                raise RefusedError(404, "there is no such result, or it is too old: ask again")
            return self._results[name]

    def pieces(self, question: Question) -> dict[str, Any]:
        """Return the segments of a prompt as the model would see it, in its own tokens."""
        model = self.catalogue.model(question.model)
        with self._lock:
            # Tokenizers must not be used by two threads at once, and the model's own may be in use.
            if question.model not in self._tokenizers:
                self._tokenizers[question.model] = copy.deepcopy(model.tokenizer)
            rendered = render(self._tokenizers[question.model], question.conversation, answer=None)
        return {"pieces": rendered.pieces, "counts": rendered.counts, "n_tokens": len(rendered.token_ids)}

    def close(self) -> None:
        """Let everything end."""
        for queue in self.queues.values():
            queue.close()


def routes(serving: Serving, *, token: str, cookie: str, is_known: Any) -> list[Route]:
    """Return the routes of the page.

    Args:
        serving: What they are about.
        token: The secret of this server.
        cookie: Name of the cookie that holds it.
        is_known: Says of the headers of a request whether it has the token.
    """
    pages = _Pages(token, cookie, is_known)
    asking, looking = _Asking(serving), _Looking(serving)
    return [
        Route("/", pages.index),
        Route("/static/{name}", pages.static),
        Route("/api/catalogue", looking.catalogue),
        Route("/api/queue", looking.queue),
        Route("/api/runs/{run}", looking.samples),
        Route("/api/runs/{run}/sample", looking.sample),
        Route("/reports/{report}", looking.report),
        Route("/api/results/{result}/{file}", looking.export),
        Route("/api/spans", asking.spans, methods=["POST"]),
        Route("/api/answers", asking.answers, methods=["POST"]),
        Route("/api/answers/{job}/stop", asking.stop, methods=["POST"]),
    ]


class _Pages:
    """The page itself."""

    def __init__(self, token: str, cookie: str, is_known: Any) -> None:
        self._token, self._cookie, self._is_known = token, cookie, is_known

    async def index(self, request: Request) -> Response:
        """Take the token of the printed address into a cookie, or show the page to whoever has it."""
        given = request.query_params.get("token")
        if given is not None and same_token(given, self._token):
            response = RedirectResponse("/", status_code=303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            return response
        if not self._is_known(request.headers):
            raise RefusedError(401, "open the address that foretell serve printed, with its token")
        return _file("index.html")

    async def static(self, request: Request) -> Response:
        """Return a file of the page, by its name."""
        return _file(request.path_params["name"])


@cache
def _static() -> Mapping[str, bytes]:
    """Return the files of the page, which nothing but their names can be asked for."""
    folder = files("foretell.serving") / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _file(name: str) -> Response:
    if name not in _static():
        raise RefusedError(404, "there is no such file")
    return Response(_static()[name], media_type=mimetypes.guess_type(name)[0] or "application/octet-stream")


class _Asking:
    """Questions, their preview, and stopping."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def answers(self, request: Request) -> Response:
        """Put a question into its model's queue and send what happens."""
        question = await _question(request)
        serving = self._serving
        queue = _queue(serving, question)
        serving.catalogue.check_ids(question.direction, question.monitor)
        job = queue.add(question)
        serving.running[job.id] = job

        def stop() -> None:
            serving.running.pop(job.id, None)
            queue.stop(job)

        return EventStream(job, stop)

    async def stop(self, request: Request) -> Response:
        """End a request at its next token."""
        job = self._serving.running.get(request.path_params["job"])
        if job is not None:
            self._serving.queues[job.question.model].stop(job)
        return Response(status_code=204)

    async def spans(self, request: Request) -> Response:
        """Return the segments of a question's prompt."""
        question = await _question(request)
        _queue(self._serving, question)
        return JSONResponse(await run_in_threadpool(self._serving.pieces, question))


async def _question(request: Request) -> Question:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, "send JSON (content-type: application/json)")
    return parse_question(await request.body())


def _queue(serving: Serving, question: Question) -> ModelQueue:
    if question.model not in serving.queues:
        raise RefusedError(404, "there is no such model on this page")
    return serving.queues[question.model]


class _Looking:
    """What there is, and what has been read."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def catalogue(self, _request: Request) -> Response:
        """Return everything that there is to choose from, and the bounds of a question."""
        example = builtin_surface_question()
        answers = [{"title": title, "text": text} for title, text in zip(example.titles, example.answers, strict=True)]
        limits = {"answers": MAX_ANSWERS, "new_tokens": MAX_NEW_TOKENS, "bytes": MAX_BODY_BYTES, "dose": MAX_DOSE}
        about = {"segments": list(SEGMENTS), "limits": limits, "files": list(FILES)}
        about["example"] = {"question": example.question, "answers": answers}
        return JSONResponse(self._serving.catalogue.as_json() | about)

    async def queue(self, _request: Request) -> Response:
        """Return how many requests each model has."""
        return JSONResponse({name: queue.n_jobs for name, queue in self._serving.queues.items()})

    async def samples(self, request: Request) -> Response:
        """Return one page of a run's samples."""
        named = self._serving.catalogue.run(request.path_params["run"])
        first = request.query_params.get("first", "0")
        if not (first.isascii() and first.isdecimal() and len(first) < 12):
            raise RefusedError(422, "first: a whole number from 0 is needed")
        search = request.query_params.get("search", "")[:200]

        def found() -> dict[str, Any]:
            return samples_of(opened_run(named), int(first), search)

        return JSONResponse(await run_in_threadpool(found))

    async def sample(self, request: Request) -> Response:
        """Return one sample of a run, by its id in the query."""
        named = self._serving.catalogue.run(request.path_params["run"])
        name = request.query_params.get("id", "")

        def found() -> dict[str, Any]:
            return sample_of(opened_run(named), name)

        return JSONResponse(await run_in_threadpool(found))

    async def report(self, request: Request) -> Response:
        """Return a report as it is on disk, kept apart from this page."""
        named = self._serving.catalogue.report(request.path_params["report"])
        try:
            path = named.checked()
        except InputError as error:
            raise RefusedError(404, str(error)) from error
        return FileResponse(
            path, media_type="text/html; charset=utf-8", headers={"content-security-policy": _REPORT_POLICY}
        )

    async def export(self, request: Request) -> Response:
        """Return a finished request as a file."""
        result, name = self._serving.result(request.path_params["result"]), request.path_params["file"]
        async with self._serving.drawing:
            media_type, content = await run_in_threadpool(exported, result, name)
        headers = {"content-disposition": f'attachment; filename="foretell-{name}"'}
        return Response(content, media_type=media_type, headers=headers)
