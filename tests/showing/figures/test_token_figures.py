"""Coloured text: the same numbers and colours on paper and on the page, and hostile words do nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from foretell.errors import InputError
from foretell.showing.draw_matplotlib import to_matplotlib
from foretell.showing.draw_matplotlib.canvas import colour_map
from foretell.showing.figures.palette import COLOUR_SCALES, UNDEFINED_COLOUR, ink_on, mixed
from foretell.showing.figures.token_figures import token_figure
from foretell.showing.page.coloured_text import coloured_tokens
from foretell.showing.report import save_surface
from foretell.storage.surfaces import AnswerActivity, Course, Surface
from tests.showing.parsed_page import parsed

TOKENS = ("E", "lon", " is", "\n", "</script><script>alert(1)</script>", "\u202e", "", " 你好")


@pytest.fixture
def surface(generator: np.random.Generator) -> Surface:
    activity = generator.normal(size=(4, len(TOKENS)))
    activity[1:3, 0], activity[1:3, 1] = 5.0, -5.0
    activity[2, 6] = np.nan
    short = AnswerActivity("true", "No.", ("No", "."), generator.normal(size=(4, 2)) * 0.1, None)
    answers = (AnswerActivity("false <b>", "".join(TOKENS), TOKENS, activity, -1.0), short)
    mean = tuple(tuple(np.nan_to_num(answer.activity[1:3].mean(axis=0)).tolist()) for answer in answers)
    ends = [tuple(tuple([end] * len(line)) for line in mean) for end in (-1.5, 1.5)]
    return Surface("Who?", "lying", "z", "tiny", (0, 1, 2, 3), answers, Course((1, 2), mean, ends[0], ends[1], 77))


def test_values_are_means_over_the_chosen_layers(surface: Surface) -> None:
    figure = token_figure(surface)
    for panel, answer in zip(figure.panels, surface.answers, strict=True):
        np.testing.assert_allclose(panel.values, answer.activity[1:3].mean(axis=0))
    assert np.isnan(figure.panels[0].values[6])
    assert figure.panels[0].outside[:2].tolist() == [True, True]
    assert not figure.panels[1].outside.any()
    assert (figure.z_limit, figure.extend) == (2.0, "both")
    assert "mean over layers 1, 2" in figure.words.caption
    assert "2 of 10 tokens are beyond ±2" in figure.words.caption
    assert "1 tokens have no activity" in figure.words.caption
    assert "Underlined" in figure.words.caption
    one = token_figure(surface, layers=(3,))
    np.testing.assert_allclose(one.panels[0].values, surface.answers[0].activity[3])
    assert one.panels[0].null_lower is None
    assert "Underlined" not in one.words.caption
    assert "layer 3 of" in one.words.caption
    for layers in ((), (9,)):
        with pytest.raises(InputError, match="layers 0 to 3"):
            token_figure(surface, layers=layers)
    with pytest.raises(InputError, match="no answer"):
        token_figure(replace(surface, answers=()))


def test_paper_and_page_have_the_colours_of_the_surface(surface: Surface) -> None:
    figure = token_figure(surface, scale="colour-blind-safe")
    map_ = colour_map("x", COLOUR_SCALES["colour-blind-safe"])
    on_page = [coloured_tokens(figure, panel) for panel in figure.panels]
    patches = [p for p in to_matplotlib.draw(figure).axes[0].patches if isinstance(p, Rectangle)]
    on_paper = {to_hex(patch.get_facecolor()) for patch in patches}
    for panel, tokens in zip(figure.panels, on_page, strict=True):
        assert len(tokens) == len(panel.tokens)
        for value, token in zip(panel.values, tokens, strict=True):
            assert token.paper in on_paper
            if np.isnan(value):
                assert token.paper == UNDEFINED_COLOUR
                assert "undefined" in token.tooltip
                continue
            expected = np.array(map_(0.5 + np.clip(value, -2, 2) / 4)[:3]) * 255
            found = [int(token.paper[place : place + 2], 16) for place in (1, 3, 5)]
            np.testing.assert_allclose(found, expected, atol=3.0)


def test_text_is_legible_on_every_colour() -> None:
    def luminance(colour: str) -> float:
        channels = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for stops in COLOUR_SCALES.values():
        for place in np.linspace(0, 1, 101):
            paper = mixed(stops, float(place))
            high, low = sorted((luminance(paper), luminance(ink_on(paper))), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_page_shows_every_token_once_with_its_score_and_runs_none(surface: Surface, tmp_path: Path) -> None:
    html = save_surface(surface, tmp_path, progress=False).read_text(encoding="utf-8")
    page = parsed(html)
    assert [attributes.get("type") for attributes, _ in page.scripts] == [*["text/plain"] * 3, None]
    assert page.handlers == []
    block = html[html.index('id="figure-tokens"') :]
    attributes = r'(?: class="(outside)")? style="background:(#\w{6});color:(#\w{6})" title="([^"]*)"'
    spans = re.findall(rf"<span{attributes}>(.*?)</span>", block, re.DOTALL)
    assert len(spans) == len(TOKENS) + 2
    tooltips = [unescape(span[3]) for span in spans]
    assert tooltips[0].startswith("token 0: “E”, activity 5.00; random directions −1.50 to 1.50")
    text = [unescape(span[4]) for span in spans]
    assert text[: len(TOKENS)] == ["E", "lon", " is", "↵\n", TOKENS[4], "⟨U+202E⟩", "∅", " 你好"]
    assert [bool(span[0]) for span in spans[:3]] == [True, True, False]
    assert "\u202e" not in html
    assert "alert(1)</script>" not in html
    assert (tmp_path / "figures" / "tokens.svg").stat().st_size > 1000


def test_long_answers_break_into_lines_and_stay_on_the_paper(generator: np.random.Generator) -> None:
    for tokens in (
        tuple(f" word{index}" for index in range(120)),
        ("x" * 500, "你" * 90, "हिन्दी"),
        tuple("\x1b\n " * 40),
    ):
        answer = AnswerActivity("a", "x", tokens, generator.normal(size=(2, len(tokens))), None)
        figure = token_figure(Surface("Who?", "lying", "z", "tiny", (0, 1), (answer,)))
        canvas = to_matplotlib.draw(figure)
        patches = [patch for patch in canvas.axes[0].patches if isinstance(patch, Rectangle)]
        boxes = [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in patches]
        width, height = canvas.get_size_inches()
        assert min(box[0] for box in boxes) > 0
        assert max(box[2] for box in boxes) < width
        assert min(box[1] for box in boxes) > 0.5
        assert max(box[3] for box in boxes) < height
        canvas.draw_without_rendering()
        words = canvas.axes[0].texts[-len(patches) :]
        for text, patch in zip(words, patches, strict=True):
            drawn, box = text.get_window_extent(), patch.get_window_extent()
            assert drawn.x1 <= box.x1 + 1.5, text.get_text()
        boxes.sort()
        for one, other in pairwise(boxes):
            beside = other[0] >= one[2] - 1e-6
            assert beside or one[1] >= other[3] or other[1] >= one[3]
