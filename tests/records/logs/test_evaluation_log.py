"""Whole logs: what is one, several filters, and real logs whose own totals say what their labels must be."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from foretell.conversations.formats import read_conversations
from foretell.errors import ConversationError
from tests.optional import no_data
from tests.records.logs.logged import DOCUMENT, SAMPLE, with_score

LOGS = Path(__file__).parents[4] / "shared" / "logs"
NAMES = (
    "inspect_ai/inspect__analysis_test_logs_2025-05-12T20-28-26-04-00_security-guide.json",
    "inspect_ai/inspect__analysis_test_logs_choices_mmlu-summary-choices.eval",
    "inspect_ai/inspect__log_test_eval_log_log_formats.eval",
    "inspect_ai/inspect__log_test_eval_log_log_formats.json",
    "inspect_ai/inspect__scorer_logs_2025-02-11T15-18-04-05-00_popularity_mj7khqpMM4GBCfVQozKgzB.eval",
    "lm_eval/lmeval__olot_gsm8k_2025-04-30.jsonl",
    "lm_eval/lmeval__own_dummy_0.4.13_multiple_choice.jsonl",
    "lm_eval/lmeval__pyFade_gsm8k_2025-09-09.jsonl",
)


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


def filtered(document: int, filter_: str, value: float) -> dict[str, Any]:
    return {**DOCUMENT, "doc_id": document, "filter": filter_, "exact_match": value}


def test_each_filter_is_a_score_of_the_same_answers(tmp_path: Path) -> None:
    strict, loose = [filtered(n, "strict", 0.0) for n in range(3)], [filtered(n, "loose", n % 2) for n in range(3)]
    path = lines(tmp_path / "log.jsonl", *strict, *loose)
    for scorer, labels, listed in ((None, [0, 0, 0], [4, 5, 6]), ("loose", [0, 1, 0], [1, 2, 3])):
        found = read_conversations(path, scorer=scorer)
        assert ([one.behavior_label for one in found], [one.row for one in found.skipped]) == (labels, listed)
        assert {one.label_source for one in found} == {f"lm-eval exact_match,{scorer or 'strict'}"}


def test_one_score_labels_the_whole_log(tmp_path: Path) -> None:
    samples = [{**with_score(value, id=str(n)), "epoch": 1} for n, value in enumerate("CPI")]
    for sample in samples:
        sample["scores"]["other"] = {"value": "C"}
    path = lines(tmp_path / "log.jsonl", *samples)
    assert [one.behavior_label for one in read_conversations(path)] == [1, None, 0]
    assert [one.behavior_label for one in read_conversations(path, scorer="other")] == [1, 1, 1]
    with pytest.raises(ConversationError, match=r"log.jsonl: there is no score 'f1'; .* are: match, other"):
        read_conversations(path, scorer="f1")


def test_a_score_is_named_for_logs_alone(tmp_path: Path) -> None:
    with pytest.raises(ConversationError, match=r"own.jsonl: has no score 'match': it is no log"):
        read_conversations(lines(tmp_path / "own.jsonl", {"query": "a"}), scorer="match")


def test_a_log_in_memory_or_in_parquet_is_the_same_log(tmp_path: Path) -> None:
    records = [filtered(n, "none", n % 2) for n in range(3)]
    pl.DataFrame(records).write_parquet(tmp_path / "log.parquet")
    for source in (records, tmp_path / "log.parquet"):
        assert [(one.id, one.behavior_label) for one in read_conversations(source)] == [("0", 0), ("1", 1), ("2", 0)]


def test_a_damaged_first_line_does_not_hide_what_a_file_is(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.jsonl", SAMPLE)
    path.write_text('{"id": \n' + path.read_text())
    with pytest.raises(ConversationError, match="row 1: is no JSON object on one line"):
        read_conversations(path)
    found = read_conversations(path, errors="skip")
    assert ([one.id for one in found], [one.row for one in found.skipped]) == (["s"], [1])


def test_a_huge_message_is_read_whole(tmp_path: Path) -> None:
    text = "\u00fc" * 5_000_000
    path = lines(tmp_path / "log.jsonl", SAMPLE, {**SAMPLE, "id": "t", "messages": [{"role": "user", "content": text}]})
    assert read_conversations(path)[1].messages[0].content == text


@pytest.mark.parametrize("name", NAMES)
def test_real_logs_give_the_labels_that_their_harness_counted(name: str) -> None:
    if not (LOGS / name).exists():
        no_data(name)
    found = read_conversations(LOGS / name)
    labels = [one.behavior_label for one in found]
    n_samples, n_correct = _counted(LOGS / name)
    assert len(found) == n_samples
    assert sum(label or 0 for label in labels) == pytest.approx(n_correct)
    assert None not in labels
    assert all(one.answer and one.group and one.stratum for one in found)
    assert all(one.writer for one in found) == name.startswith("inspect")


def _counted(path: Path) -> tuple[int, float]:
    """Return how many samples a log has by its own header, and how many of them it counted as correct."""
    if path.suffix == ".jsonl":
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        first = [record for record in records if record["filter"] == records[0]["filter"]]
        assert len({record["doc_id"] for record in records}) == len(first)
        return len(first), sum(float(record[record["metrics"][0]]) for record in first)
    if path.suffix == ".eval":
        with zipfile.ZipFile(path) as archive:
            results = json.loads(archive.read("header.json"))["results"]
    else:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
    n_samples = results["completed_samples"]
    return n_samples, results["scores"][0]["metrics"]["accuracy"]["value"] * n_samples


def test_values_between_are_no_labels() -> None:
    name = "inspect_ai/inspect__every_eval_ever_data_cyse2_vuln_exploit_challenges.json"
    if not (LOGS / name).exists():
        no_data(name)
    (found,) = read_conversations(LOGS / name)
    assert Counter([found.behavior_label, found.label_reason]) == Counter(
        [None, "no score is 0 or 1 (vul_exploit_scorer is 0.65)"]
    )
