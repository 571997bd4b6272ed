"""Objects that show themselves: one line for records, a few for others, and nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from foretell.display import Displayed, DisplayedRecord, Facts, one_line


@dataclass(frozen=True, repr=False)
class Record(DisplayedRecord):
    """A record with defaults."""

    name: str
    size: int = 3
    places: tuple[int, ...] = ()
    secret: str = field(default="", repr=False)


class Shown(Displayed):
    """Says one thing."""

    def facts(self) -> Facts:
        return Facts("Shown", "it", [("fact", "text")])


def test_a_record_shows_what_is_not_the_default() -> None:
    assert repr(Record("a")) == "Record(name='a')"
    assert repr(Record("a", 4, (1, 2), "x")) == "Record(name='a', size=4, places=(1, 2))"
    assert list(Record("a", 4).facts().facts) == [("name", "a"), ("size", "4")]


def test_long_values_are_cut_in_the_middle() -> None:
    assert len(repr(Record("x" * 10**6, places=tuple(range(10**5))))) < 200


def test_an_object_shows_its_facts() -> None:
    assert repr(Shown()) == str(Shown()) == "Shown it\n  fact: text"
    assert "<strong>Shown</strong> it" in Shown()._repr_html_()


def test_what_says_nothing_is_an_error_of_the_class() -> None:
    with pytest.raises(NotImplementedError):
        repr(Displayed())


def test_values_that_are_no_text_are_escaped() -> None:
    assert one_line("K", [("a", "\x1b\u202e\ud800")]) == r"K(a='\x1b\u202e\ud800')"


def test_showing_a_record_imports_no_drawing_library() -> None:
    code = (
        "import sys, foretell; c = foretell.Conversation('a', 'd', (foretell.Message('user', 'hi'),))\n"
        "repr(c); c._repr_html_(); print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "plotly", "torch", "sklearn", "scipy"} & set(done.stdout.split())
