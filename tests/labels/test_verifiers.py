"""Every verifier on hand-written answers, its invariants, and hostile input."""

import time
import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretell.errors import InputError
from foretell.labels.verifiers import VERIFIERS, Verdict, check_specification, register, sentences, verify, words

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"name": "max_words", "count": 3}, ["One two three", "It's well-known — yes!"], ["one two three four"]),
    ({"name": "min_words", "count": 3}, ["one two three", "a b c d"], ["one two", "— — — one"]),
    ({"name": "exact_words", "count": 2}, ["Don't panic!", "3.14 10:30"], ["one", "one two three"]),
    ({"name": "max_sentences", "count": 1}, ["Dr. Lee paid 3.50 euros.", "One"], ["One. Two."]),
    ({"name": "min_sentences", "count": 2}, ["One. Two.", "One?! Two"], ["One...", "e.g. this"]),
    ({"name": "exact_sentences", "count": 2}, ["One! Two?", "Title\n\nText."], ["One.", "One. Two. Three."]),
    ({"name": "includes", "words": ["river"]}, ["The River's bend", "a river-bank"], ["rivers", "driver"]),
    ({"name": "includes", "words": ["for example", "ice"]}, ["Ice, for  example."], ["example for ice", "for example"]),
    ({"name": "excludes", "words": ["river"]}, ["The rivers", "driver"], ["a RIVER."]),
    ({"name": "word_frequency", "word": "go", "count": 2}, ["Go, go, gone!", "go-go"], ["go gone", "gogo"]),
    ({"name": "avoids_letter", "letter": "e"}, ["A calm day", "É"], ["E", "hello"]),
    ({"name": "all_lower"}, ["no capitals, 3 times", "straße"], ["Hello", "123", "ǅ"]),
    ({"name": "all_upper"}, ["STOP 3 TIMES!", "ΑΒΓ"], ["STOP now", "123", "Stop"]),
    ({"name": "starts_with", "text": "Yes"}, ["yes, sure", '"Yes."', "**Yes** it is"], ["Yesterday", "Oh yes"]),
    ({"name": "starts_with", "text": "I am sorry"}, ["I  am\nsorry that"], ["I'm sorry"]),
    ({"name": "ends_with", "text": "the end"}, ["It was The End.", '"The end!"'], ["the end of it", "legend"]),
    ({"name": "ends_with", "text": "?"}, ["Why?", "“Why?”"], ["Why", "Why? Because."]),
    ({"name": "contains_numbers", "count": 2}, ["In 1969, 3 men", "10:30 and 7th"], ["one and 2", "3.14", "B2 C3"]),
    ({"name": "no_digits"}, ["three"], ["3", "٣"]),
    ({"name": "written_in", "script": "Greek"}, ["Καλημέρα σας, 12!"], ["Kalimera", "Καλη morning", "123"]),
    ({"name": "written_in", "script": "Cyrillic"}, ["Привет"], ["Hello"]),
    ({"name": "no_commas"}, ["Rain and wind."], ["a, b", "雨，风"]),
    ({"name": "bullet_points", "count": 2}, ["Buy:\n- milk\n- bread", "1. a\n 2) b", "• a\n* b"], ["- a", "-a\n-b"]),
    ({"name": "paragraphs", "count": 2}, ["One.\n\nTwo.", "\nOne\nmore\n \nTwo\n\n"], ["One.\nTwo."]),
    ({"name": "json_value"}, ["[1]", '```json\n{"a": 1}\n```', "3"], ["[1,]", "NaN", "a"]),
    (
        {"name": "json_object", "keys": ["a"]},
        ['{"a": 1, "b": 2}', '```\n{"a": null}\n```'],
        ["[1]", '{"b": 1}', "{a: 1}"],
    ),
    ({"name": "quoted"}, ['"Yes."', "“Yes.”", "«Oui»"], ["'Yes.'", '"Yes." he said', '""', '"']),
    ({"name": "title_in_brackets"}, ["[Rain]\nIt fell.", "**[Rain]**"], ["Rain", "[]\nx", "[Rain", "It\n[Rain]"]),
    ({"name": "title_in_brackets", "bracket": "<<"}, ["<<Rain>>\nIt fell."], ["<Rain>"]),
    (
        {"name": "answers_correctly", "accepted": ["Lima"], "others": ["Quito"]},
        ["Lima.", "It is LIMA, not Quito."],
        ["Quito.", "Quito, then Lima."],
    ),
    ({"name": "says_false", "accepted": ["Lima"], "others": ["Quito"]}, ["Quito."], ["It is Lima."]),
    (
        {"name": "all_of", "checks": [{"name": "no_commas"}, {"name": "max_words", "count": 2}]},
        ["two words"],
        ["now three words", "a, b"],
    ),
]


