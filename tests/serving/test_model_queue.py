"""One request at a time per model: places that everybody sees, stops, readers that go away, and broken requests."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.serving.conftest import TOKEN, SlowModel, asked, events_of, raw_request

N_MALFORMED = int(os.environ.get("FORETELL_TEST_ROUNDS", "120"))
STEP = 0.03


@pytest.fixture
def paused(slow: SlowModel) -> Iterator[SlowModel]:
    slow.seconds = STEP
    yield slow
    slow.seconds = 0.0


def browser(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, headers={"x-foretell-token": TOKEN}, timeout=60)


def long(text: str = "Who is it?", n_tokens: int = 200, **fields: Any) -> dict[str, Any]:
    return asked(text, model="slow", sampling={"max_new_tokens": n_tokens, "temperature": 3.0}, **fields)


def lines(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def is_idle(address: str) -> bool:
    with browser(address) as one:
        return bool(one.get("/api/queue").json()["slow"] == 0)


def test_a_closed_tab_stops_its_generation(address: str, paused: SlowModel) -> None:
    with browser(address) as one, one.stream("POST", "/api/answers", json=long()) as response:
        events = lines(response)
        while next(events)["event"] != "token":
            pass
    n_passes = paused.n_passes
    assert until(lambda: is_idle(address), 5.0)
    assert paused.n_passes - n_passes < 60, "it did not go on to the end"
    before = paused.n_passes
    time.sleep(4 * STEP)
    assert paused.n_passes == before


def test_the_stop_button_ends_an_answer_and_keeps_what_was_read(address: str, paused: SlowModel) -> None:
    with (
        browser(address) as one,
        browser(address) as other,
        one.stream("POST", "/api/answers", json=long()) as response,
    ):
        events = lines(response)
        job, n_tokens = "", 0
        for event in events:
            job = event.get("job", job)
            n_tokens += event["event"] == "token"
            if n_tokens == 3:
                break
        assert other.post(f"/api/answers/{job}/stop", json={}).status_code == 204
        rest = list(events)
    finished = next(event for event in rest if event["event"] == "finished")
    assert finished["outcome"] == "stopped"
    assert 3 <= finished["n_generated"] < 100
    assert [event["event"] for event in rest][-2:] == ["done", "stopped"]


def test_places_in_the_queue_are_seen_and_a_closed_tab_leaves_it(address: str, paused: SlowModel) -> None:
    with browser(address) as first, browser(address) as second, browser(address) as third:
        with first.stream("POST", "/api/answers", json=long()) as running:
            events = lines(running)
            next(events)
            with second.stream("POST", "/api/answers", json=long()) as waiting:
                seen = lines(waiting)
                assert [next(seen)["event"], next(seen)] == ["job", {"event": "queued", "place": 1}]
                with third.stream("POST", "/api/answers", json=long(n_tokens=4)) as last:
                    places = lines(last)
                    assert [next(places)["event"], next(places)] == ["job", {"event": "queued", "place": 2}]
                    waiting.close()
                    assert next(places) == {"event": "queued", "place": 1}
                    running.close()
                    rest = list(places)
        assert rest[-1]["event"] == "done"
    assert until(lambda: is_idle(address))


def test_a_full_queue_refuses_and_recovers(address: str, paused: SlowModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretell.serving.model_queue.MAX_WAITING", 1)
    with browser(address) as one, browser(address) as other:
        with one.stream("POST", "/api/answers", json=long()) as running:
            events = lines(running)  # a reader that is dropped is a closed tab
            next(events)
            refused = other.post("/api/answers", json=long())
            assert refused.status_code == 429
            assert "requests are waiting" in refused.json()["message"]
        assert until(lambda: is_idle(address))
        assert events_of(other.post("/api/answers", json=long(n_tokens=2)).text)[-1]["event"] == "done"


def test_other_pages_are_answered_while_a_model_writes(address: str, paused: SlowModel) -> None:
    with (
        browser(address) as one,
        browser(address) as other,
        one.stream("POST", "/api/answers", json=long(n_tokens=400)) as response,
    ):
        events = lines(response)
        next(events)
        assert other.get("/").status_code == 200
        assert other.get("/api/catalogue").status_code == 200
        assert other.post("/api/spans", json=long()).status_code == 200
        assert events_of(other.post("/api/answers", json=asked()).text)[-1]["event"] == "done", "another model"
        assert other.get("/api/queue").json()["slow"] == 1, "and the first one was not done meanwhile"
    assert until(lambda: is_idle(address))


def test_two_browsers_do_not_mix(address: str) -> None:
    texts = [f"text {index} {'é' * index}" for index in range(6)]
    found: dict[str, list[dict[str, Any]]] = {}

    def ask(text: str) -> None:
        with browser(address) as one:
            question = asked(text, model="slow", direction="direction-1", answers=[{"text": text}, {}])
            found[text] = events_of(one.post("/api/answers", json=question).text)

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    together = dict(found)
    for text in texts:
        ask(text)

    def numbers(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in events if event["event"] in {"started", "token", "finished"}]

    for text in texts:
        given = [event["text"] for event in together[text] if event["event"] == "token" and event["answer"] == 0]
        assert "".join(given) == text
        assert numbers(together[text]) == numbers(found[text])


def test_what_fails_inside_is_an_event_and_the_next_request_is_answered(
    address: str, slow: SlowModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("out of everything")

    with browser(address) as one:
        with monkeypatch.context() as broken:
            broken.setattr(type(slow.model.model), "forward", failing)
            events = events_of(one.post("/api/answers", json=long(n_tokens=2)).text)
        assert events[-1]["event"] == "error"
        assert "out of everything" not in events[-1]["message"]
        assert "out of everything" in caplog.text
        assert events_of(one.post("/api/answers", json=long(n_tokens=2)).text)[-1]["event"] == "done"


PIECES = (
    b"GET / HTTP/1.1\r\n",
    b"POST /api/answers HTTP/1.1\r\n",
    b"POST /api/spans HTTP/1.1\r\n",
    b"BREW /pot HTCPCP/1.0\r\n",
    b"GET /static/%00 HTTP/1.1\r\n",
    b"GET //..//..//etc/passwd HTTP/9.9\r\n",
    b"Host: 127.0.0.1\r\n",
    b"Host: evil.example\r\n",
    b"Host:\r\n",
    b"X: " + b"a" * 70_000 + b"\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"Cookie: " + b"=;" * 500 + b"\r\n",
    b"Origin: null\r\n",
    b"\r\n",
    b"\x00\x01\x02\xff\xfe",
    b"{" * 500,
    b'{"model": "tiny"}',
)


def test_malformed_requests_leave_it_running(address: str) -> None:
    chance = random.Random(5)
    whole = json.dumps(asked(direction="direction-1", answers=[{"text": "Yes."}])).encode()
    with browser(address) as one:
        for number in range(N_MALFORMED):
            if number % 2:
                content = b"".join(chance.choices(PIECES, k=chance.randint(1, 6)))
                answer = raw_request(address, content)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (content[:200], answer[:200])
                continue
            body = bytearray(whole)
            for _ in range(chance.randint(1, 12)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            body = body[: chance.randint(0, len(body))] if chance.random() < 0.3 else body
            headers = {"content-type": "application/json"}
            path = chance.choice(["/api/answers", "/api/spans"])
            response = one.post(path, content=bytes(body), headers=headers)
            assert response.status_code in {200, 400, 404, 422}, bytes(body)
            if response.status_code != 200:
                assert response.json()["message"]
        assert until(lambda: one.get("/api/queue").json() == {"tiny": 0, "slow": 0})
        events = events_of(one.post("/api/answers", json=asked(answers=[{"text": "Yes."}])).text)
        assert events[-1]["event"] == "done"


def test_a_body_that_never_comes_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretell.serving.guard._BODY_SECONDS", 0.2)
    import socket

    host, _, port = address.removeprefix("http://").partition(":")
    head = f"POST /api/spans HTTP/1.1\r\nHost: {host}:{port}\r\nX-Foretell-Token: {TOKEN}\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{{".encode())
        assert b" 408 " in connection.recv(4096)
