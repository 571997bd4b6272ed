"""The report is whole, self-contained and inert, and a failure leaves nothing behind."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from foretell.errors import InputError
from foretell.showing import report as report_module
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.figures.surfaces.surface_figures import surface_figures
from foretell.showing.page.page import render_page
from foretell.showing.page.page_tables import page_tables
from foretell.showing.report import report, rerender, save_surface, save_table, write_report
from foretell.showing.report_data import ReportData
from foretell.showing.report_folder import read_report_data
from foretell.storage.surfaces import Surface
from tests.showing.conftest import DATASETS, make_study, make_surface
from tests.showing.parsed_page import Page, parsed


@pytest.fixture(scope="module")
def folder(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("report") / "out"
    assert write_report(data, to, title="A trial") == to / "report.html"
    return to


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return parsed((folder / "report.html").read_text(encoding="utf-8"))


def test_every_file_is_there(folder: Path, data: ReportData) -> None:
    assert {path.name for path in folder.iterdir()} == {
        *("report.html", "report.json", "study.json"),
        *("tables", "figures", "surfaces"),
    }
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert figures == {path.stem for path in (folder / "figures").glob("*.svg")}
    assert len(figures) == 16
    for name, frame in data.tables.items():
        assert pl.read_parquet(folder / "tables" / f"{name}.parquet").equals(frame)
    assert Surface.read(folder / "surfaces" / "activity-1").table().equals(data.surfaces[0].table())
    assert json.loads((folder / "study.json").read_text())["settings"]["seed"] == 0


def test_the_page_loads_nothing_and_is_of_reasonable_size(folder: Path, page: Page) -> None:
    assert page.loads
    assert all(load.startswith(("data:image/webp;base64,", "#")) for load in page.loads)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert (folder / "report.html").stat().st_size < 4e6


def unpacked(page: Page, name: str) -> str:
    """Return what a block of the page holds."""
    (block,) = (text for attributes, text in page.scripts if attributes.get("id") == f"packed-{name}")
    return gzip.decompress(base64.b64decode(block)).decode()


def test_only_the_pages_own_scripts_may_run(page: Page) -> None:
    running = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(running) == 1
    for text in (*running, unpacked(page, "plotly")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page.policy
    assert page.policy.count("sha256") == 2
    assert "default-src 'none'" in page.policy
    assert "'unsafe-eval'" not in page.policy
    script_rule = next(rule for rule in page.policy.split(";") if "script-src" in rule)
    assert "'unsafe-inline'" not in script_rule
    assert page.handlers == []


def test_figures_are_valid_json_and_plotly_is_there_once(page: Page) -> None:
    pictures = json.loads(unpacked(page, "figures"))["pictures"]
    assert len(pictures) == 2 + 2 + 3 + 3 + 3 + 6 + 27 + 3 + 3 + 3 + 3 + 3 + 1
    assert "plotly.js v" in unpacked(page, "plotly")[:400]
    assert not any("plotly.js v" in text for _, text in page.scripts)


def test_tables_of_the_page_are_those_of_the_folder(page: Page, folder: Path) -> None:
    tables = json.loads(unpacked(page, "tables"))
    assert set(tables) == {path.stem for path in (folder / "tables").glob("*.parquet")} | {"activity"}
    for name, table in tables.items():
        stored = pl.read_parquet(folder / f"tables/{name}.parquet") if name != "activity" else make_surface().table()
        names = [column["name"] for column in table["columns"]]
        assert names == stored.columns
        shown = pl.DataFrame(dict(zip(names, table["values"], strict=True)), schema=stored.schema)
        assert_frame_equal(shown, stored.fill_nan(None), check_exact=True, check_row_order=name != "association")


def test_every_figure_says_how_to_read_it_and_leads_to_its_tables(page: Page, data: ReportData) -> None:
    figures = study_figures(data)
    assert all(figure.words.how and figure.words.sources for figure in figures)
    assert sum(text.startswith("How to read:") for text in page.text) == len(page.images)


def test_the_page_says_what_a_reader_needs(page: Page) -> None:
    text = " ".join(page.text)
    for words in (
        "Summary",
        "What was dropped",
        "87,480 rows read, 77,760 kept",
        'layer is "avg"',
        "2.2e-16",
        "Three shares that sum to 1 have two degrees of freedom",
        "no evidence of a signal",
        "Rows split at random leak on 3 of 3 datasets",
        "foretell study demo/attention.csv --seed 0 --to demo/study",
        "You are a helpful assistant.",
    ):
        assert words in text, words
    assert len(page.ids) == len(set(page.ids))
    assert all(image.get("alt") for image in page.images)
    assert len(page.images) == 16


def test_hostile_text_is_inert_in_the_page(hostile_data: ReportData) -> None:
    figures = [*surface_figures(hostile_data.surfaces[0]), *study_figures(hostile_data)]
    stills = {figure.words.name: b"png" for figure in figures}
    attack = "</script><script>document.title='hit'</script>"
    html = render_page(hostile_data, figures, stills, title=f"{attack}\x1b[31m\u202e")
    page = parsed(html)
    assert [attributes.get("type") for attributes, _ in page.scripts] == [*["text/plain"] * 3, None]
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert page.handlers == []
    assert all(load.startswith(("data:image/webp;base64,", "#")) for load in page.loads)
    assert page.tags.count("img") == len(figures)
    assert any(attack in text for text in page.text)
    assert "$\\frac{1}{0}$" in " ".join(page.text)


def test_heads_come_with_the_strongest_first(data: ReportData) -> None:
    tables = {table.name: table for table in page_tables(data, study_figures(data))}
    assert tables["association"].frame.select("p_max", "layer", "head").row(0) == (0.003, 12, 4)
    kinds = {name: kind for name, kind, _ in tables["association"].columns}
    assert (kinds["layer"], kinds["n"], kinds["auc"], kinds["p_max"], kinds["reason"]) == (
        *("index", "count", "number", "p-value", "text"),
    )


def test_a_table_alone_is_enough(tmp_path: Path) -> None:
    study = replace(make_study(), frames={"verdicts": make_study().frames["verdicts"]})
    path = report(study, tmp_path / "deep" / "out", progress=False)
    html = path.read_text(encoding="utf-8")
    page = parsed(html)
    assert "Activity while answering" not in " ".join(page.text)
    assert all(dataset in html for dataset in DATASETS)


def test_a_surface_alone_makes_a_page(tmp_path: Path) -> None:
    path = save_surface(make_surface(), tmp_path / "out", progress=False)
    page = parsed(path.read_text(encoding="utf-8"))
    assert "Who is Elon Musk?" in " ".join(page.text)
    assert (tmp_path / "out" / "figures" / "activity.png").stat().st_size > 10_000
    assert Surface.read(tmp_path / "out").question == "Who is Elon Musk?"
    assert not (tmp_path / "out" / "study.json").exists()


def test_a_failure_leaves_the_old_report_and_no_debris(
    data: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("old")

    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("page")

    monkeypatch.setattr(report_module, "render_page", broken)
    with pytest.raises(RuntimeError, match="page"):
        write_report(replace(data, tables={}, direction=None), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_new_report_leaves_nothing_of_the_old_one_and_everything_else(tmp_path: Path) -> None:
    to, outside = tmp_path / "out", tmp_path / "notes.txt"
    outside.write_text("mine")
    verdicts = {"verdicts": make_study().frames["verdicts"]}
    first = ReportData(tables={**verdicts, "extra": pl.DataFrame({"auc": [0.5]})}, surfaces=(make_surface(),))
    write_report(first, to, progress=False)
    assert (to / "surfaces" / "activity-1" / "surface.json").exists()
    (to / "figures" / "own.png").write_bytes(b"mine")
    facts = json.loads((to / "report.json").read_text())
    (to / "report.json").write_text(json.dumps({**facts, "files": [*facts["files"], "../notes.txt", str(outside)]}))
    write_report(ReportData(tables=verdicts), to, progress=False)
    assert {path.name for path in (to / "tables").iterdir()} == {"verdicts.parquet"}
    assert [path.name for path in (to / "figures").iterdir()] == ["own.png"]
    assert not list((to / "surfaces").rglob("*.json"))
    assert outside.read_text() == "mine"


def test_a_folder_that_holds_something_is_replaced_only_when_asked_to(tmp_path: Path) -> None:
    study = replace(make_study(), frames={"verdicts": make_study().frames["verdicts"]})
    folder = tmp_path / "out"
    report(study, folder, title="first", progress=False)
    (folder / "notes.txt").write_text("mine")
    (folder / "tables" / "own.csv").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    steered = pl.DataFrame({"dose": [1.0]})
    refused = pytest.raises(InputError, match=r"holds .* already; .*--overwrite")
    with refused:
        report(study, folder)
    with refused:
        save_surface(make_surface(), folder)
    with refused:
        save_table(steered, folder, model="tiny", kind="steering")
    with refused:
        rerender(folder, tmp_path, progress=False)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    report(study, folder, title="second", overwrite=True, progress=False)
    assert "second" in (folder / "report.html").read_text(encoding="utf-8")
    save_surface(make_surface(), folder, overwrite=True, progress=False)
    assert not (folder / "study.json").exists()
    assert {path.name for path in (folder / "tables").iterdir()} == {"own.csv"}
    report(study, folder, overwrite=True, progress=False)
    assert not (folder / "surface.json").exists()
    assert not (folder / "figures" / "activity.png").exists()
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_file_is_no_folder(data: ReportData, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("mine")
    with pytest.raises(InputError, match="is a file; name a folder"):
        write_report(data, target)
    assert target.read_text() == "mine"


def test_a_report_is_made_again_from_its_folder(folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    (small / "tables").mkdir(parents=True)
    for name in ("study.json", "report.json", "tables/verdicts.parquet", "tables/detectors.parquet"):
        (small / name).write_bytes((folder / name).read_bytes())
    first = rerender(small, small, progress=False).read_bytes()
    assert rerender(small, tmp_path / "again", progress=False).read_bytes() == first
    html = first.decode()
    assert "<title>A trial</title>" in html
    assert "You are a helpful assistant." in html
    assert 'data-picture="increments-0"' in html
    make_surface().write(tmp_path / "surface")
    shown = rerender(small, tmp_path / "shown", surfaces=[tmp_path / "surface"], progress=False)
    assert "Activity by layer and token" in shown.read_text(encoding="utf-8")


def test_the_whole_report_reads_back(folder: Path, data: ReportData) -> None:
    again, title = read_report_data(folder)
    assert title == "A trial"
    assert replace(again.facts, provenance=()) == data.facts
    assert dict(again.facts.provenance).keys() == {"report made", "statistics computed on"}
    assert again.study_json == data.study_json
    assert set(again.tables) == set(data.tables)
    assert again.direction is not None
    assert data.direction is not None
    assert again.direction.equals(data.direction)
    assert [surface.question for surface in again.surfaces] == ["Who is Elon Musk?"]


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.json: cannot be read"):
        rerender(tmp_path, tmp_path / "out")
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        rerender(tmp_path, tmp_path / "out")
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(InputError, match="has no tables"):
        rerender(tmp_path, tmp_path / "out")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "roc.parquet").write_text("no table")
    with pytest.raises(InputError, match="is not a Parquet table"):
        rerender(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
