"""Verifiers of words and letters in every script, on short answers judged by hand."""

import pytest

from foretell.labels.verifiers import verify


@pytest.mark.parametrize(
    ("answer", "specification", "followed"),
    [
        ("是的，当然。", {"name": "starts_with", "text": "是"}, True),
        ("_Yes_ indeed", {"name": "starts_with", "text": "yes"}, True),
        ("Yes_man", {"name": "starts_with", "text": "yes"}, False),
        ("他很高兴。", {"name": "ends_with", "text": "高兴"}, True),
        ("वह आई।", {"name": "ends_with", "text": "आई"}, True),
        ("Fluss", {"name": "avoids_letter", "letter": "ß"}, True),
        ("GROẞ", {"name": "avoids_letter", "letter": "ß"}, False),
        ("x\u0304 is a mean", {"name": "avoids_letter", "letter": "x"}, True),
        ("_7_ and 第3章", {"name": "contains_numbers", "count": 2}, True),
        ("日本語のカタカナー", {"name": "written_in", "script": "Katakana"}, False),
        ("人々", {"name": "written_in", "script": "Han"}, True),
        ("カー", {"name": "written_in", "script": "katakana"}, True),
        ("Ａｂｃ", {"name": "written_in", "script": "Latin"}, True),
        ("ລາວ", {"name": "written_in", "script": "Lao"}, True),
    ],
)
def test_letters_and_beginnings_of_every_script(answer: str, specification: dict[str, object], followed: bool) -> None:
    assert verify(answer, specification).followed is followed
