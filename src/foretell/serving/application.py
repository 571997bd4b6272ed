"""The page as an ASGI application, and the server that runs it on this machine's own address.

application = live_page(catalogue, token="...", port=8377)
serve(catalogue, port=8377, on_ready=print)
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from foretell.errors import ForetellError, InputError
from foretell.serving.catalogue import Catalogue
from foretell.serving.guard import Guard, cookie_name
from foretell.serving.request_bounds import RefusedError
from foretell.serving.routes import Serving, routes

__all__ = ["LOOPBACK", "PORT", "live_page", "loopback_socket", "serve"]

LOOPBACK = "127.0.0.1"
"""The only address that is listened on."""
PORT = 8377
"""Where a browser finds the page unless another port is asked for or this one is taken."""
_HEAD_BYTES = 32 * 1024
_MOST_CONNECTIONS = 128
_LAST_SECONDS = 2


def live_page(catalogue: Catalogue, *, token: str, port: int) -> ASGIApp:
    """Return the application.

    Args:
        catalogue: What there is to choose from.
        token: The secret that a browser is given in the address it is opened with.
        port: Where it listens, which its Host and its cookie name.
    """
    serving = Serving(catalogue)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        serving.close()

    hosts = tuple(f"{name}:{port}" for name in (LOOPBACK, "localhost"))
    cookie = cookie_name(port)
    handlers = {RefusedError: _refused, ForetellError: _failed, HTTPException: _no_route}
    application = Starlette(lifespan=lifespan, exception_handlers=handlers)  # type: ignore[arg-type]
    guard = Guard(application, token=token, hosts=hosts, cookie=cookie, opens="/")
    application.router.routes.extend(routes(serving, token=token, cookie=cookie, is_known=guard.is_known))
    return guard


def _refused(_request: Request, error: RefusedError) -> Response:
    return JSONResponse({"message": str(error)}, error.status)


def _failed(_request: Request, error: ForetellError) -> Response:
    return JSONResponse({"message": str(error)}, 422)


def _no_route(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"message": error.detail}, error.status_code, error.headers)


def loopback_socket(port: int | None) -> socket.socket:
    """Return a socket of this machine's own address, which no other machine reaches.

    Args:
        port: Where to listen; 0 takes any free port; None takes `PORT`, or any other where that is taken.

    Raises:
        InputError: The port is taken.
    """
    for place in (PORT, 0) if port is None else (port,):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((LOOPBACK, place))
        except OSError as error:
            found.close()
            reason = error.strerror or str(error)
            continue
        return found
    raise InputError(f"port {port} cannot be listened on ({reason}): choose another with --port, or --port 0 for any")


def serve(catalogue: Catalogue, *, port: int | None, on_ready: Callable[[str], object]) -> None:
    """Serve the page until the process is interrupted.

    Args:
        catalogue: What there is to choose from.
        port: As in `loopback_socket`.
        on_ready: Called with the address that opens the page, once something listens there.

    Raises:
        InputError: The port is taken.
    """
    listening = loopback_socket(port)
    with listening:
        own = int(listening.getsockname()[1])
        token = secrets.token_urlsafe(24)
        settings = uvicorn.Config(
            live_page(catalogue, token=token, port=own),
            http="h11",
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=_HEAD_BYTES,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        server = _Server(settings, lambda: on_ready(f"http://{LOOPBACK}:{own}/?token={token}"))
        with contextlib.suppress(KeyboardInterrupt):  # which ends it as it should be ended
            server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()
