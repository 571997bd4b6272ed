from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.neighbors import KNeighborsClassifier

import foretell
from foretell.errors import InputError, TableError
from foretell.schema.tables import TABLES, conform
from foretell.stats.detectors.learners import Estimator
from foretell.stats.settings import Settings
from foretell.stats.study import TABLE_NAMES, Study, study
from tests.stats.tables import METRICS, head_table

QUICK: dict[str, Any] = {
    "n_trees": 5,
    "n_permutations": 500,
    "detector_repeats": 1,
    "detector_folds": 3,
    "n_jobs": 1,
    "progress": False,
}


def described(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with every column that a run adds."""
    order = pl.col("id").str.slice(-3).cast(pl.Int64)
    return table.with_columns(
        (order % 3).cast(pl.String).alias("stratum"),
        *((order * step % 11).alias(name) for step, name in ((3, "n_tokens_prompt"), (5, "n_tokens_generated"))),
        (-(order * 7 % 13) / 13).alias("mean_logprob"),
    )


@pytest.fixture(scope="module")
def found() -> Study:
    return study(described(head_table(n_samples=30, effect=6.0)), **QUICK)


def test_every_table_has_its_columns_and_keys(found: Study) -> None:
    tables = found.tables()
    assert tuple(tables) == TABLE_NAMES
    for name, frame in tables.items():
        assert frame.equals(conform(frame, TABLES[name]))
        of_a_run = name in {"early", "early_relative", "told_by", "hidden_layers"}
        assert (frame.height == 0) == of_a_run, name
        if not name.endswith("_points"):
            assert frame.select(TABLES[name].key).is_duplicated().sum() == 0, name
        for column in TABLES[name].columns:
            values = frame.get_column(column.name)
            if values.dtype == pl.Float64:
                assert not values.is_nan().any(), (name, column.name)
                assert values.is_infinite().sum() == 0, (name, column.name)
                if column.lower is not None:
                    assert (values.drop_nulls() >= column.lower - 1e-12).all(), (name, column.name)
                if column.upper is not None:
                    assert (values.drop_nulls() <= column.upper + 1e-12).all(), (name, column.name)


def test_intervals_hold_their_estimates(found: Study) -> None:
    pairs = {"forest": ("auc", "auc"), "detectors": ("auc", "auc"), "transfer": ("auc", "auc"), "roc": ("auc", "auc")}
    for name, (estimate, ends) in pairs.items():
        frame = found.tables()[name].drop_nulls([estimate, f"{ends}_lower"])
        assert (frame[f"{ends}_lower"] <= frame[estimate]).all(), name
        assert (frame[f"{ends}_upper"] >= frame[estimate]).all(), name


def test_every_sample_has_the_held_out_score_of_every_detector(found: Study) -> None:
    scores = found.held_out_scores
    assert set(scores["dataset"]) == set(found.datasets)
    for dataset in found.datasets:
        samples, own = found.samples[dataset], scores.filter(pl.col("dataset") == dataset)
        for one in found.detectors_of(dataset):
            rows = own.filter(pl.col("detector") == one.name)
            if one.name == "majority":
                assert rows.is_empty()
                continue
            assert rows["id"].to_list() == samples.ids.tolist()
            assert rows["score"].to_numpy() == pytest.approx(one.heldout.score.mean(axis=0), nan_ok=True)
    best = scores.filter(pl.col("detector") == "all heads").join(found.table.samples, on=["dataset", "id"])
    negative, positive = (best.filter(pl.col("behavior_label") == label)["rank"].to_numpy().mean() for label in (0, 1))
    assert negative < 0.3 < 0.7 < positive


def test_samples_that_cannot_be_held_out_say_why() -> None:
    one_group = head_table(n_samples=6, datasets=("alpaca",)).with_columns(group=pl.lit("one"))
    one = study(one_group, **QUICK).held_out_scores
    assert one.height
    assert one["score"].null_count() == one["rank"].null_count() == one.height
    assert one["reason"].null_count() == 0


def test_undefined_numbers_have_a_reason(found: Study) -> None:
    for name in ("forest", "importances", "thresholds", "transfer"):
        frame = found.tables()[name]
        empty = frame.filter(pl.any_horizontal(pl.col(pl.Float64).is_null()))
        assert empty.get_column("reason").null_count() == 0, name


def test_the_planted_head_is_found(found: Study) -> None:
    verdicts = found.verdicts.filter(pl.col("dataset") == "alpaca")
    assert dict(verdicts.select("signal", "verdict").iter_rows())["any single head"] == "signal"
    why = verdicts.filter(pl.col("signal") == "any single head")["why"][0]
    assert "layer 1 head 2 " in why
    heads = found.detectors.filter(pl.col("detector") == "best single head", pl.col("dataset") == "all")
    assert heads["auc_lower"][0] > 0.6
    assert set(found.verdicts["dataset"]) == {"alpaca", "flan", "all"}
    assert set(found.transfer["train"]) == {"alpaca", "flan", "itself"}


def test_all_detectors_and_baselines_are_there(found: Study) -> None:
    names = found.detectors.filter(pl.col("dataset") == "flan")["detector"].to_list()
    assert names == [
        "all heads",
        "best single head",
        "mean over heads",
        "kind of task",
        "segment lengths",
        "answer length",
        "log-probability",
        "all baselines",
        "majority",
    ]


def test_order_of_rows_threads_and_runs_change_no_number(found: Study) -> None:
    table = described(head_table(n_samples=30, effect=6.0)).sample(fraction=1.0, shuffle=True, seed=3)
    again = study(table, **{**QUICK, "n_jobs": 2})
    for name, frame in found.tables().items():
        assert frame.equals(again.tables()[name]), name
    assert again.to_json() == found.to_json()


def test_another_seed_gives_other_splits(found: Study) -> None:
    other = study(found.table, seed=1, **QUICK)
    assert not other.forest.equals(found.forest)
    assert not other.detectors.equals(found.detectors)


def test_tables_are_computed_when_first_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def forbidden(*_: object, **__: object) -> None:
        calls.append("forest")

    monkeypatch.setattr("foretell.stats.study.forests_by_dataset", forbidden)
    lazy = study(head_table(), compute=False, **QUICK)
    assert lazy.thresholds.height == 2 * 3 * 4
    assert lazy.detectors.height > 0
    assert calls == []


def test_hopeless_datasets_do_not_stop_the_others() -> None:
    good = head_table(n_samples=24, datasets=("good",))
    one_label = head_table(datasets=("one label",)).with_columns(behavior_label=pl.lit(1, dtype=pl.Int64))
    tiny = head_table(n_samples=2, datasets=("tiny",))
    single = head_table(n_samples=1, datasets=("single",))
    found = study(pl.concat([good, one_label, tiny, single]), **QUICK)
    verdicts = {(row["dataset"], row["signal"]): row for row in found.verdicts.to_dicts()}
    for name in ("one label", "tiny", "single"):
        assert verdicts[name, "all heads"]["verdict"] == "not enough data"
        assert verdicts[name, "forest on rows"]["verdict"] == "not enough data"
        grouped = found.forest.filter(pl.col("dataset") == name, pl.col("protocol") == "grouped")
        assert grouped["auc"][0] is None
        assert grouped["reason"][0]
    assert found.forest.filter(pl.col("dataset") == "good")["auc"].null_count() == 0
    assert found.forest.filter(pl.col("dataset") == "all")["auc"].null_count() == 0
    json.loads(found.to_json())


def test_one_dataset_is_not_pooled() -> None:
    found = study(head_table(datasets=("alpaca",)), **QUICK)
    assert set(found.detectors["dataset"]) == {"alpaca"}
    assert found.transfer.height == 0


def test_datasets_without_heads_in_common_have_a_reason() -> None:
    first = head_table(datasets=("a",))
    second = head_table(datasets=("b",)).with_columns(pl.col("layer") + 7)
    found = study(pl.concat([first, second]), **QUICK)
    pooled = found.detectors.filter(pl.col("dataset") == "all", pl.col("detector") == "all heads")
    assert pooled["reason"][0].startswith("no feature column")
    assert set(found.transfer["reason"]) == {"the datasets have no layers and heads in common"}


def test_groups_reach_every_part() -> None:
    table = head_table(n_samples=40, datasets=("alpaca",))
    groups = {f"alpaca-{index:03d}": f"prompt-{index // 4}" for index in range(40)}
    found = study(table, group=groups, **QUICK)
    assert found.settings.group == "mapping"
    assert set(found.samples["alpaca"].group) == set(groups.values())
    for one in found.judged["alpaca"][0]:
        assert one.auc.n_groups == 10
        for repeat in range(one.heldout.n_repeats):
            folds = one.heldout.fold[repeat].reshape(10, 4)
            assert (folds == folds[:, :1]).all()
    assert found.forests["alpaca"]["grouped"].auc.n_groups == 10


def test_an_id_that_two_datasets_name_is_two_samples_of_one_group() -> None:
    table = head_table(n_samples=20).with_columns(pl.col("id").str.slice(-3))
    found = study(table, **QUICK)
    assert len(found.samples["all"].label) == 40
    assert len(np.unique(found.samples["all"].group)) == 20
    assert {one.auc.n_groups for one in found.judged["all"][0]} == {20}
    assert found.forests["all"]["grouped"].auc.n_groups == 20
    assert found.forests["flan"]["grouped"].auc.n_groups == 20
    assert any("20 ids and 20 groups occur in several datasets" in note for note in found.ledger.notes)


def test_metrics_that_are_no_shares(generator: np.random.Generator) -> None:
    table = head_table(datasets=("alpaca",)).with_columns((pl.col("PAM_norm") - 5).alias("score"))
    found = study(table, metrics=["score"], **QUICK)
    assert found.forest["auc"].null_count() == 0
    assert found.importances.filter(pl.col("kind") == "impurity")["importance"].to_list() == pytest.approx([1, 1, 1])
    assert not any("shares" in note for note in found.notes)


def test_estimators_plug_in() -> None:
    options: dict[str, Estimator] = {"neighbours": KNeighborsClassifier(3), "forest": "random-forest"}
    found = study(head_table(datasets=("alpaca",)), estimators=options, **QUICK)
    names = set(found.detectors["detector"])
    assert {"all heads (neighbours)", "all heads (forest)"} <= names
    assert found.settings.estimators == ("neighbours", "forest")


def test_files_are_written_and_the_same_each_time(found: Study, tmp_path: Path) -> None:
    written = found.write_tables(tmp_path / "one")
    assert [path.name for path in written] == [*(f"{name}.parquet" for name in TABLE_NAMES), "study.json"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(path.name for path in written)
    for part, frame in found.tables().items():
        assert pl.read_parquet(tmp_path / "one" / f"{part}.parquet").equals(frame)
    again = study(found.table, **QUICK).write_tables(tmp_path / "two")
    for first, second in zip(written, again, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_the_summary_is_plain_and_whole(found: Study) -> None:
    summary = json.loads(found.to_json())
    assert set(summary) == {"settings", "ledger", "validity", "verdicts", "notes", "versions"}
    assert summary["settings"]["n_trees"] == 5
    assert summary["settings"]["metrics"] == list(METRICS)
    assert summary["ledger"]["n_read"] == summary["ledger"]["n_kept"] == 30 * 2 * 3 * 2
    assert len(summary["verdicts"]) == found.verdicts.height
    assert summary["versions"]["foretell"] == foretell.__version__


def test_settings_say_what_names_groups_and_strata() -> None:
    table = described(head_table())
    plain = study(table, **QUICK, compute=False).settings
    assert (plain.group, plain.stratum) == (None, "stratum")
    ids = table.get_column("id").unique().to_list()
    given = study(table, group=dict.fromkeys(ids, "one"), stratum="n_tokens_prompt", **QUICK, compute=False).settings
    assert (given.group, given.stratum) == ("mapping", "n_tokens_prompt")
    grouped = table.with_columns(group=pl.col("id").str.head(7))
    assert study(grouped, **QUICK, compute=False).settings.group == "group"


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match='unknown setting "trees"'):
        study(head_table(), trees=3)
    wrongs: tuple[tuple[dict[str, Any], str], ...] = (
        ({"level": 1.0}, "level is 1.0"),
        ({"n_trees": 0}, "n_trees is 0"),
        ({"forest_folds": 1}, "at least 2"),
    )
    for wrong, words in wrongs:
        with pytest.raises(InputError, match=words):
            Settings(**wrong)
    with pytest.raises(TableError, match="PAM_norm"):
        study(head_table().drop("PAM_norm"))


def test_forests_of_large_tables_see_some_rows_and_the_notes_say_so() -> None:
    table = head_table(n_samples=40, n_layers=4, n_heads=5, datasets=("alpaca",))
    some = study(table, **QUICK, forest_rows=300, compute=False)
    assert any("forests use 300 rows, drawn at random, of 800 (alpaca)" in note for note in some.notes)
    assert some.forests["alpaca"]["grouped"].n_rows == 300
    assert some.forests["alpaca"]["grouped"].n_samples == 40
    every = study(table, **QUICK, forest_rows=None, compute=False)
    assert every.forests["alpaca"]["grouped"].n_rows == 800
    assert not any("forests use" in note for note in every.notes)


def test_progress_counts_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    study(head_table(datasets=("alpaca",)), **{**QUICK, "progress": True})
    printed = capsys.readouterr()
    assert printed.out == ""
    done, total = printed.err.rsplit("| ", 1)[1].split(" ")[0].split("/")
    assert done == total


def test_no_model_library_is_needed() -> None:
    code = (
        "import sys, foretell; foretell.study\n"
        "assert not {'torch', 'transformers', 'matplotlib', 'plotly'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
