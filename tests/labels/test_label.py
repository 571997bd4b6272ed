"""Labels from verifiers and from files: joined by id, every gap with its reason."""

from pathlib import Path

import polars as pl
import pytest

from foretell.errors import InputError, TableError
from foretell.labels.label import label, read_labels, report_labels
from foretell.labels.verifiers import VERIFIERS
from foretell.schema.tables import LABELS, SAMPLES, conform

LIMIT = '{"name": "max_words", "count": 2}'


class Run:
    """A run in memory."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        full = [{"dataset": "d", "group": row["id"], "messages": "[]", "model": "m", **row} for row in rows]
        self.samples = conform(pl.DataFrame(full), SAMPLES)
        self.written: pl.DataFrame | None = None

    def write_labels(self, labels: pl.DataFrame) -> None:
        self.written = labels


def test_samples_are_labelled_by_their_verifiers() -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "answer": "two words", "verifier": LIMIT},
        {"id": "b", "answer": "now three words", "verifier": LIMIT},
        {"id": "c", "answer": None, "verifier": LIMIT},
        {"id": "d", "answer": "  ", "verifier": LIMIT},
        {"id": "e", "answer": "x"},
        {"id": "f", "behavior_label": 0, "label_source": "judge", "label_reason": "said so"},
    ]
    frame = label(Run(rows))
    assert frame.schema == pl.Schema(LABELS.dtypes)
    assert frame.rows() == [
        ("a", 1, "verifier max_words", "2 words, at most 2 allowed"),
        ("b", 0, "verifier max_words", "3 words, at most 2 allowed"),
        ("c", None, "verifier max_words", "there is no answer"),
        ("d", None, "verifier max_words", "the answer is empty"),
        ("e", None, None, "there is no verifier and no label"),
        ("f", 0, "judge", "said so"),
    ]


def test_a_wrong_verifier_names_its_prompt() -> None:
    with pytest.raises(InputError, match=r"prompt 'a7': verifier \"max_words\": missing"):
        label(Run([{"id": "a7", "answer": "x", "verifier": '{"name": "max_words"}'}]))
    run = Run([{"id": "a8", "answer": "x", "verifier": "{"}])
    with pytest.raises(InputError, match="prompt 'a8': the verifier is no JSON"):
        label(run)
    assert run.written is None


def test_an_error_of_ones_own_verifier_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(answer: str) -> None:
        raise ZeroDivisionError(answer)

    monkeypatch.setitem(VERIFIERS, "broken", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        label(Run([{"id": "a9", "answer": "x", "verifier": '{"name": "broken"}'}]))
    assert "'a9'" in caught.value.__notes__[0]


@pytest.mark.parametrize("container", ["csv", "tsv", "jsonl", "parquet"])
def test_files_of_labels(tmp_path: Path, container: str) -> None:
    path = tmp_path / "labels.any"
    frame = pl.DataFrame(
        {
            "score": ["9", "8", "7", "6"],
            "id": ["a", "b", "c", "a"],
            "behavior_label": ["yes", "0", "NaN", "TRUE"],
        }
    )
    if container == "parquet":
        frame.write_parquet(path)
    elif container == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path, separator="\t" if container == "tsv" else ",")
    assert read_labels(path).rows() == [
        ("a", 1, "file labels.any", None),
        ("b", 0, "file labels.any", None),
        ("c", None, None, "the file gives no label"),
    ]


def test_numbers_and_missing_values_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pl.DataFrame({"id": [1, 2, 3], "behavior_label": [1.0, float("nan"), None]}).write_parquet(path)
    assert read_labels(path).select("id", "behavior_label").rows() == [("1", 1), ("2", None), ("3", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,label\na,1\n", 'column "behavior_label": the column is missing (columns there: id, label)'),
        ("name,behavior_label\na,1\n", 'column "id": the column is missing'),
        ("id,behavior_label\na,1\nb,2\n", "row 2, column \"behavior_label\": '2' is no label"),
        ("id,behavior_label\n,1\n", 'row 1, column "id": is missing, empty'),
        ("id,behavior_label\na,1\nb,0\na,0\n", "contradict each other about 'a'"),
        ("id,behavior_label\na,1\na,\n", "contradict each other about 'a'"),
    ],
)
def test_a_wrong_file_of_labels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableError) as caught:
        read_labels(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_run_is_labelled_by_its_verifiers_and_keeps_labels_it_was_given() -> None:
    run = Run(
        [
            {"id": "a", "answer": "two words", "verifier": '{"name": "max_words", "count": 2}'},
            {"id": "b", "answer": None, "verifier": '{"name": "no_commas"}'},
            {"id": "c", "answer": "x", "verifier": None, "behavior_label": 0, "label_source": "file"},
        ]
    )
    frame = label(run)
    assert run.written is frame
    assert frame["behavior_label"].to_list() == [1, None, 0]
    assert frame["label_reason"][1] == "there is no answer"
    report = report_labels(run.samples, frame)
    assert (report.n_samples, report.n_labelled, report.n_positive) == (3, 2, 1)
    assert report.unlabelled_ids == ("b",)
    assert report.reasons == {"there is no answer": 1}


def test_a_run_is_labelled_by_a_file_and_both_sides_are_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    path.write_text("id,behavior_label,label_source\nz,1,\nb,0,me\na,1,\nc,,\n", encoding="utf-8")
    run = Run([{"id": name} for name in "abcd"])
    frame = label(run, labels=path)
    assert frame.rows() == [
        ("a", 1, "file judged.csv", None),
        ("b", 0, "me", None),
        ("c", None, None, "the file gives no label"),
        ("d", None, None, "judged.csv has no label for this id"),
    ]
    report = report_labels(run.samples, read_labels(path))
    assert report.unmatched_ids == ("z",)
    assert report.unlabelled_ids == ("c", "d")
    assert report.reasons == {"the file gives no label": 1, "there is no label for this id": 1}
    table = pl.DataFrame({"id": ["a", "b", "c"], "behavior_label": [True, False, None]})
    assert label(run, labels=table)["behavior_label"].to_list() == [1, 0, None, None]


def test_no_id_in_common_stores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    path.write_text("id,behavior_label\ny,1\nz,0\n", encoding="utf-8")
    run = Run([{"id": "a"}])
    with pytest.raises(TableError, match=r'judged\.csv.*no id in common with the run: .* has "a", the labels have "y"'):
        label(run, labels=path)
    with pytest.raises(TableError, match="contradict each other about 'a'"):
        label(run, labels=pl.DataFrame({"id": ["a", "a"], "behavior_label": [0, 1]}))
    with pytest.raises(TableError, match="the column is missing"):
        label(run, labels=pl.DataFrame({"id": ["a"]}))
    assert run.written is None
