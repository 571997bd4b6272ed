"""Who may ask: only pages of this server itself, on this machine, with its token, and only in requests of bounded size.

A page on the internet can make a browser send requests to a local port. It cannot read the token, its Origin is
another, and a name of its own that leads to 127.0.0.1 (DNS rebinding) shows in Host.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foretell.serving.request_bounds import MAX_BODY_BYTES, RefusedError

__all__ = ["TOKEN_HEADER", "Guard", "cookie_name"]

TOKEN_HEADER = "x-foretell-token"  # noqa: S105 - the name of the header
"""Where a script, which has no cookie, puts the token."""
_BODY_SECONDS = 20.0
"""Within which the body of a request has to come."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every response that does not set its own."""


def cookie_name(port: int) -> str:
    """Return the name of the cookie of a server: browsers keep one jar for all ports of a machine."""
    return f"foretell-{port}"


class Guard:
    """Lets through what may be asked, and gives every response its headers.

    Args:
        app: What answers.
        token: The secret of this server.
        hosts: Values of Host that name it.
        cookie: Name of the cookie that holds the token.
        opens: Path that checks the token in its query by itself.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str], cookie: str, opens: str) -> None:
        self._app, self._token, self._cookie, self._opens = app, token, cookie, opens
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            headers = Headers(scope=scope)
            self._check(scope, headers)
            await self._app(scope, _bounded(receive, headers), sent)
        except RefusedError as error:
            if started:
                raise
            await PlainTextResponse(f"{error}\n", error.status)(scope, receive, sent)

    def _check(self, scope: Scope, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise RefusedError(421, "this page answers this machine only: open the address that foretell serve printed")
        origins = headers.getlist("origin")
        if any(origin.lower() not in self._origins for origin in origins):
            raise RefusedError(403, "another page asked, which is not allowed")
        if scope["method"] not in {"GET", "HEAD"} and headers.get("sec-fetch-site", "none") not in {
            "same-origin",
            "none",
        }:
            raise RefusedError(403, "another page asked, which is not allowed")
        if scope["path"] != self._opens and not self.is_known(headers):
            raise RefusedError(401, "open the address that foretell serve printed, with its token")

    def is_known(self, headers: Headers) -> bool:
        """Whether a request has the token, in its cookie or in a header."""
        given = [headers.get(TOKEN_HEADER, "")]
        for line in headers.getlist("cookie"):
            try:
                found = SimpleCookie(line).get(self._cookie)
            except CookieError:
                continue
            given.append("" if found is None else found.value)
        return any(same_token(one, self._token) for one in given)


def same_token(given: str, token: str) -> bool:
    """Compare a token without its time saying how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _bounded(receive: Receive, headers: Headers) -> Receive:
    """Return `receive` with bounds on the size of the body and on the time it takes."""
    stated = headers.get("content-length", "0")
    if not stated.isascii() or not stated.isdecimal() or int(stated[:20]) > MAX_BODY_BYTES:
        raise RefusedError(413, f"the request has more than {MAX_BODY_BYTES} bytes")
    n_bytes, is_whole = 0, False

    async def bounded() -> Message:
        nonlocal n_bytes, is_whole
        if is_whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), _BODY_SECONDS)
        except TimeoutError:
            raise RefusedError(408, f"the request was not whole after {_BODY_SECONDS:g} seconds") from None
        if message["type"] == "http.request":
            n_bytes += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
        if n_bytes > MAX_BODY_BYTES:
            raise RefusedError(413, f"the request has more than {MAX_BODY_BYTES} bytes")
        return message

    return bounded
