"""Labels of a log joined with samples: by id, by the task where it can be, by the score that is named."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from foretell.conversations.formats import read_conversations
from foretell.errors import TableError
from foretell.labels.label import read_labels
from foretell.records.label_rows import label_source_of, read_label_rows
from foretell.records.matching_ids import match_labels
from tests.records.logs.logged import DOCUMENT, HEADER, with_score

IDS = ("1", "2", "2-epoch-2", "3")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    samples = [
        {**with_score(value), "id": int(name[0]), "epoch": 2 if "epoch" in name else 1}
        for name, value in zip(IDS, "CIPN", strict=True)
    ]
    for sample in samples:
        sample["scores"]["other"] = {"value": 1}
    path = tmp_path / "log.json"
    path.write_text(json.dumps({**HEADER, "samples": samples}))
    return path


def samples(dataset: str, ids: tuple[str, ...] = IDS) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "dataset": dataset})


def test_labels_have_the_ids_of_the_conversations(log: Path) -> None:
    for scorer, labels in ((None, [1, 0, None, 0]), ("other", [1, 1, 1, 1])):
        rows = read_label_rows(log, extras=("label_source", "label_reason", "group", "stratum"), scorer=scorer)
        found = read_conversations(log, scorer=scorer)
        assert rows.frame.to_dicts() == [
            {name: getattr(one, name) for name in rows.frame.columns if name != "dataset"} | {"dataset": "sums"}
            for one in found
        ]
        assert rows.frame["behavior_label"].to_list() == labels
        assert read_label_rows(label_source_of(found)).frame["behavior_label"].to_list() == labels
    assert read_labels(log)["label_reason"].to_list() == [None, None, "no score is 0 or 1 (match is P)", None]


def test_a_log_joins_by_its_task_or_says_that_it_did_not(log: Path) -> None:
    rows = read_label_rows(log)
    matched = match_labels(samples("sums"), rows, name="the run")
    assert (matched.key, matched.notes, matched.unlabelled) == (("id", "dataset"), (), ())
    matched = match_labels(samples("own name"), rows, name="the run")
    assert (matched.key, matched.unlabelled) == (("id",), ())
    assert matched.notes == (
        f"{log} is of the task sums and the run has the dataset own name: they were joined by id alone",
    )
    both = pl.concat([samples("sums"), samples("other task")])
    matched = match_labels(both, rows, name="the run")
    assert matched.key == ("id", "dataset")


def test_a_score_that_no_log_has_is_refused(log: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="there is no score 'f1'; those of the log are: match, other"):
        read_label_rows(log, scorer="f1")
    table = tmp_path / "labels.csv"
    table.write_text("id,behavior_label\n1,0\n")
    with pytest.raises(TableError, match=r"labels.csv: has no score 'match': it is no log"):
        read_label_rows(table, scorer="match")


def test_a_record_that_cannot_be_used_is_refused_or_listed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, (DOCUMENT, {**DOCUMENT, "doc_id": 4, "resps": []}))))
    with pytest.raises(TableError, match=r'row 2, column "resps": is no list of responses'):
        read_label_rows(path)
    rows = read_label_rows(path, errors="skip")
    assert (rows.frame["id"].to_list(), [one.row for one in rows.skipped]) == (["3"], [2])


def test_two_answers_of_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, (DOCUMENT, {**DOCUMENT, "exact_match": 0.0}))))
    with pytest.raises(TableError, match='id "3" has both labels'):
        read_label_rows(path)
