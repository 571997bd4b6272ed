"""Every object draws its figures with both libraries, and names those it has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure as Canvas
from plotly.graph_objects import Figure as Picture

import foretell
from foretell.errors import InputError
from foretell.showing.figures.study_figures import study_figures
from foretell.showing.notebook import plots
from foretell.showing.notebook.notebook_canvas import NotebookCanvas
from foretell.showing.report_data import ReportData
from foretell.stats.study import Study
from tests.showing.conftest import make_signal_data
from tests.showing.notebook.objects import made_comparison, made_direction, made_monitor, made_study, made_surface
from tests.stats.runs import planted_run

PNG = b"\x89PNG"


def assert_drawn(figure: Any, library: str) -> None:
    if library == "plotly":
        assert isinstance(figure, Picture)
        assert len(figure.data)
    else:
        assert isinstance(figure, Canvas)
        assert isinstance(figure, NotebookCanvas)
        assert figure._repr_png_().startswith(PNG)


@pytest.fixture(scope="module")
def study() -> Study:
    return made_study("flan").compute(progress=False)


@pytest.mark.parametrize("library", ["matplotlib", "plotly"])
@pytest.mark.parametrize("name", [None, "overview", "heads", "roc", "importances", "detectors"])
def test_a_study_draws_its_figures(study: Study, name: str | None, library: str) -> None:
    assert_drawn(study.plot(name, library=library), library)


def test_every_figure_of_a_report_has_its_name_and_every_short_name_a_figure() -> None:
    data = make_signal_data()
    names = {figure.words.name for figure in study_figures(data)}
    assert set(plots._SHORT.values()) - {"direction-by-layer"} <= names
    assert {"early", "importances", "detectors", "reliability"} <= names


def test_an_unknown_figure_is_refused_with_those_there_are(study: Study) -> None:
    with pytest.raises(InputError, match=r"no figure 'x': choose among overview, heads, roc, forest, .*importances"):
        study.plot("x")
    with pytest.raises(InputError, match="no library 'ggplot': choose among matplotlib, plotly"):
        study.plot(library="ggplot")


def test_a_wrong_library_is_refused_before_anything_is_computed() -> None:
    fresh = made_study()
    with pytest.raises(InputError, match="no library"):
        fresh.plot(library="ggplot")
    assert "verdicts" not in vars(fresh)


@pytest.mark.parametrize("library", ["matplotlib", "plotly"])
@pytest.mark.parametrize(
    ("shown", "names"),
    [
        (made_surface(), ["surfaces", "flat"]),
        (made_direction(), ["spread", "turning"]),
        (made_monitor(), ["caught", "heads"]),
        (made_comparison(), ["differences", "attention", "head AUC"]),
    ],
    ids=["surface", "direction", "monitor", "comparison"],
)
def test_other_objects_draw_theirs(shown: Any, names: list[str], library: str) -> None:
    assert_drawn(shown.plot(library=library), library)
    if shown.__class__.__name__ == "Comparison":
        names = names[:1]  # both sides are the same, so heads have no difference that could be drawn
    for name in names:
        assert_drawn(shown.plot(name, library=library), library)
    with pytest.raises(InputError, match="choose among"):
        shown.plot("x", library=library)


def test_coloured_text_is_drawn_by_matplotlib_only() -> None:
    assert_drawn(made_surface().plot("tokens"), "matplotlib")
    with pytest.raises(InputError, match="coloured text"):
        made_surface().plot("tokens", library="plotly")
    with pytest.raises(InputError, match="has no course"):
        made_surface().plot("course")


@pytest.mark.parametrize("library", ["matplotlib", "plotly"])
@pytest.mark.parametrize("by", ["mean", "label"])
def test_a_run_draws_its_heads(by: str, library: str, tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", planted=("attention",), n_samples=40, hidden=False)
    assert_drawn(run.plot_heads("PAM_norm", by=by, library=library), library)
    with pytest.raises(InputError, match="there is no 'x': choose among SAM, PAM"):
        run.plot_heads("x")
    with pytest.raises(InputError, match="choose among mean, label"):
        run.plot_heads(by="x")


def test_the_map_of_heads_has_the_means_of_the_table(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", n_samples=30, hidden=False)
    heat = run.plot_heads("PAM", library="plotly").data[0]
    label = dict(run.samples.select("id", "behavior_label").iter_rows())
    values: dict[tuple[int, int], dict[int, list[float]]] = {}
    for row in run.attention.iter_rows(named=True):
        values.setdefault((row["layer"], row["head"]), {0: [], 1: []})[label[row["id"]]].append(row["PAM"])
    for (layer, head), by_label in values.items():
        assert heat.z[head][layer] == pytest.approx(np.mean(by_label[0] + by_label[1]), rel=1e-5)
    heat = run.plot_heads("PAM", by="label", library="plotly").data[0]
    for (layer, head), by_label in values.items():
        assert heat.z[head][layer] == pytest.approx(np.mean(by_label[1]) - np.mean(by_label[0]), rel=1e-4, abs=1e-6)


def test_a_run_without_labels_has_no_difference_between_them(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run", n_samples=12, hidden=False)
    none = run.samples.select(
        "id", *(pl.lit(None).alias(name) for name in ("behavior_label", "label_source", "label_reason"))
    )
    run.write_labels(none)
    with pytest.raises(InputError, match="no samples of both labels"):
        foretell.open_run(run.path).plot_heads(by="label")


def test_the_first_figure_of_a_study_is_that_of_the_first_screen(study: Study) -> None:
    from foretell.showing.notebook.object_figures import overview_figure

    figure = overview_figure(ReportData.from_study(study))
    for panel in figure.panels:
        rows = study.verdicts.filter(pl.col("dataset") == panel.title).to_dicts()
        known = {f"{row['signal']}: {row['verdict']}": row for row in rows if row["auc"] is not None}
        dots = {dot.label: dot for dot in panel.dots if dot.tone == 0}
        assert set(dots) == set(known)
        for label, dot in dots.items():
            assert (dot.estimate, dot.lower, dot.upper) == tuple(
                known[label][name] for name in ("auc", "auc_lower", "auc_upper")
            )


def strings(value: object) -> list[str]:
    """Every text in a value of JSON."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("library", ["matplotlib", "plotly"])
def test_hostile_texts_are_text_in_figures(library: str) -> None:
    attack = "<script>alert(1)</script> $x^2$ \x1b[31m \u202eevil </td>"
    for shown in (made_surface(attack), made_direction(attack), made_monitor(attack), made_comparison(attack)):
        drawn = shown.plot(library=library)
        if library == "matplotlib":
            assert drawn._repr_png_().startswith(PNG)
            continue
        for text in strings(json.loads(drawn.to_json())):
            assert not re.search(r"<(?!br>|/?extra>)", text)
            assert not set("\x1b\u202e$") & set(text)
