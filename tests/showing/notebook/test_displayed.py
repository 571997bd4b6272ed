"""Everything public shows itself, briefly, and text that tries to act is text."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import foretell
from foretell.conversations.conversation import Conversation, Message
from foretell.display import Facts
from foretell.showing.notebook.displayed import as_html, as_text
from foretell.showing.untrusted import visible
from foretell.storage.surfaces import Surface
from tests.showing.notebook.objects import (
    every_object,
    made_capture,
    made_model,
    made_monitor,
    made_study,
    made_surface,
)

KINDS = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "img"}
ATTRIBUTES = {"style", "class", "scope", "alt", "src"}
ATTACKS = (
    "<script>document.title='hit'</script>",
    "</td></table></div><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "<b>bold</b> &lt;i&gt;",
    "$\\frac{1}{0}$ \\(x\\)",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202eevil\u2066",
    "\x00\x08\r\x7f\x9b",
    "\ud800 lone \udfff",
    "line\u2028two\u2029three\n\tfour",
    "\u200b\ufeff\u061c",
    "javascript:alert(1)",
    "x" * 100_000,
    "\ue000\U000f0000",
    "",
)


class Page(HTMLParser):
    """The tags, attributes and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_texts(n: int) -> list[str]:
    """Texts that try to act, alone and in random combinations."""
    chance = random.Random(7)
    joined = ["".join(chance.choices(ATTACKS[:-3] + ATTACKS[-2:-1], k=chance.randint(2, 4))) for _ in range(n)]
    return [*ATTACKS, *joined][:n]


def assert_is_text(html: str) -> Page:
    """Check that HTML has no parts but those of the tables, and nothing that acts or is elsewhere."""
    page = Page(html)
    assert set(page.tags) <= KINDS
    assert not page.open
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    for name, value in page.attributes:
        assert name != "src" or value.startswith("data:image/png;base64,")
        assert name != "style" or re.fullmatch(r"[a-z0-9:;,.%() -]*", value)
    assert visible(page.text, keep="\n\t") == page.text
    return page


def assert_is_short_text(text: str) -> None:
    """Check that a repr can be printed anywhere, and is a few lines."""
    assert visible(text, keep="\n") == text
    text.encode("utf-8")
    assert text.count("\n") <= 12
    assert len(text) < 3000


@pytest.mark.parametrize("text", ["".join(ATTACKS[:5]), *ATTACKS[5:]], ids=lambda text: ascii(text[:6]))
def test_every_object_shows_hostile_text_as_text(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="captures and models need torch")
    monkeypatch.setattr(Surface, "_picture", lambda _surface: None)  # it is drawn below
    for name, shown in every_object(text, tmp_path / "run").items():
        assert_is_short_text(repr(shown))
        assert_is_short_text(str(shown))
        page = assert_is_text(shown._repr_html_())
        assert name in page.text or name in {"Run"}
        assert len(shown._repr_html_()) < 300_000


def test_300_hostile_texts_are_text_in_both_forms() -> None:
    for text in hostile_texts(300):
        facts = Facts("Kind", text, [(text, text)] * 2, (text, "n"), [(text, 1.5), (text, None)], text)
        assert_is_short_text(as_text(facts))
        page = assert_is_text(as_html(facts, b"png"))
        assert visible(text[:500], keep="\n\t") in page.text
        conversation = Conversation(text, text, (Message("user", text),), text)
        assert_is_short_text(repr(conversation))
        assert_is_text(conversation._repr_html_())


def test_formulas_are_left_alone() -> None:
    """Notebooks typeset what is between dollar signs, except in elements of these classes."""
    assert 'class="tex2jax_ignore mathjax_ignore"' in as_html(Facts("Run", "$x$"))


def test_cells_say_what_they_are() -> None:
    rows = [(1234, 0.12345, None, True, "a"), (1, float("nan"), None, False, "b")]
    page = Page(as_html(Facts("Kind", "name", [("fact", "text")], ("n", "x", "none", "yes", "text"), rows)))
    for part in ("Kind", "name", "fact", "1,234", "0.123", "undefined", "yes", "no"):
        assert part in page.text
    assert as_text(Facts("Kind", "name", [("fact", "text")])) == "Kind name\n  fact: text"


