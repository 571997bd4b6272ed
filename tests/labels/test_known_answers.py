"""What an answer says where the right answer is known, on answers as small models write them."""

from typing import Any

import pytest

from foretell.errors import InputError
from foretell.labels.verifiers import check_specification, verify

CAPITAL: dict[str, Any] = {
    "accepted": ["Bogotá"],
    "others": ["Quito", "Port of Spain", "Lima", "San José"],
    "asked": "What is the capital of Colombia?",
}
SYMBOL: dict[str, Any] = {"accepted": ["Na"], "others": ["S", "O", "Mg"], "asked": "What is the symbol for sodium?"}
YEAR: dict[str, Any] = {"accepted": ["1969"], "asked": "In which year did Apollo 11 land on the Moon?"}
SUM: dict[str, Any] = {"accepted": ["42"], "asked": "What is 38 plus 4?"}
AUTHOR: dict[str, Any] = {"accepted": ["C. S. Lewis"], "others": ["White", "King", "García Márquez"], "asked": "Who?"}

CASES: list[tuple[dict[str, Any], str, bool | None, bool | None]] = [
    # the question, the answer, whether it is correct, whether it says something false
    (CAPITAL, "The capital of Colombia is Bogotá.", True, False),
    (CAPITAL, "BOGOTA", True, False),
    (CAPITAL, "It's **Bogotá**, Colombia.", True, False),
    (CAPITAL, "The capital of Colombia is Quito.", False, True),
    (CAPITAL, "It is Port-of-Spain.", False, True),
    (CAPITAL, "Bogotá, not Quito.", True, False),
    (CAPITAL, "It isn't Quito but Bogotá.", True, False),
    (CAPITAL, "Not Bogotá.", False, None),
    (CAPITAL, "Bogotá or Quito.", True, None),
    (CAPITAL, "Quito, or Bogotá.", False, None),
    (CAPITAL, "Colombia is large. Its capital is Bogotá.", True, False),
    (CAPITAL, "It is Bogotá. Quito is in Ecuador.", True, False),
    (CAPITAL, "It is a city. It is large. It is Bogotá.", False, None),
    (CAPITAL, "The capital of Colombia is Medellín.", False, None),
    (CAPITAL, "The Bogotáns speak quito.", False, None),
    (CAPITAL, "Yes.", False, None),
    (CAPITAL, "I'm not sure what to say.", None, None),
    (CAPITAL, "As an AI, I cannot answer that.", None, None),
    (CAPITAL, "I'm sorry, I do not know whether it is Quito.", None, None),
    (CAPITAL, "Colombia is a country in the north of South America with", None, None),
    (CAPITAL, "Colombia is a country. It lies in the north of South America and", None, None),
    (SYMBOL, "The chemical symbol for sodium is Na.", True, False),
    (SYMBOL, "na, it's O.", False, True),
    (SYMBOL, "Sodium's symbol is NaCl.", False, None),
    (YEAR, "Apollo 11 landed on July 20, 1969.", True, False),
    (YEAR, "In nineteen sixty-nine.", False, None),
    (YEAR, "It was 1,969 years after.", True, False),
    (YEAR, "Apollo 11 landed in 1968, and came home in 1969.", False, None),
    (YEAR, "In the 1960s.", False, None),
    (YEAR, "Apollo 11 landed on the Moon during the year 196", None, None),
    (SUM, "38 + 4 = 42", True, False),
    (SUM, "Forty-two.", True, False),
    (SUM, "The answer is 42.0.", True, False),
    (SUM, "38 plus 4 is 41.", False, True),
    (SUM, "38 + 4 = -42", False, True),
    (SUM, "3842", False, True),
    (SUM, "To find 38 plus 4, we can use the formula for", None, None),
    (AUTHOR, "It was written by C.S. Lewis.", True, False),
    (AUTHOR, "Stephen King wrote it.", False, True),
    (AUTHOR, "A king wrote it, on white paper.", False, None),
    (AUTHOR, "Gabriel Garcia Marquez.", False, True),
]


@pytest.mark.parametrize(("question", "answer", "correct", "false"), CASES, ids=lambda case: str(case)[:40])
def test_answers_of_each_kind(question: dict[str, Any], answer: str, correct: bool | None, false: bool | None) -> None:
    for name, expected in (("answers_correctly", correct), ("says_false", false)):
        verdict = verify(answer, {"name": name, **question})
        assert verdict.followed is expected, (name, verdict)
        assert verdict.reason


def test_what_the_question_says_is_no_other_answer() -> None:
    of_washington = {"accepted": ["Olympia"], "others": ["Washington", "Austin"]}
    answer = "The capital of Washington is Olympia."
    assert verify(answer, {"name": "answers_correctly", **of_washington}).followed is False
    asked = {**of_washington, "asked": "What is the capital of Washington?"}
    assert verify(answer, {"name": "answers_correctly", **asked}).followed is True


def test_given_other_numbers_are_the_only_ones_that_count() -> None:
    claimed = {"name": "says_false", **SUM, "others": ["41"]}
    assert [verify(text, claimed).followed for text in ("It is 41.", "It is 42.", "It is 40.")] == [True, False, None]


def test_a_spelling_within_a_longer_one_is_not_named() -> None:
    question = {"name": "answers_correctly", "accepted": ["America"], "others": ["South America"]}
    assert verify("It lies in South America.", question).reason == "names South America"


def test_long_answers_and_many_spellings_take_no_time() -> None:
    question = {"name": "says_false", "accepted": ["Lima"], "others": [f"City {number}" for number in range(500)]}
    assert verify("Lima " * 3_000, question).followed is False


@pytest.mark.parametrize("name", ["answers_correctly", "says_false"])
@pytest.mark.parametrize(("accepted", "problem"), [([], "one or more"), (["!"], "no word"), ("Lima", "list of texts")])
def test_spellings_that_cannot_be_found_are_refused(name: str, accepted: Any, problem: str) -> None:
    with pytest.raises(InputError, match=rf'"{name}", argument "accepted".*{problem}'):
        check_specification({"name": name, "accepted": accepted})


def test_controls_have_a_reason_and_no_label() -> None:
    assert verify("Lima.", {"name": "without_label", "because": "nothing was claimed"}).followed is None
