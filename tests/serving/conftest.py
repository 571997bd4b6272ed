"""A tiny model with a direction, a monitor, a run and a report on disk, and the live page of all of them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

import foretell
from foretell.conversations.conversation import Conversation
from foretell.reading.models.load import Model
from foretell.serving.application import live_page, loopback_socket
from foretell.serving.catalogue import Catalogue
from tests.monitors.made_runs import N_TOKENS, answered_run, conversations
from tests.reading.tiny import tiny_model

TOKEN = "a token for tests"
PORT = 8377
ASKED = conversations(24)
REPORT = "<!doctype html><title>a report</title><p>Findings.</p>"


def asked(text: str = "Who is it?", **fields: Any) -> dict[str, Any]:
    """A request of one answer of eight tokens."""
    whole: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": text}], "answers": [{}]}
    return {**whole, "sampling": {"max_new_tokens": 8}, **fields}


def asked_as(one: Conversation) -> dict[str, Any]:
    """A request for the answer that a run of this conversation has."""
    messages = [{"role": message.role, "content": message.content} for message in one.messages]
    return asked(id=one.id, messages=messages, sampling={"max_new_tokens": N_TOKENS})


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.fixture(scope="session")
def tiny() -> Model:
    return tiny_model()


@pytest.fixture(scope="session")
def folder(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has on disk after some work."""
    place = tmp_path_factory.mktemp("served")
    direction = foretell.fit_direction(tiny, foretell.fact_pairs(per_topic=1)[:4], progress=False)
    direction.save(place / "lying.safetensors")
    run = answered_run(tiny, ASKED, directions=[direction], to=place / "run")
    monitor = foretell.fit_monitor(run, baseline=False, max_false_positive_rate=0.45, confidence=0.6, max_heads=3)
    alarming = replace(monitor, threshold=replace(monitor.threshold, score=-1e9, reason=None))
    monitor.save(place / "monitor.safetensors")
    alarming.save(place / "alarming.safetensors")
    (place / "results").mkdir()
    (place / "results" / "report.html").write_text(REPORT, encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def catalogue(tiny: Model, folder: Path) -> Catalogue:
    return Catalogue.found({"tiny": lambda: tiny}, folder=folder)


@pytest.fixture
def client(catalogue: Catalogue) -> Iterator[TestClient]:
    """A browser that has opened the printed address, without a network."""
    application = live_page(catalogue, token=TOKEN, port=PORT)
    with TestClient(application, base_url=f"http://127.0.0.1:{PORT}") as opened:
        assert opened.get("/", params={"token": TOKEN}).status_code == 200
        yield opened


@dataclass
class SlowModel:
    """A model of which a test says how long each of its passes takes."""

    model: Model
    seconds: float = 0.0
    n_passes: int = 0


@pytest.fixture(scope="session")
def slow() -> SlowModel:
    made = SlowModel(tiny_model())

    def pause(*_arguments: object) -> None:
        made.n_passes += 1
        time.sleep(made.seconds)

    made.model.model.register_forward_pre_hook(pause)
    return made


@contextmanager
def served(catalogue: Catalogue) -> Iterator[str]:
    """Serve a catalogue in a thread, and yield the address with its token."""
    with loopback_socket(0) as listening:
        port = int(listening.getsockname()[1])
        options: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "on", "log_level": "critical"}
        settings = uvicorn.Config(live_page(catalogue, token=TOKEN, port=port), timeout_graceful_shutdown=2, **options)
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def address(tiny: Model, slow: SlowModel, folder: Path) -> Iterator[str]:
    """The address of a page with a tiny model and one whose steps take a while."""
    found = Catalogue.found({"tiny": lambda: tiny, "slow": lambda: slow.model}, folder=folder)
    with served(found) as place:
        yield place


def raw_request(address: str, content: bytes, *, seconds: float = 10.0) -> bytes:
    """Send bytes as they are, and return the beginning of what comes back."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        try:
            return connection.recv(4096)
        except OSError:
            return b""
