"""Looking words up, on short answers whose right number is worked out by hand."""

import pytest

from foretell.labels.keywords import occurrences


@pytest.mark.parametrize(
    ("answer", "phrase", "expected"),
    [
        ("The _river_ bends", "river", 1),
        ("__river__, **river** and `river`", "river", 3),
        ("river_bank and my_river", "river", 0),
        ("snake_case", "snake_case", 1),
        ("❤️river", "river", 1),
        ("C++ and C++11, not C", "C++", 2),
        ("C++ and C# are not it", "C", 0),
        ("Vitamin C.", "C", 1),
        ("C", "C++", 0),
        ("I use .NET", ".NET", 1),
        ("internet", ".NET", 0),
        ("河流很长，河水很清。", "河", 2),
        ("I love 東京タワー", "東京", 1),
        ("foo猫bar", "foo", 1),
        ("น้ำตกสูง", "น้ำตก", 1),
        ("고양이 한 마리", "고양이", 1),
        ("고양이들", "고양이", 0),
        ("кошки", "кошка", 0),
        ("Кошка.", "кошка", 1),
        ("नदी है", "नदी", 1),
        ("नदियाँ", "नदि", 0),
        ("x\u0301river", "river", 0),
        ("می‌خواهم", "خواهم", 0),
        ("STRASSE", "Straße", 1),
        ("don’t", "don't", 1),
        ("sub\u00adway", "subway", 1),
        ("ice-cream, ice  cream, ice\ncream", "ice cream", 3),
        ("well known", "well-known", 1),
        ("*ice* cream", "ice cream", 1),
        ("ice, cream", "ice cream", 0),
        ("war, awards, post-war, wars", "war", 2),
        ("go-go", "go", 2),
        ("B2 2B 2", "2", 1),
    ],
)
def test_keywords_are_found_at_the_borders_of_their_script(answer: str, phrase: str, expected: int) -> None:
    assert occurrences(answer, phrase) == expected
