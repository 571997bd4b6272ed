"""The rules of the verifiers one by one, on short answers whose right value is worked out by hand."""

import time

import pytest

from foretell.errors import InputError
from foretell.labels.forms import paragraphs, title_in_brackets
from foretell.labels.keywords import occurrences
from foretell.labels.text import sentence_bounds, sentences, word_bounds, words
from foretell.labels.verifiers import check_specification, verify
from foretell.labels.wording import avoids_letter, includes, written_in


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
def test_paragraphs_stand_between_blank_lines_and_rules(answer: str, expected: int) -> None:
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_a_ ___ b", ["_a_", "b"]),
        ("I ❤️ you", ["I", "you"]),
        ("col·lega", ["col·lega"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("12,000.50 at 10:30", ["12,000.50", "at", "10:30"]),
        ("राम घर गया।", ["राम", "घर", "गया"]),
        ("고양이가 잔다", ["고양이가", "잔다"]),
        ("’tis the dogs’", ["tis", "the", "dogs"]),
    ],
)
def test_words_of_scripts_with_spaces(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert word_bounds(text) == (len(expected), len(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("猫", (1, 1)),
        ("我喜欢猫。", (1, 4)),
        ("The cat 猫 sleeps", (4, 4)),
        ("iPhone手机", (1, 3)),
        ("ひらがな", (1, 4)),
        ("ボール", (1, 3)),
        ("กิน", (1, 2)),  # two consonants and a vowel sign, which is a mark
        ("བཀྲ་ཤིས་", (1, 4)),  # four base letters in two syllables
    ],
)
def test_words_of_scripts_without_spaces_have_bounds(text: str, expected: tuple[int, int]) -> None:
    assert word_bounds(text) == expected


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Stop!" she said.', 1),
        ("“Stop!” she said. She left.", 2),
        ('"Stop!" Anna said.', 1),
        ('"Really?" I asked.', 1),
        ('"Stop!" She left.', 2),
        ("He said “Stop.” then left.", 1),
        ("It rained (really!) all day.", 1),
        ("(It rained.) It stopped.", 2),
        ("*Stop!* she said.", 1),
        ("it rained. it stopped! was it cold? yes.", 4),
        ("「止まれ！」と彼は言った。", 1),
        ("他说：“停。”然后走了。", 1),
        ("他走了。“停！”", 2),
        ('他走了。"停！"她说。', 2),
        ("「はい。」「いいえ。」", 2),
        ("On Jan. 5 it rained.", 1),
        ("It was in Jan. Then it rained.", 2),
        ("See p. 5, Fig. 2 and no. 7.", 1),
        ("He ate a fig. Then he left.", 2),
        ("I said no. It rained.", 2),
        ("i said no. it rained.", 2),
        ("On Sun. 5 May we left. We like the sun. It shone.", 3),
        ("Gen. Lee left. Sgt. Ray did not.", 2),
        ("He did one rep. Then another.", 2),
        ("Martin Luther King Jr. was born. So was Sammy Davis Jr. He sang.", 3),
        ("She has a Ph.D. in law.", 1),
        ("In the U.S. it rained. We left the U.S. It was late.", 3),
        ("Smith et al. (2020) say so. Others do not.", 2),
        ("It rained.[1] It stopped.[2, 3] The end.¹", 3),
        ("It rained. [1] It stopped. [2]", 2),
        ("It rained (Lee, 2020). It stopped.", 2),
        ("A. Paris\nB. London", 2),
        ("**1. Rain**\n**2. Wind**", 2),
        ("(1) Rain\n(2) Wind", 2),
        ("● Rain\n● Wind", 2),
        ("1、雨\n2、风", 2),
        ("One\n***\nTwo", 2),
        ("# Title\nIt rained.", 2),
        ("„Halt.“ Er ging.", 2),
        ("يمطر؟ نعم. لا.", 3),
        ("بارش ہوئی۔ رک گئی۔", 2),
        ("राम घर गया। सीता आई॥", 2),
        ("Τι κάνεις; Καλά.", 2),
        ("It rained; it stopped.", 1),
        ("Անձրև եկավ։ Վերջ։", 2),
        ("ዘነበ። ቆመ።", 2),
        ("ភ្លៀង។ ឈប់។", 2),
        ("円周率は３．１４です。", 1),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: int) -> None:
    assert len(sentences(text)) == expected, sentences(text)
    assert sentence_bounds(text) == (expected, expected)


def test_sentences_of_a_script_without_marks_have_bounds() -> None:
    assert sentence_bounds("ฝนตก ลมพัด") == (1, 2)
    assert sentence_bounds("ฝนตก") == (1, 1)
    assert verify("ฝนตก ลมพัด", {"name": "max_sentences", "count": 2}).followed is True
    assert verify("ฝนตก ลมพัด", {"name": "min_sentences", "count": 2}).followed is None
    assert verify("ฝนตก ลมพัด", {"name": "exact_sentences", "count": 3}).followed is False


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
        ("a፣ b", {"name": "no_commas"}, False),
        ("a﹐b", {"name": "no_commas"}, False),
        ("“Yes.” he said. “No.”", {"name": "quoted"}, False),
        ("„Ja.“", {"name": "quoted"}, True),
        ("「はい」", {"name": "quoted"}, True),
        ("__[Rain]__", {"name": "title_in_brackets"}, True),
        ("【雨】\nText", {"name": "title_in_brackets", "bracket": "【"}, True),
    ],
)
def test_letters_beginnings_and_quotes_of_every_script(
    answer: str, specification: dict[str, object], followed: bool
) -> None:
    assert verify(answer, specification).followed is followed


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


def test_a_verifier_called_directly_refuses_too() -> None:
    for call in (
        lambda: written_in("Hello", script="Grek"),
        lambda: title_in_brackets("|Hello|", bracket="|"),
        lambda: paragraphs("Hello", count=1, divider="lines"),
        lambda: avoids_letter("Hello", letter="ab"),
        lambda: includes("Hello", words=[]),
    ):
        with pytest.raises(InputError):
            call()


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
