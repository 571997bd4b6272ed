"""What the pointer shows on the page is what the tables hold: pointed at with a mouse, read from the screen."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretell.showing.report import save_surface, write_report
from foretell.showing.report_data import ReportData
from foretell.storage.surfaces import Course, Surface
from tests.showing.browser import Browser, opened
from tests.showing.conftest import make_surface

pytestmark = [pytest.mark.page, pytest.mark.slow]

_POINTS = """
((plot) => {
  const layout = plot._fullLayout;
  const places = [];
  const add = (x, y) => places.push([x, y]);
  if (plot.data[0].type === "scatter") {
    for (const trace of plot.data) {
      if (trace.hoverinfo === "skip") continue;
      const step = Math.max(1, Math.floor(trace.x.length / 5));
      for (let at = 0; at < trace.x.length; at += step)
        if (trace.y[at] !== null)
          add(layout._size.l + layout.xaxis.d2p(trace.x[at]), layout._size.t + layout.yaxis.d2p(trace.y[at]));
    }
  } else {
    const size = layout._size;
    for (let row = 0; row < 6; row++)
      for (let column = 0; column < 8; column++)
        add(size.l + (size.w * (column + 0.47)) / 8, size.t + (size.h * (row + 0.53)) / 6);
  }
  return places;
})
"""
_LABELS = """
[...document.querySelectorAll(".hoverlayer .hovertext, svg .hovertext")].map((label) => {
  const lines = (text) => [...text.querySelectorAll("tspan.line")].map((line) => line.textContent);
  const main = label.querySelector("text.nums"), name = label.querySelector("text.name");
  const said = lines(main);
  return { said: said.length ? said : [main.textContent], name: name ? name.textContent : "" };
})
"""
_MATRIX = """
[...document.querySelectorAll(".matrix tbody tr")].flatMap((row) => {
  const dataset = row.querySelector("th span.soft").textContent.split(":")[0];
  return [...row.querySelectorAll("td:not(.known)")].map((cell) => [
    dataset, cell.dataset.signal, cell.querySelector("b").textContent, cell.querySelector(".gain").textContent,
    [...cell.querySelectorAll("span:not(.gain):not(.verdict)")].map((each) => each.textContent).join(""),
  ]);
})
"""
_PROTOCOLS = {"rows (source)": "rows", "grouped by sample": "grouped", "placebo labels": "placebo"}


@dataclass(frozen=True)
class Label:
    """What stands at the pointer."""

    said: tuple[str, ...]
    name: str


def number(text: str) -> float | None:
    """Read a number of the page."""
    return None if text == "undefined" else float(text.replace("−", "-"))


def numbers(text: str) -> list[float]:
    """Read every number of a text."""
    return [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text.replace("−", "-"))]


def same(shown: float | None, expected: float | None) -> bool:
    """Whether a number is that of the table, to the digits that are shown."""
    if shown is None or expected is None:
        return shown is expected
    return abs(shown - expected) <= 5.01e-4


def pointed(browser: Browser, picture: str) -> tuple[str, set[Label]]:
    """Return the title of a picture, and every label that comes up at places all over it."""
    plot = f"document.querySelector('[data-picture=\"{picture}\"]')"
    browser.run(f"{plot}.scrollIntoView({{behavior: 'instant', block: 'center'}})")
    time.sleep(0.2)
    left, top = browser.run(f"(({{x, y}}) => [x, y])({plot}.getBoundingClientRect())")
    labels = set()
    for x, y in browser.run(f"{_POINTS}({plot})"):
        browser.point(left + x, top + y)
        time.sleep(0.07)
        labels |= {Label(tuple(each["said"]), each["name"]) for each in browser.run(_LABELS)}
    title = browser.run(f"({plot}.layout.title || {{}}).text || ''")
    return title, labels


def with_bands(surface: Surface) -> Surface:
    """Return a surface with the band of random directions, and the course of its answers."""
    rng = np.random.default_rng(5)
    answers = []
    for answer in surface.answers:
        low = -1.0 - rng.random(answer.activity.shape)
        answers.append(replace(answer, null_lower=low, null_upper=low + 2.5))
    known = [answer.activity[[12, 14]].mean(axis=0) for answer in answers]
    mean, lower, upper = (tuple(tuple((line + shift).tolist()) for line in known) for shift in (0.0, -0.7, 0.9))
    return replace(surface, answers=tuple(answers), course=Course((12, 14), mean, lower, upper, n_random=40))


@pytest.fixture(scope="module")
def folder(signal_data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it."""
    return write_report(signal_data, tmp_path_factory.mktemp("report") / "out", progress=False).parent


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of surfaces with bands; the later answers are too small for a sheet."""
    answers = (("long", "This <b>is</b> a long answer of $words$."), ("yes", "Yes"), ("no", "No way"))
    surface = with_bands(make_surface(answers=answers))
    return save_surface(surface, tmp_path_factory.mktemp("surfaces") / "out", progress=False).parent


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with opened() as browser:
        yield browser


@pytest.fixture(scope="module")
def report_page(started: Browser, folder: Path) -> Browser:
    started.show(folder / "report.html")
    started.unfold()
    return started


def check_cells(labels: set[Label], surface: Surface, index: int, *, least: int) -> None:
    """Compare labels of one answer with the rows of its table."""
    rows = {
        (row["layer"], row["answer_position"]): row
        for row in surface.table().filter(id=f"answer-{index}").iter_rows(named=True)
    }
    places = set()
    for label in labels:
        found = re.fullmatch(r"layer (\d+), token (\d+): “(.*)”", label.said[0])
        assert found is not None, label
        place = int(found[1]), int(found[2])
        places.add(place)
        assert found[3].strip() == surface.answers[index].tokens[place[1]].strip()
        row = rows[place]
        assert label.said[1].startswith("activity ")
        assert same(number(label.said[1].removeprefix("activity ")), row["activity"]), label
        if row["null_lower"] is not None:
            ends = numbers(label.said[2])
            assert same(ends[0], row["null_lower"]), label
            assert same(ends[1], row["null_upper"]), label
    assert len(places) >= least
    assert len({layer for layer, _ in places}) > 4


def test_surfaces_maps_and_bars_show_the_cell_that_is_pointed_at(started: Browser, surfaces: Path) -> None:
    started.show(surfaces / "report.html")
    started.unfold()
    surface = Surface.read(surfaces)
    for name in ("activity", "activity-flat"):
        for index, least in enumerate((10, 6, 8)):
            _, labels = pointed(started, f"{name}-{index}")
            check_cells(labels, surface, index, least=least)
    kinds = started.run("[0, 1, 2].map((at) => document.querySelector(`[data-picture=activity-${at}]`).data[0].type)")
    assert kinds == ["surface", "bar", "bar"]
    assert started.console == []


def test_a_course_shows_means_and_the_band(started: Browser, surfaces: Path) -> None:
    started.show(surfaces / "report.html")
    course = Surface.read(surfaces).course
    assert course is not None
    for index in range(3):
        _, labels = pointed(started, f"course-{index}")
        own = [numbers(label.said[0]) for label in labels if label.name == "lying"]
        assert own
        for token, value in own:
            assert same(value, course.mean[index][int(token)])
        for label in labels:
            if label.name == "random directions":
                token, _, low, high = numbers(label.said[0])
                assert same(low, course.null_lower[index][int(token)])
                assert same(high, course.null_upper[index][int(token)])


def test_coloured_text_shows_each_token_s_mean(started: Browser, surfaces: Path) -> None:
    started.show(surfaces / "report.html")
    surface = Surface.read(surfaces)
    tips = started.run("[...document.querySelectorAll('.tokens span')].map((token) => token.title)")
    means = (
        surface.table()
        .filter(pl.col("layer").is_in([12, 14]))
        .group_by("id", "answer_position")
        .agg(pl.col("activity").mean())
        .sort("id", "answer_position")["activity"]
    )
    assert len(tips) == len(means)
    for tip, mean in zip(tips, means, strict=True):
        assert abs(numbers(tip.partition("activity ")[2])[0] - mean) <= 5.01e-3, tip


def test_a_surface_without_a_band_is_read_right_too(report_page: Browser, data: ReportData) -> None:
    for index in range(2):
        _, labels = pointed(report_page, f"activity-{index}")
        check_cells(labels, data.surfaces[0], index, least=10)


def test_layer_and_head_maps_show_the_association(report_page: Browser, data: ReportData) -> None:
    for statistic in ("pearson", "spearman", "auc"):
        title, labels = pointed(report_page, f"map-{statistic}-1")
        dataset, metric = title.split(": ")
        rows = {
            (row["layer"], row["head"]): row[statistic]
            for row in data.table("association").filter(dataset=dataset, metric=metric).iter_rows(named=True)
        }
        assert len(labels) > 40
        for label in labels:
            layer, head = numbers(label.said[0])
            assert same(number(label.said[1]), rows[int(layer), int(head)]), label


def test_curves_show_points_of_their_table(report_page: Browser, data: ReportData) -> None:
    rates = ["false_positive_rate", "true_positive_rate"]
    for picture, table in (("roc-single-metrics-2", "roc_points"), ("roc-forest-2", "forest_points")):
        title, labels = pointed(report_page, picture)
        assert len(labels) > 10
        for label in labels:
            name = label.name.partition(":")[0]
            frame = data.table(table).filter(dataset=title)
            if table == "roc_points":
                metric, level = name.split(", ")
                frame = frame.filter(metric=metric, level=level)
            else:
                frame = frame.filter(protocol=_PROTOCOLS[name])
            distance = (frame.select(rates).to_numpy() - np.array(numbers(label.said[0])[:2])).__abs__().max(axis=1)
            assert distance.min() <= 5.01e-4, label
    _, labels = pointed(report_page, "reliability-0")
    frame = data.table("reliability").filter(dataset="alpaca")
    for label in labels:
        own = frame.filter(detector=label.name).select("mean_probability", "observed").to_numpy()
        assert np.abs(own - np.array(numbers(label.said[0])[:2])).max(axis=1).min() <= 5.01e-4, label


def test_a_direction_shows_its_auc_and_interval_per_layer(report_page: Browser, data: ReportData) -> None:
    assert data.direction is not None
    rows = {row["layer"]: row for row in data.direction.filter(measure="score").iter_rows(named=True)}
    _, labels = pointed(report_page, "direction-by-layer-0")
    with_interval = [numbers(label.said[0]) for label in labels if "[" in label.said[0]]
    assert len(with_interval) > 3
    for layer, auc, *ends in with_interval:
        expected = rows[int(layer)]
        assert same(auc, expected["auc"]) or same(auc, expected["auc_within_topics"])
        if same(auc, expected["auc"]):
            assert [same(*pair) for pair in zip(ends, (expected["auc_lower"], expected["auc_upper"]), strict=True)]


def check_estimates(labels: set[Label], rows: Sequence[dict[str, Any]], value: str, second: str | None = None) -> None:
    """Compare the labels of estimates with rows that have a `label`."""
    assert len(labels) >= len(rows)
    for label in labels:
        found, shown = [row for row in rows if row["label"] == label.said[0]], numbers(label.said[1])
        assert len(found) == 1, label
        names = (value, f"{value}_lower", f"{value}_upper") if len(shown) == 3 else (second or value,)
        for number_shown, name in zip(shown, names, strict=True):
            assert same(number_shown, found[0][name]), label


def test_estimates_show_their_interval(report_page: Browser, data: ReportData) -> None:
    for picture, table, value, second in (
        ("detectors-0", "detectors", "auc", "auc_within_strata"),
        ("increments-2", "detectors", "increment", None),
        ("transfer-1", "transfer", "auc", None),
        ("thresholds-0", "thresholds", "heldout_value", "train_value"),
    ):
        title, labels = pointed(report_page, picture)
        frame = data.table(table).filter(dataset=title.removeprefix("evaluated on "))
        rows = frame.to_dicts()
        for row in rows:
            if table == "detectors":
                row["label"] = row["detector"]
            elif table == "transfer":
                row["label"] = f"{row['detector']}, fitted on {row['train']}"
            else:
                row["label"] = f"{row['metric']}, {row['objective']} (> {row['threshold']:.3g})"
                row["heldout_value_lower"], row["heldout_value_upper"] = row["lower"], row["upper"]
        if value == "increment":
            rows = [row for row in rows if row["increment"] is not None]
        check_estimates(labels, rows, value, second)


def test_bars_show_metric_importance_and_interval(report_page: Browser, data: ReportData) -> None:
    for picture in ("importances-2", "importances-3"):
        title, labels = pointed(report_page, picture)
        dataset, kind = title.split(": ")
        seen = set()
        for label in labels:
            metric, _, rest = label.said[0].partition(": ")
            row = data.table("importances").row(
                by_predicate=(pl.col("dataset") == dataset)
                & (pl.col("kind") == kind)
                & (pl.col("metric") == metric)
                & (pl.col("protocol") == _PROTOCOLS[label.name]),
                named=True,
            )
            assert all(map(same, numbers(rest), (row["importance"], row["lower"], row["upper"]))), label
            seen.add((metric, label.name))
        assert len(seen) >= 6


def test_early_curves_show_tokens_auc_and_interval(report_page: Browser, signal_data: ReportData) -> None:
    early = signal_data.table("early").filter(dataset="questions")
    title, labels = pointed(report_page, "early-3")
    assert title == "answered correctly"
    assert len(labels) > 12
    for label in labels:
        where, _, rest = label.said[0].partition(": ")
        after, _, detector = where.partition(", ")
        own = early.filter(n_generated=0 if after == "before the first token" else int(after.split()[0]))
        signal = "all" if label.name == "all signals" else label.name
        row = own.filter(detector=detector) if detector else own.filter(signal=signal)
        expected = row.select("auc", "auc_lower", "auc_upper").row(0)
        assert all(map(same, numbers(rest), expected)), label


def test_layer_curves_show_the_layers(report_page: Browser, signal_data: ReportData) -> None:
    table = signal_data.table("hidden_layers").filter(dataset="false-claims")
    _, labels = pointed(report_page, "hidden-layers-4")
    assert {label.name for label in labels} >= {"last prompt token", "mean over answer", "last answer token"}
    for label in labels:
        layer, *expected = numbers(label.said[0])
        if label.name != "all baselines":
            row = table.filter(pool=label.name, layer=int(layer)).select("auc", "auc_lower", "auc_upper").row(0)
            assert all(map(same, expected, row)), label


def test_increments_show_what_the_verdicts_hold(report_page: Browser, signal_data: ReportData) -> None:
    _, labels = pointed(report_page, "families-increments-3")
    rows = signal_data.table("verdicts").filter(dataset="questions").to_dicts()
    rows = [{**row, "label": "all signals" if row["signal"] == "all" else row["signal"]} for row in rows]
    check_estimates(labels, rows, "increment")


def test_every_number_of_the_first_screen_is_in_a_table(report_page: Browser, signal_data: ReportData) -> None:
    """The cells of the table behaviour x signal, read from the page."""
    cells = report_page.run(_MATRIX)
    verdicts, first_tokens = signal_data.table("verdicts"), signal_data.table("told_by")
    assert len(cells) == 30
    for dataset, signal, area, gain, after in cells:
        name = "all" if signal == "all signals" else signal
        row = verdicts.filter(dataset=dataset, signal=name).row(0, named=True)
        expected = [row[name] for name in ("auc", "increment", "increment_lower", "increment_upper")]
        rounded = [float(f"{one:.2f}") for one in expected if one is not None]
        assert numbers(f"{area} {gain}") == rounded
        first = first_tokens.filter(dataset=dataset, signal=name).item(0, "n_generated")
        assert numbers(after) == ([] if first is None else [first])


def test_nothing_was_said_on_the_console(report_page: Browser) -> None:
    assert report_page.console == []
    assert json.loads(report_page.run("JSON.stringify(document.documentElement.dataset.drawn)")) == "yes"
