"""Which two answers are compared: given ones, those of the run, or those that the verifier knows."""

from __future__ import annotations

import pytest

from foretell.conversations.conversation import Conversation, Message
from foretell.errors import InputError
from foretell.interventions.answer_contrasts import Answer, AnswerContrast, answer_contrasts

CAPITAL = {"name": "answers_correctly", "accepted": ["Lima", "Ciudad de los Reyes"], "others": ["Quito", "Bogotá"]}


def conversation(name: str, text: str = "?", *, label: int | None = 1, **options: object) -> Conversation:
    return Conversation(name, "set", (Message("user", text),), behavior_label=label, **options)  # type: ignore[arg-type]


def test_what_is_given_comes_first() -> None:
    one = conversation("a", verifier=CAPITAL, answer="x")
    found = answer_contrasts([one], [one], {"a": ("yes", "no")})
    assert found == {"a": AnswerContrast(Answer("yes"), Answer("no"))}


def test_answers_of_both_labels_to_one_prompt_are_used_with_their_tokens() -> None:
    drawn = [
        conversation("a", "q", label=1, answer="good", answer_token_ids=(5, 6)),
        conversation("b", "q", label=0, answer="bad"),
        conversation("c", "q", label=0, answer="worse"),
        conversation("d", "other", label=1, answer="alone"),
        conversation("e", "none", label=1),
        conversation("f", "none", label=0, answer="bad"),
    ]
    found = answer_contrasts(drawn, drawn)
    assert set(found) == {"a", "b", "c"}
    assert found["a"] == AnswerContrast(Answer("good", (5, 6)), Answer("bad"))
    assert found["c"] == AnswerContrast(Answer("good", (5, 6)), Answer("worse"))


@pytest.mark.parametrize(
    ("verifier", "expected"),
    [
        (CAPITAL, ("Lima", "Quito")),
        ({**CAPITAL, "name": "says_false"}, ("Quito", "Lima")),
        ({**CAPITAL, "others": []}, None),
        ({"name": "answers_correctly", "accepted": ["42"]}, None),
        ({"name": "max_words", "count": 3}, None),
        (None, None),
    ],
)
def test_known_answers_have_the_labels_that_their_verifier_gives_them(
    verifier: dict[str, object] | None, expected: tuple[str, str] | None
) -> None:
    one = conversation("a", verifier=verifier, answer="It is Lima.")
    found = answer_contrasts([one], [one])
    assert found == ({} if expected is None else {"a": AnswerContrast(*map(Answer, expected))})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"b": ("x", "y")}, "there is no labelled conversation 'b' in the run"),
        ({"a": ("x", "")}, "'a' needs two texts"),
        ({"a": ("x", "y", "z")}, "'a' needs two texts"),
        ({"a": "xy"}, "'a' needs two texts"),
    ],
)
def test_wrong_answers_are_refused(given: dict[str, tuple[str, ...]], message: str) -> None:
    one = conversation("a")
    with pytest.raises(InputError, match=message):
        answer_contrasts([one], [one], given)