def test_long_tables_are_cut_and_say_so() -> None:
    page = Page(as_html(Facts("Kind", "", (), ("n",), [(index,) for index in range(1000)])))
    assert page.tags.count("tr") == 31
    assert "and 970 more rows" in page.text


def test_a_study_that_is_not_computed_says_so_and_computes_nothing() -> None:
    study = made_study("flan")
    for text in (repr(study), study._repr_html_()):
        assert "not computed yet" in text
    assert not {"verdicts", "forests", "judged", "association"} & set(vars(study))
    assert "24, base rate 0.50" in repr(study)
    study.compute(progress=False)
    assert "not computed" not in repr(study)
    assert "no signal found" in study._repr_html_()


def test_a_run_shows_its_data_sets_and_reads_no_large_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.stats.runs import planted_run

    run = planted_run(tmp_path / "run", n_samples=12)

    def refuse(self: object) -> None:
        raise AssertionError("a large table was read")

    for name in ("attention", "tokens", "activity", "checkpoints"):
        monkeypatch.setattr(foretell.Run, name, property(refuse))
    shown = foretell.open_run(run.path)
    assert repr(shown).splitlines()[0] == f"Run {run.path}"
    assert "state: finished" in repr(shown)
    page = Page(shown._repr_html_())
    assert "made" in page.text
    assert "12" in page.text
    (run.path / "manifest.json").write_text("{}")
    assert "cannot be read" in repr(shown)
    assert "cannot be read" in shown._repr_html_()


def test_what_cannot_be_said_of_a_model_is_left_out() -> None:
    pytest.importorskip("torch")
    assert "parameters: 12" in repr(made_model("odd"))
    assert "blocks" not in repr(made_model("odd"))
    assert "fed: 0 tokens of 2 samples" in repr(made_capture())


def test_a_real_model_and_a_real_capture_say_their_sizes() -> None:
    torch = pytest.importorskip("torch")
    from tests.reading.tiny import tiny_model

    model = tiny_model("llama")
    assert f"blocks: {model.n_layers} of width {model.width}, {model.n_heads} heads each" in repr(model)
    segments = np.array([[3, 2, 2, 4, 4]])
    with foretell.listen(model.model, segments) as capture:
        model.model(torch.arange(5)[None])
        assert "block: open" in repr(capture)
    assert "fed: 5 tokens of 1 samples" in repr(capture)
    assert "block: left" in capture._repr_html_() or "left" in Page(capture._repr_html_()).text


def test_a_monitor_says_what_it_guarantees_or_why_it_gives_no_alarm() -> None:
    assert "false alarms: at most 10.00% of new groups, confidence 0.9" in repr(made_monitor("polite"))
    assert "alarm: too few" in repr(made_monitor("too few", threshold=False))


def test_a_surface_shows_its_picture_where_it_can_be_drawn() -> None:
    surface = made_surface("".join(ATTACKS[:12]))
    page = assert_is_text(surface._repr_html_())
    assert dict(page.attributes)["src"].startswith("data:image/png;base64,")
    empty = replace(surface, answers=())
    assert "img" not in Page(empty._repr_html_()).tags
    assert "answers: none" in repr(empty)


@pytest.mark.parametrize("name", ["Conversation", "Message", "Span", "ContrastPair", "Workers", "Scored"])
def test_records_are_one_line(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    shown: Any = every_object("a\nb", tmp_path / "run")[name]
    assert repr(shown).startswith(f"{name}(")
    assert "\n" not in repr(shown)


def test_long_lists_of_records_are_short() -> None:
    frame = pl.DataFrame({"id": [str(index) for index in range(1000)], "prompt": "x" * 500})
    records = foretell.read_conversations(frame)
    assert len(repr(records)) < 3000
    assert repr(records).endswith("... and 995 more]")
    assert "1,000 records" in records._repr_html_()
