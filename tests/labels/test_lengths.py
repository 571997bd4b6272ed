"""Verdicts on counts that the script of the answer does not show."""

import pytest

from foretell.labels.text import sentence_bounds
from foretell.labels.verifiers import verify


@pytest.mark.parametrize(
    ("name", "count", "followed"),
    [
        ("max_words", 4, True),
        ("max_words", 3, None),
        ("max_words", 0, False),
        ("min_words", 1, True),
        ("min_words", 2, None),
        ("min_words", 5, False),
        ("exact_words", 2, None),
        ("exact_words", 5, False),
    ],
)
def test_a_count_that_the_script_does_not_show_is_undefined(name: str, count: int, followed: bool | None) -> None:
    verdict = verify("我喜欢猫", {"name": name, "count": count})
    assert verdict.followed is followed
    assert verdict.reason.startswith("1 to 4 words, ")
    assert ("does not show" in verdict.reason) is (followed is None)


def test_sentences_of_a_script_without_marks_have_bounds() -> None:
    assert sentence_bounds("ฝนตก ลมพัด") == (1, 2)
    assert sentence_bounds("ฝนตก") == (1, 1)
    assert verify("ฝนตก ลมพัด", {"name": "max_sentences", "count": 2}).followed is True
    assert verify("ฝนตก ลมพัด", {"name": "min_sentences", "count": 2}).followed is None
    assert verify("ฝนตก ลมพัด", {"name": "exact_sentences", "count": 3}).followed is False
