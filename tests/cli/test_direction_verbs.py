"""The verbs about directions on a small model: what they write, print and refuse."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from foretell.cli import direction_verbs
from foretell.cli.main import cli
from foretell.directions.direction import Direction
from foretell.errors import InputError
from foretell.schema.tables import TABLES
from foretell.storage.surfaces import Surface
from tests.reading.tiny import tiny_model


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = tiny_model("llama")
    monkeypatch.setattr(direction_verbs, "opened_model", lambda _name, options: _opened(model, options))
    rows = [
        {
            "question": f"Question {i * 37}?",
            "positive": f"{word} so+",
            "negative": f"{word} so, no-",
            "topic": f"t{i % 4}",
        }
        for i, word in enumerate(("It", "We say", "Maybe", "They", "All", "Some", "Few", "None"))
    ]
    path = tmp_path / "pairs.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


def _opened(model: object, options: dict[str, object]) -> object:
    for name in ("dtype", "device", "trust_remote_code"):
        options.pop(name, None)
    options["progress"] = False
    options.pop("quiet", None)
    return model


def said(verb: str, *words: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [verb, "tiny", *(str(word) for word in words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_instructed_pairs_are_fitted_and_compared_with_stated_ones(pairs: Path, tmp_path: Path) -> None:
    systems = ("--instructed", "--positive-system", "Lie.", "--negative-system", "Be honest.")
    targets = ("--to", tmp_path / "instructed.safetensors", "--tables", tmp_path / "judged")
    shown = said("direction", "--pairs", pairs, *systems, *targets)
    assert "transfer between stated and instructed pairs" in shown
    assert Direction.load(tmp_path / "instructed.safetensors").source.n_pairs == 8
    moved = pl.read_parquet(tmp_path / "judged" / "stated_and_instructed.parquet")
    assert moved.columns == list(TABLES["direction_transfer"].dtypes)
    assert moved.select("train", "judged").rows() == [
        (train, judged) for train in ("stated", "instructed") for judged in ("stated", "instructed")
    ]
    assert (tmp_path / "judged" / "direction_null.parquet").exists()


def test_stated_pairs_print_one_table_and_refuse_system_messages(pairs: Path, tmp_path: Path) -> None:
    shown = said("direction", "--pairs", pairs, "--to", tmp_path / "stated.safetensors")
    assert "held-out topics" in shown
    assert "transfer between" not in shown
    words = ("--pairs", pairs, "--positive-system", "Lie.", "--to", tmp_path / "no.safetensors")
    assert "need '--instructed'" in said("direction", *words, code=2)
    assert not (tmp_path / "no.safetensors").exists()


def test_a_surface_takes_layers_and_may_leave_its_band_out(pairs: Path, tmp_path: Path) -> None:
    said("direction", "--pairs", pairs, "--to", tmp_path / "d.safetensors")
    words = (
        "--question",
        "Who?",
        "--answer",
        "It so+",
        "--answer",
        "It so-",
        "--direction",
        tmp_path / "d.safetensors",
    )
    said("surface", *words, "--layers", "1", "--to", tmp_path / "with")
    said("surface", *words, "--no-band", "--to", tmp_path / "without")
    course = Surface.read(tmp_path / "with").course
    assert course is not None
    assert (course.layers, course.n_random) == ((1,), 100)
    with_band, without = ((tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("with", "without"))
    assert "Blue sheets" in with_band
    assert "Blue sheets" not in without
    assert "layer 1 of" in with_band
    for name in ("activity", "activity-flat", "tokens", "course", "difference"):
        assert (tmp_path / "with" / "figures" / f"{name}.png").exists()


def few_topics(path: Path, n_topics: int) -> Path:
    """The same pairs with fewer topics."""
    frame = pl.read_csv(path).with_row_index().with_columns(topic=pl.format("t{}", pl.col("index") % n_topics))
    frame.drop("index").write_csv(path)
    return path


def test_layers_that_are_given_need_no_held_out_topics(pairs: Path, tmp_path: Path) -> None:
    words = ("--pairs", few_topics(pairs, 2), "--random", 1, "--doses", "-1,1", "--to", tmp_path / "out")
    said("steer", *words, "--layers", "1,1")
    assert pl.read_parquet(tmp_path / "out" / "steering.parquet")["n_pairs"].unique().to_list() == [4]


@pytest.mark.parametrize(
    ("n_topics", "words", "message"),
    [
        (2, (), "give '--layers', or pairs of six topics"),
        (4, (), "give '--layers', or pairs of six topics"),
        (1, ("--layers", "1"), "a direction is fitted on half of the topics"),
        (2, ("--layers", "1.9"), "no list of whole numbers"),
        (2, ("--layers", "7"), "there is no layer 7"),
        (2, ("--random", "-1"), "-1 is not in the range"),
    ],
)
def test_what_cannot_be_steered_says_why(
    pairs: Path, tmp_path: Path, n_topics: int, words: tuple[str, ...], message: str
) -> None:
    given = ["steer", "tiny", "--pairs", str(few_topics(pairs, n_topics)), *words, "--to", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, given)
    assert message in (f"{done.exception}" if isinstance(done.exception, InputError) else done.output)
    assert done.exit_code != 0


def test_steering_shows_the_directed_part(pairs: Path, tmp_path: Path) -> None:
    shown = said(
        "steer", "--pairs", pairs, "--layers", "1,2", "--random", 2, "--doses", "-1,1", "--to", tmp_path / "out"
    )
    assert "directed" in shown
    table = pl.read_parquet(tmp_path / "out" / "steering.parquet")
    assert table.columns == list(TABLES["steering"].dtypes)
    own = table.filter(pl.col("kind") == "direction").sort("dose")
    assert own["dose"].to_list() == [-1.0, 0.0, 1.0]
    assert own["directed"][2] == pytest.approx((own["shift"][2] - own["shift"][0]) / 2)
