"""Who may ask: the token, Host, Origin, and what every response says to the browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from foretell.serving.application import live_page
from foretell.serving.catalogue import Catalogue
from tests.serving.conftest import PORT, TOKEN, asked

BASE = f"http://127.0.0.1:{PORT}"
PATHS = ("/", "/static/app.js", "/api/catalogue", "/api/queue", "/api/runs/run-1", "/reports/report-1", "/nothing")


@pytest.fixture
def unknown(catalogue: Catalogue) -> Iterator[TestClient]:
    """A browser without the token."""
    with TestClient(live_page(catalogue, token=TOKEN, port=PORT), base_url=BASE, follow_redirects=False) as opened:
        yield opened


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookie", [None, "", "wrong", TOKEN[:-1], f"{TOKEN} ", "\xe9"])
def test_nothing_is_answered_without_the_token(unknown: TestClient, path: str, cookie: str | None) -> None:
    headers = {} if cookie is None else {b"cookie": f"foretell-{PORT}={cookie}".encode("latin-1")}
    response = unknown.get(path, headers=headers)
    assert response.status_code == 401
    assert "with its token" in response.text
    assert unknown.post("/api/answers", json=asked(), headers=headers).status_code == 401


def test_the_printed_address_gives_a_cookie_that_no_script_and_no_other_site_gets(unknown: TestClient) -> None:
    response = unknown.get("/", params={"token": TOKEN})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"foretell-{PORT}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert unknown.get("/").status_code == 200
    assert unknown.get("/", params={"token": "wrong"}).status_code == 200, "whoever has the cookie needs no token"


def test_a_wrong_token_gives_no_cookie(unknown: TestClient) -> None:
    response = unknown.get("/", params={"token": "wrong"})
    assert response.status_code == 401
    assert "set-cookie" not in response.headers


def test_a_script_may_put_the_token_into_a_header(unknown: TestClient) -> None:
    assert unknown.get("/api/queue", headers={"x-foretell-token": TOKEN}).json() == {"tiny": 0}
    assert unknown.get("/api/queue", headers={"x-foretell-token": TOKEN.upper()}).status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        f"127.0.0.1:{PORT + 1}",
        f"127.0.0.1.evil.example:{PORT}",
        f"0.0.0.0:{PORT}",
        f"[::1]:{PORT}",
        "",
        f"localhost:{PORT}, evil.example",
    ],
)
def test_another_host_is_refused_also_with_the_token(client: TestClient, host: str) -> None:
    response = client.get("/api/catalogue", headers={"host": host, "x-foretell-token": TOKEN})
    assert response.status_code == 421
    assert "answers this machine only" in response.text


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
def test_the_names_of_this_machine_are_taken(client: TestClient, host: str) -> None:
    assert client.get("/api/queue", headers={"host": host, "x-foretell-token": TOKEN}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", f"https://127.0.0.1:{PORT}", "http://127.0.0.1", f"{BASE}.evil.example", ""],
)
def test_another_page_is_refused_also_with_the_cookie(client: TestClient, origin: str) -> None:
    for response in (
        client.post("/api/answers", json=asked(), headers={"origin": origin}),
        client.get("/api/catalogue", headers={"origin": origin}),
    ):
        assert response.status_code == 403
        assert "another page asked" in response.text


def test_the_own_page_is_answered(client: TestClient) -> None:
    headers = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert client.post("/api/spans", json=asked(), headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_says_of_another_site_is_believed(client: TestClient, site: str) -> None:
    assert client.post("/api/spans", json=asked(), headers={"sec-fetch-site": site}).status_code == 403


@pytest.mark.parametrize("path", [*PATHS, "/?token=wrong"])
@pytest.mark.parametrize("known", [True, False])
def test_every_response_has_the_headers(client: TestClient, unknown: TestClient, path: str, known: bool) -> None:
    headers = (client if known else unknown).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    if not (path.startswith("/reports") and known):
        assert "unsafe" not in policy
    assert "http" not in policy.replace("https", "http").replace("'", ""), "nothing from elsewhere"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "9" * 5000, "0x10", "²"])
def test_a_strange_length_is_refused(client: TestClient, length: str) -> None:
    headers = {b"content-length": length.encode(), b"content-type": b"application/json"}
    assert client.post("/api/spans", content=b"{}", headers=headers).status_code == 413


def test_websockets_are_closed(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/answers"):
        pass
