"""Every address of the page: what it answers, and what it refuses, by status and words."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from foretell.schema.tables import SEGMENTS
from foretell.serving.catalogue import Catalogue
from foretell.serving.exports import FILES
from foretell.serving.request_bounds import MAX_BODY_BYTES
from tests.serving.conftest import ASKED, PORT, REPORT, TOKEN, asked, asked_as, events_of

ORIGIN = f"http://127.0.0.1:{PORT}"


def named(catalogue: Catalogue, kind: str, name: str) -> str:
    entries: Any = getattr(catalogue, kind)
    return str(next(key for key, value in entries.items() if name == value.name))


def test_the_catalogue_lists_what_is_on_disk(client: TestClient) -> None:
    found = client.get("/api/catalogue").json()
    assert [one["id"] for one in found["models"]] == ["tiny"]
    assert [(one["name"], one["concept"]) for one in found["directions"]] == [("lying", "lying")]
    assert [one["name"] for one in found["monitors"]] == ["alarming", "monitor"]
    assert [one["name"] for one in found["runs"]] == ["run"]
    assert [one["name"] for one in found["reports"]] == ["results"]
    assert found["segments"] == list(SEGMENTS)
    assert found["example"]["question"]


def test_an_answer_comes_as_events_in_order(client: TestClient, catalogue: Catalogue) -> None:
    alarming = named(catalogue, "monitors", "alarming")
    question = asked(direction="direction-1", monitor=alarming, answers=[{}, {"title": "mine", "text": "No."}])
    response = client.post("/api/answers", json=question)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    names = [event["event"] for event in events]
    n_written = sum(event["event"] == "token" and event["answer"] == 0 for event in events)
    expected = ["job", "started", *["token"] * n_written, "finished", "started", *["token"] * 3, "finished", "done"]
    assert [name for name in names if name not in {"loading", "queued"}] == expected
    started = next(event for event in events if event["event"] == "started")
    assert started["segments"]["query"] == len("Who is it?")
    assert started["monitor"]["threshold"] == -1e9
    tokens = [event for event in events if event["event"] == "token" and event["answer"] == 1]
    assert "".join(token["text"] for token in tokens) == "No."
    for token in tokens:
        assert len(token["activity"]) == len(token["mass"]) == 3
        assert sum(token["mass"][0]) == pytest.approx(1.0, abs=1e-5)
        assert 0.0 <= token["probability"] <= 1.0
    assert any(token["alarm"] for token in tokens), "the threshold is below every score"


def test_two_answers_of_one_request_are_those_of_two(client: TestClient) -> None:
    def tokens(question: dict[str, Any], place: int) -> list[dict[str, Any]]:
        events = events_of(client.post("/api/answers", json=question).text)
        return [{**one, "answer": 0} for one in events if one["event"] == "token" and one["answer"] == place]

    both = asked(answers=[{"text": "Yes."}, {"text": "No."}])
    assert tokens(both, 1) == tokens(asked(answers=[{"text": "No."}]), 0)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "other"}, 404, "no such model"),
        ({"model": "../tiny"}, 404, "no such model"),
        ({"direction": "/etc/passwd"}, 404, "no such direction"),
        ({"direction": "direction-99"}, 404, "no such direction"),
        ({"monitor": "direction-1"}, 404, "no such monitor"),
        ({"answers": []}, 422, "a list of 1 to"),
    ],
)
def test_a_wrong_question_is_refused(client: TestClient, change: dict[str, Any], status: int, message: str) -> None:
    response = client.post("/api/answers", json=asked(**change))
    assert response.status_code == status
    assert message in response.json()["message"]


@pytest.mark.parametrize("path", ["/api/answers", "/api/spans"])
def test_only_json_of_bounded_size_is_taken(client: TestClient, path: str) -> None:
    text = {"content-type": "text/plain"}
    assert client.post(path, content=b"{}", headers=text).status_code == 415
    assert client.post(path, content=b"{", headers={"content-type": "application/json"}).status_code == 400
    large = json.dumps(asked("a" * MAX_BODY_BYTES))
    assert client.post(path, content=large, headers={"content-type": "application/json"}).status_code == 413

    def parts() -> Any:
        for _ in range(8):
            yield b" " * (MAX_BODY_BYTES // 4)

    streamed = client.post(path, content=parts(), headers={"content-type": "application/json"})
    assert streamed.status_code == 413
    assert "more than" in streamed.text


def test_what_the_model_cannot_do_is_an_event(client: TestClient) -> None:
    for question, words in (
        (asked("a" * 900), "too long"),
        (asked(direction="direction-1", steering={"dose": 1, "layers": [50, 60]}), "no vector there"),
        (asked(answers=[{"text": "Yes.", "token_ids": [259, 259]}]), "token"),
    ):
        [*_, last] = events_of(client.post("/api/answers", json=question).text)
        assert last["event"] == "error"
        assert words in last["message"]
    assert events_of(client.post("/api/answers", json=asked()).text)[-1]["event"] == "done", "the next one is answered"


def test_spans_are_those_that_are_read(client: TestClient) -> None:
    content = "Read this. Then answer."
    message = {"role": "user", "content": content, "spans": [[0, 10, "prompt"], [11, 23, "query"]]}
    found = client.post("/api/spans", json=asked(messages=[message])).json()
    pieces = {segment: text for segment, text in found["pieces"] if segment in {"prompt", "query"}}
    assert pieces == {"prompt": "Read this. ", "query": "Then answer."}
    assert sum(found["counts"].values()) == found["n_tokens"]
    assert client.post("/api/spans", json=asked(model="none")).status_code == 404


def test_a_run_is_looked_through_and_a_sample_asked_again(client: TestClient) -> None:
    page = client.get("/api/runs/run-1").json()
    assert (page["n_samples"], page["n_found"]) == (len(ASKED), len(ASKED))
    assert [row["id"] for row in page["samples"]] == [one.id for one in ASKED]
    assert client.get("/api/runs/run-1", params={"first": 20}).json()["samples"][0]["id"] == ASKED[20].id
    found = client.get("/api/runs/run-1", params={"search": ASKED[3].messages[0].content.upper()}).json()
    assert ASKED[3].id in [row["id"] for row in found["samples"]]
    sample = client.get("/api/runs/run-1/sample", params={"id": ASKED[3].id}).json()
    assert sample["messages"] == [{"role": "user", "content": ASKED[3].messages[0].content}]
    again = asked_as(ASKED[3])
    again["answers"] = [{"text": sample["answer"], "token_ids": sample["answer_token_ids"]}]
    tokens = [one for one in events_of(client.post("/api/answers", json=again).text) if one["event"] == "token"]
    assert len(tokens) == len(sample["answer_token_ids"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/runs/run-2", 404),
        ("/api/runs/..%2Frun", 404),
        ("/api/runs/run-1?first=-1", 422),
        ("/api/runs/run-1?first=1e3", 422),
        ("/api/runs/run-1?first=" + "9" * 400, 422),
        ("/api/runs/run-1/sample?id=none", 404),
        ("/api/runs/run-1/sample", 404),
        ("/reports/report-9", 404),
        ("/reports/..%2f..%2fetc%2fpasswd", 404),
        ("/reports/%2e%2e", 404),
        ("/static/..%2f..%2fapplication.py", 404),
        ("/static/%2e%2e%2fguard.py", 404),
        ("/static/none.js", 404),
        ("/static/", 404),
        ("/api/results/none/tokens.csv", 404),
        ("/nothing", 404),
        ("/api/answers", 405),
    ],
)
def test_only_what_was_listed_can_be_asked_for(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_a_report_opens_apart_from_the_page(client: TestClient) -> None:
    response = client.get("/reports/report-1")
    assert response.text == REPORT
    policy = response.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads;")
    assert "allow-same-origin" not in policy


def test_a_report_that_became_a_link_is_not_followed(catalogue: Catalogue, client: TestClient, tmp_path: Path) -> None:
    report = catalogue.report("report-1").path
    kept = report.read_bytes()
    (tmp_path / "secret").write_text("secret")
    report.unlink()
    report.symlink_to(tmp_path / "secret")
    try:
        assert client.get("/reports/report-1").status_code == 404
    finally:
        report.unlink()
        report.write_bytes(kept)


class TestExports:
    @pytest.fixture
    def result(self, client: TestClient) -> str:
        answers = [{"title": "=1+1", "text": "=cmd()"}, {"title": "b", "text": "No."}]
        events = events_of(client.post("/api/answers", json=asked(direction="direction-1", answers=answers)).text)
        assert events[-1]["event"] == "done"
        self.tokens = [event for event in events if event["event"] == "token"]
        return str(events[-1]["result"])

    @pytest.mark.parametrize(("name", "begin"), [("surfaces.png", b"\x89PNG"), ("surfaces.svg", b"<?xml")])
    def test_pictures(self, client: TestClient, result: str, name: str, begin: bytes) -> None:
        response = client.get(f"/api/results/{result}/{name}")
        assert response.status_code == 200
        assert response.content.startswith(begin)
        assert response.headers["content-disposition"] == f'attachment; filename="foretell-{name}"'

    def test_tables_hold_the_numbers_that_were_shown(self, client: TestClient, result: str) -> None:
        rows = list(csv.DictReader(io.StringIO(client.get(f"/api/results/{result}/tokens.csv").text)))
        assert [float(row["logprob"]) for row in rows] == pytest.approx(
            [one["logprob"] for one in self.tokens], abs=1e-5
        )
        assert rows[0]["answer"] == "'=1+1", "no spreadsheet runs it"
        layers = list(csv.DictReader(io.StringIO(client.get(f"/api/results/{result}/layers.csv").text)))
        shown = [score for one in self.tokens for score in one["activity"]]
        assert [float(row["activity"]) for row in layers] == pytest.approx(shown, abs=1e-5)
        assert float(layers[4]["mass_query"]) == pytest.approx(self.tokens[1]["mass"][1][2], abs=1e-5)

    def test_what_was_not_read_is_not_drawn(self, client: TestClient) -> None:
        result = events_of(client.post("/api/answers", json=asked()).text)[-1]["result"]
        refused = client.get(f"/api/results/{result}/surfaces.png")
        assert refused.status_code == 409
        assert "no direction was chosen" in refused.json()["message"]
        assert client.get(f"/api/results/{result}/tokens.csv").status_code == 200
        assert client.get(f"/api/results/{result}/secrets.txt").status_code == 404

    @pytest.mark.slow
    def test_a_page_of_its_own(self, client: TestClient, result: str) -> None:
        page = client.get(f"/api/results/{result}/report.html")
        assert page.status_code == 200
        assert "<title>" in page.text

    def test_the_oldest_results_are_forgotten(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("foretell.serving.routes.MAX_KEPT_RESULTS", 1)
        first, second = (
            events_of(client.post("/api/answers", json=asked(answers=[{"text": "a"}])).text)[-1]["result"]
            for _ in range(2)
        )
        assert client.get(f"/api/results/{first}/tokens.csv").status_code == 404
        assert client.get(f"/api/results/{second}/tokens.csv").status_code == 200


def test_every_file_has_a_link_on_the_page(client: TestClient) -> None:
    script = client.get("/static/app.js").text
    assert all(f'"{name}"' in script for name in FILES)


def test_stopping_what_is_over_or_unknown_does_nothing(client: TestClient) -> None:
    assert client.post("/api/answers/none/stop", json={}).status_code == 204


def test_the_page_itself(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert (
        client.get("/static/app.js").headers["content-type"].startswith(("text/javascript", "application/javascript"))
    )
    assert TOKEN not in page.text
