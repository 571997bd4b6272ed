"""Values of arguments that no verifier knows are refused before an answer is judged."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import pytest

from foretell.errors import InputError
from foretell.labels.forms import paragraphs, title_in_brackets
from foretell.labels.registry import VERIFIERS, Verdict, check_specification, register, verify
from foretell.labels.wording import avoids_letter, includes, written_in


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({"name": "written_in", "script": "Grek"}, "did you mean Greek"),
        ({"name": "written_in", "script": "L"}, "no script 'L'"),
        ({"name": "written_in", "script": "Japanese"}, "no script 'Japanese'"),
        ({"name": "written_in", "script": "SMALL"}, "no script"),
        ({"name": "title_in_brackets", "bracket": "|"}, "must be one of"),
        ({"name": "paragraphs", "count": 2, "divider": "lines"}, "must be one of 'blank line', '***'"),
        ({"name": "avoids_letter", "letter": "ab"}, "one letter"),
        ({"name": "includes", "words": []}, "one or more words"),
        ({"name": "excludes", "words": ["river", "!"]}, "holds no word"),
        ({"name": "word_frequency", "word": "_", "count": 1}, "holds no word"),
        ({"name": "all_of", "checks": [{"name": "written_in", "script": "Grek"}]}, 'argument "script"'),
    ],
)
def test_an_unknown_value_is_refused_and_never_judged(specification: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_specification(specification)
    assert message in str(caught.value)
    for answer in ("Hello", "", None):
        with pytest.raises(InputError):
            verify(answer, specification)


@pytest.mark.parametrize(
    "call",
    [
        partial(written_in, script="Grek"),
        partial(title_in_brackets, bracket="|"),
        partial(paragraphs, count=1, divider="lines"),
        partial(avoids_letter, letter="ab"),
        partial(includes, words=[]),
    ],
    ids=lambda call: call.func.__name__,
)
def test_a_verifier_called_directly_refuses_too(call: Callable[[str], Verdict]) -> None:
    with pytest.raises(InputError):
        call("Hello")


def test_an_argument_limited_by_its_type_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretell.labels.registry.VERIFIERS", dict(VERIFIERS))

    @register
    def rhymes(answer: str, *, scheme: Literal["aabb", "abab"], note: Annotated[str, "metadata"] = "-") -> Verdict:
        return Verdict(True, f"{answer} {scheme} {note}")

    assert verify("a", {"name": "rhymes", "scheme": "abab", "note": "x"}).followed is True
    with pytest.raises(InputError, match="must be one of 'aabb', 'abab', not 'abba'"):
        verify("a", {"name": "rhymes", "scheme": "abba"})
    with pytest.raises(InputError, match="not empty"):
        verify("a", {"name": "rhymes", "scheme": "abab", "note": ""})