def test_every_verifier_has_hand_written_answers() -> None:
    own = {name for name, verifier in VERIFIERS.items() if verifier.__module__.startswith("foretell.")}
    assert {specification["name"] for specification, _, _ in CASES} == own - {"without_label"}


@pytest.mark.parametrize(("specification", "followed", "violated"), CASES, ids=lambda case: str(case)[:40])
def test_hand_written_answers(specification: dict[str, Any], followed: list[str], violated: list[str]) -> None:
    for answer in followed:
        assert verify(answer, specification).followed is True, answer
    for answer in violated:
        verdict = verify(answer, specification)
        assert verdict.followed is False, answer
        assert verdict.reason


@pytest.mark.parametrize(("specification", "followed", "violated"), CASES, ids=lambda case: str(case)[:40])
def test_an_empty_answer_is_neither_followed_nor_violated(
    specification: dict[str, Any], followed: list[str], violated: list[str]
) -> None:
    assert followed
    assert violated
    assert verify(" \n\t", specification) == Verdict(None, "the answer is empty")
    assert verify(None, specification) == Verdict(None, "there is no answer")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Lee paid 3.50 euros... then left. Why? No one knows", 3),
        ("J. S. Bach wrote it. So did I. We agree.", 3),
        ("It cost 3 p.m. tickets, etc. and more.", 1),
        ("He came at 3 p.m. She left.", 2),
        ("Wait... what?! Really?!", 2),
        ("He said “Stop.” Then he left.", 2),
        ("1. First step.\n2. Second step.", 2),
        ("1. Fine.", 1),
        ("- milk\n- bread", 2),
        ("A line\nthat goes on.", 1),
        ("雨が降る。風が吹く。", 2),
        ("...", 0),
        ("www.example.org is a page.", 1),
    ],
)
def test_sentences_follow_the_stated_rule(text: str, expected: int) -> None:
    assert len(sentences(text)) == expected, sentences(text)


