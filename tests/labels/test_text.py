"""Words and sentences, on short texts whose right number is worked out by hand."""

import pytest

from foretell.labels.text import sentence_bounds, sentences, word_bounds, words


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
        ("J.R.R. Tolkien wrote it. So it is.", 2),
        ("See Eq. (3). It holds.", 2),
        ("I said no. (It rained.)", 2),
        ("Feb. is cold. It rained on Feb. 3.", 2),
        ("It is 5 ft. long.", 1),
        ("1. Stop. 2. Look.", 2),
        ("Who came? I. Then we left.", 3),
        ("I. Rain\n\nII. Wind\n\nIV. Sun", 3),
        ("« Stop ! » dit-elle. « Oui. » Il part.", 3),
        ("Er ging. »Halt!« Sie blieb.", 3),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: int) -> None:
    assert len(sentences(text)) == expected, sentences(text)
    assert sentence_bounds(text) == (expected, expected)
