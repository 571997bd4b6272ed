"""Verifiers of format, on short answers judged by hand."""

import time

import pytest

from foretell.labels.verifiers import verify


def _count(answer: str, name: str) -> int:
    return next(count for count in range(99) if verify(answer, {"name": name, "count": count}).followed)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("One.\n\n***\n\nTwo.", 2),
        ("One.\n***\nTwo.", 2),
        ("One.\n\n---\n\nTwo.\n\n* * *\n\nThree.", 3),
        ("One.\n\n______\n\nTwo.", 2),
        ("***\n\nOne.\n\n***", 1),
        ("One.\n\n⁂\n\nTwo.", 2),
        ("One.\n\n...\n\nTwo.", 3),  # three full stops are what somebody wrote, not a rule
        ("One.\n \t\n\n\nTwo.", 2),
        ("One.\r\n\r\nTwo.", 2),
        ("Try:\n\n```\na = 1\n\nb = 2\n```\n\nDone.", 3),
        ("# Title\n\nText.", 2),
        ("- a\n- b\n\nText.", 2),
        ("**One.**\n\n*Two.*", 2),
    ],
)
def test_paragraphs_are_between_blank_lines_and_rules(answer: str, expected: int) -> None:
    assert _count(answer, "paragraphs") == expected


@pytest.mark.parametrize(
    ("answer", "count", "followed"),
    [
        ("One.\n\n***\n\nTwo.", 2, True),
        ("One.\n\nStill one.\n***\nTwo.", 2, True),
        ("One. *** Two.", 2, True),
        ("***\nOne.\n***", 1, True),
        ("One.\n***\n\n***\nTwo.", 2, False),  # two dividers in a row
        ("One.\n\nTwo.", 2, False),
    ],
)
def test_paragraphs_between_asterisks_are_those_of_ifeval(answer: str, count: int, followed: bool) -> None:
    specification = {"name": "paragraphs", "count": count, "divider": "***"}
    assert verify(answer, specification).followed is followed


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("**1. Rain**\n**2. Wind**", 2),
        ("**1.** Rain\n__2)__ Wind", 2),
        ("(1) Rain\n(2) Wind", 2),
        ("(a) Rain\n(b) Wind", 2),
        ("a) Rain\nb) Wind", 2),
        ("i) Rain\nii) Wind\niv) Sun", 3),
        ("I. Rain\nII. Wind\nIII. Sun", 3),
        ("A. Rain\nB. Wind", 2),
        ("A. Smith left.\nIt rained.", 0),
        ("● Rain\n●Wind\n▪ Sun\n・雪", 4),
        ("1、雨\n2、风\n三、雪", 3),
        ("（1）雨\n１．风\n2）雪", 3),
        ("① Rain\n2️⃣ Wind", 2),
        ("+ Rain\n– Wind\n- [ ] Sun", 3),
        ("- Rain\n  - Drizzle\n    1. Mist", 3),
        ("٣. مطر", 1),
        ("***\n---\n- - -\n* * *\n___", 0),
        ("- Rain\n\n***\n\n- Wind", 2),
        ("```\n- Rain\n1. Wind\n```\n- Sun", 1),
        ("~~~md\n* Rain\n~~~", 0),
        ("````\n```\n- Rain\n````\n- Sun", 1),
        ("Try ```x``` here\n- Sun", 1),
        ("**Rain** fell\n*Wind* blew", 0),
        ("-5 degrees\n1.5 litres\n2024 was wet", 0),
        ("- \n*\n1.", 0),
        ("(see above)\n(I think) so", 0),
    ],
)
def test_list_items_are_what_a_reader_takes_for_one(answer: str, expected: int) -> None:
    assert _count(answer, "bullet_points") == expected


@pytest.mark.parametrize(
    ("answer", "followed"),
    [
        ("~~~json\n[1]\n~~~", True),
        ("````\n[1]\n````", True),
        ("```python\n[1]\n```", True),
        ("``` json\n[1]\n```", True),
        ("```JSON\n[1]```", True),
        ("```json [1]```", True),
        ("```json\n[1]", True),  # a fence that is not closed ends with the text
        ('```\n"```"\n```', True),
        ("9" * 5000, True),
        ("Here:\n```json\n[1]\n```", False),
        ("```json\n[1]\n```\nDone.", False),
        ("```json\n[1]\n```\n```json\n[2]\n```", False),
        ("[1]\n```", False),
        ("```\n```", False),
        ("[NaN]", False),
    ],
)
def test_json_is_read_in_any_fence(answer: str, followed: bool) -> None:
    assert verify(answer, {"name": "json_value"}).followed is followed


@pytest.mark.parametrize(
    ("answer", "specification", "followed"),
    [
        ("a፣ b", {"name": "no_commas"}, False),
        ("a﹐b", {"name": "no_commas"}, False),
        ("“Yes.” he said. “No.”", {"name": "quoted"}, False),
        ("„Ja.“", {"name": "quoted"}, True),
        ("「はい」", {"name": "quoted"}, True),
        ("__[Rain]__", {"name": "title_in_brackets"}, True),
        ("【雨】\nText", {"name": "title_in_brackets", "bracket": "【"}, True),
    ],
)
def test_commas_quotes_and_titles_of_every_script(
    answer: str, specification: dict[str, object], followed: bool
) -> None:
    assert verify(answer, specification).followed is followed


@pytest.mark.parametrize(
    "unit", ["```", "` ", "~~~\n", "_", "_a", '"a." ', "a.[1]", "[1", "猫。“", "C+", "a-", "((", "\u0301"]
)
def test_hostile_answers_take_no_square_of_time(unit: str) -> None:
    started = time.perf_counter()
    answer = unit * (60_000 // len(unit))
    for specification in (
        {"name": "json_value"},
        {"name": "bullet_points", "count": 1},
        {"name": "paragraphs", "count": 1},
        {"name": "includes", "words": ["a a", "C++", "_a"]},
        {"name": "exact_sentences", "count": 1},
        {"name": "exact_words", "count": 1},
    ):
        assert verify(answer, specification).followed in {True, False, None}
    assert time.perf_counter() - started < 15  # a square would take minutes