@given(st.text(max_size=200))
def test_words_are_made_of_the_text_and_survive_joining(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found
    assert words(text.replace("\n", "  ")) == found
    composed = unicodedata.normalize("NFC", text)
    assert all(
        word in composed and any(c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M" for c in word)
        for word in found
    )


@given(st.text(max_size=200))
def test_sentences_lose_no_letter(text: str) -> None:
    letters = [c for c in text if c.isalnum()]
    assert [c for sentence in sentences(text) for c in sentence if c.isalnum()] == letters


@given(st.text(min_size=1, max_size=80), st.integers(0, 20))
def test_limits_agree_with_each_other(text: str, count: int) -> None:
    def followed(name: str) -> bool | None:
        return verify(text, {"name": name, "count": count}).followed

    for unit in ("words", "sentences"):
        both = [followed(f"max_{unit}"), followed(f"min_{unit}")]
        assert followed(f"exact_{unit}") == (None if None in both else all(both))


@given(st.text(max_size=80), st.sampled_from(["river", "for example", "naïve"]))
def test_includes_and_excludes_are_opposites_and_ignore_case_and_composition(text: str, word: str) -> None:
    answer = f"{text} ... {unicodedata.normalize('NFD', word.upper())} ..."
    assert verify(answer, {"name": "includes", "words": [word]}).followed is True
    for candidate in (answer, f"x{text}"):
        includes = verify(candidate, {"name": "includes", "words": [word]}).followed
        assert includes is not verify(candidate, {"name": "excludes", "words": [word]}).followed


@given(st.text(max_size=80))
def test_changing_case_obeys_the_case_verifiers(text: str) -> None:
    answer = f"a{text}"
    if all(c.lower() == c or not c.istitle() for c in answer):
        lowered = "".join(c for c in answer.lower() if not c.isupper() and not c.istitle())
        assert verify(lowered, {"name": "all_lower"}).followed is True


HOSTILE = (".", "a. ", "- ", "[", "'", "1.", "\n")


@pytest.mark.parametrize("specification", [case[0] for case in CASES], ids=str)
def test_hostile_answers_are_judged_the_same_twice(specification: dict[str, Any]) -> None:
    for unit in HOSTILE:
        answer = f"x{unit * 4000}"
        assert verify(answer, specification) == verify(answer, specification)


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_the_length_and_not_with_its_square(unit: str) -> None:
    started = time.perf_counter()
    text = unit * (100_000 // len(unit))
    assert len(words(text)) + len(sentences(text)) <= len(text)
    assert time.perf_counter() - started < 15  # a square would take minutes


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({}, "name is missing"),
        ({"name": 3}, "name is missing"),
        ({"name": "max_word", "count": 3}, "did you mean max_words"),
        ({"name": "zzzz"}, "known are all_lower"),
        ({"name": "max_words"}, "argument: 'count'"),
        ({"name": "max_words", "count": 3, "more": 1}, "unexpected keyword argument 'more'; it takes count"),
        ({"name": "max_words", "count": "3"}, "whole number"),
        ({"name": "max_words", "count": True}, "whole number"),
        ({"name": "max_words", "count": -1}, "whole number"),
        ({"name": "includes", "words": "river"}, "list of texts"),
        ({"name": "includes", "words": [""]}, "list of texts"),
        ({"name": "starts_with", "text": ""}, "not empty"),
        ({"name": "all_of", "checks": []}, "one or more"),
        ({"name": "all_of", "checks": [{"name": "max_words"}]}, "missing a required"),
    ],
)
def test_a_wrong_specification_says_what_is_wrong(specification: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_specification(specification)
    assert message in str(caught.value)
    with pytest.raises(InputError):
        verify("", specification)


def test_a_word_without_letters_cannot_be_looked_for() -> None:
    with pytest.raises(InputError, match="holds no word"):
        verify("Hello", {"name": "includes", "words": ["!"]})


def test_all_of_is_undecided_only_where_nothing_is_violated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERIFIERS, "undecided", lambda answer: Verdict(None, "cannot say"))
    commas, unsure = {"name": "no_commas"}, {"name": "undecided"}
    assert verify("a b", {"name": "all_of", "checks": [commas, unsure]}).followed is None
    assert verify("a, b", {"name": "all_of", "checks": [commas, unsure]}).followed is False


def test_a_verifier_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretell.labels.registry.VERIFIERS", dict(VERIFIERS))

    @register
    def rhymes_with(answer: str, *, ending: str) -> Verdict:
        return Verdict(answer.endswith(ending), f"ends {answer[-5:]!r}")

    assert verify("a cat", {"name": "rhymes_with", "ending": "at"}).followed is True
    assert register(rhymes_with) is rhymes_with

    def max_words(answer: str) -> Verdict:
        return Verdict(True, answer)

    with pytest.raises(InputError, match="registered already"):
        register(max_words)

    def unusable(answer: str, name: str) -> Verdict:
        return Verdict(True, answer + name)

    with pytest.raises(InputError, match='cannot be called "name"'):
        register(unusable)
