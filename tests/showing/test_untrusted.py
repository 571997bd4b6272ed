"""Text that tries to act is made visible and inert."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretell.showing.untrusted import plotly_text, script_json, shortened, token_label, visible, wrapped


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[2J", "␛[2J"),
        ("a\u202eb\u2066c", "a⟨U+202E⟩b⟨U+2066⟩c"),
        ("\u200b\ufeff", "⟨U+200B⟩⟨U+FEFF⟩"),
        ("line\u2028end", "line⟨U+2028⟩end"),
        ("\x00\x7f\x9b", "␀␡⟨U+009B⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("naïve 東京 🙂", "naïve 東京 🙂"),
    ],
)
def test_visible_replaces_what_acts_and_keeps_what_reads(text: str, seen: str) -> None:
    assert visible(text) == seen


@given(st.text())
def test_nothing_unseen_is_left(text: str) -> None:
    result = visible(text)
    assert visible(result) == result
    assert "\x1b" not in result
    assert not set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\n\r") & set(result)


def test_token_labels_are_never_empty_and_never_long() -> None:
    assert token_label("\n") == "↵"
    assert token_label("   ") == "␣"
    assert len(token_label("x" * 500, length=14)) == 14
    assert token_label("\u202e") == "⟨U+202E⟩"


@given(st.text(max_size=80), st.integers(4, 20))
def test_wrapping_holds_its_limits(text: str, width: int) -> None:
    lines = wrapped(text, width=width, lines=3)
    assert len(lines) <= 3
    assert all(len(line) <= width for line in lines)
    assert len(shortened(text, width)) <= width


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=6))
def test_script_json_keeps_the_value_and_cannot_end_its_element(value: object) -> None:
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_script_json_refuses_what_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        script_json(float("nan"))


def test_plotly_markup_is_switched_off() -> None:
    assert plotly_text('<a href="http://x">&lt;') == '&lt;a href="http://x"&gt;&amp;lt;'
