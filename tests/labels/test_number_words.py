"""Numbers in words become the digits that Python writes, and nothing else changes."""

import pytest

from foretell.labels.number_words import number_of, with_digits

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def _in_words(number: int) -> str:
    """Spell a number, by the grammar of English rather than by the table that is tested."""
    ones = [*ONES.split(), "eighteen", "nineteen"]
    if number < len(ones):
        return ones[number]
    if number < 100:
        ten, one = divmod(number, 10)
        return TENS.split()[ten - 2] + (f"-{ones[one]}" if one else "")
    scale, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    high, low = divmod(number, scale)
    joined = "" if not low else " and " + _in_words(low) if low < 100 else " " + _in_words(low)
    return f"{_in_words(high)} {name}{joined}"


@pytest.mark.parametrize("number", [0, *range(2, 100), 100, 101, 180, 206, 360, 999, 1000, 1066, 1914, 5280, 12_345])
def test_numbers_in_words_are_read_in_every_usual_form(number: int) -> None:
    words = _in_words(number)
    for form in (
        words,
        words.replace("-", " "),
        words.replace(" and ", " "),
        words.upper(),
        f"{number:,}",
        f"{number}.0",
    ):
        assert number_of(form) == number, form


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("There are a hundred, or a thousand.", "There are 100, or 1000."),
        ("one of them, someone, a tenth, often", "one of them, someone, a tenth, often"),
        ("3.14 and 2.50, in 1066, 1,492 or 1,49", "3.14 and 2.50, in 1066, 1492 or 1,49"),
        ("two, three", "2, 3"),
        ("twenty-one one", "22"),
        ("the thirty-first", "the 30-first"),
    ],
)
def test_only_numbers_change(text: str, digits: str) -> None:
    assert with_digits(text) == digits


@pytest.mark.parametrize("text", ["", "Paris", "one", "7th", "1 2", "half", "٣"])
def test_what_is_no_number_has_no_value(text: str) -> None:
    assert number_of(text) is None
