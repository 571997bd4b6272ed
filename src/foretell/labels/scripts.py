"""The scripts of Unicode: which one a letter belongs to, and which are written without spaces between words."""

from __future__ import annotations

import unicodedata
from difflib import get_close_matches
from functools import cache

from foretell.errors import InputError

__all__ = ["in_script", "known_script", "without_sentence_marks", "without_spaces"]

# The beginnings of letters' names in the Unicode database, which has no table of scripts in Python's library.
_TABLE = """
ADLAM, AHOM, ANATOLIAN HIEROGLYPH, ARABIC, ARMENIAN, AVESTAN, BALINESE, BAMUM, BASSA VAH, BATAK, BENGALI, BHAIKSUKI,
BOPOMOFO, BRAHMI, BUGINESE, BUHID, CANADIAN SYLLABICS, CARIAN, CAUCASIAN ALBANIAN, CHAKMA, CHAM, CHEROKEE,
CHORASMIAN, CJK, COPTIC, CUNEIFORM, CYPRIOT, CYPRO-MINOAN, CYRILLIC, DESERET, DEVANAGARI, DIVES AKURU, DOGRA,
DUPLOYAN, EGYPTIAN HIEROGLYPH, ELBASAN, ELYMAIC, ETHIOPIC, GEORGIAN, GLAGOLITIC, GOTHIC, GRANTHA, GREEK, GUJARATI,
GUNJALA GONDI, GURMUKHI, HANGUL, HANIFI ROHINGYA, HANUNOO, HATRAN, HEBREW, HIRAGANA, IMPERIAL ARAMAIC,
INSCRIPTIONAL PAHLAVI, INSCRIPTIONAL PARTHIAN, JAVANESE, KAITHI, KANNADA, KATAKANA, KAYAH LI, KHAROSHTHI,
KHITAN SMALL SCRIPT, KHMER, KHOJKI, KHUDAWADI, LAO, LATIN, LEPCHA, LIMBU, LINEAR A, LINEAR B, LISU, LYCIAN, LYDIAN,
MAHAJANI, MAKASAR, MALAYALAM, MANDAIC, MANICHAEAN, MARCHEN, MASARAM GONDI, MEDEFAIDRIN, MEETEI MAYEK,
MENDE KIKAKUI, MEROITIC CURSIVE, MEROITIC HIEROGLYPHIC, MIAO, MODI, MONGOLIAN, MRO, MULTANI, MYANMAR, NABATAEAN,
NANDINAGARI, NEW TAI LUE, NEWA, NKO, NUSHU, NYIAKENG PUACHUE HMONG, OGHAM, OL CHIKI, OLD HUNGARIAN, OLD ITALIC,
OLD NORTH ARABIAN, OLD PERMIC, OLD PERSIAN, OLD SOGDIAN, OLD SOUTH ARABIAN, OLD TURKIC, OLD UYGHUR, ORIYA, OSAGE,
OSMANYA, PAHAWH HMONG, PALMYRENE, PAU CIN HAU, PHAGS-PA, PHOENICIAN, PSALTER PAHLAVI, REJANG, RUNIC, SAMARITAN,
SAURASHTRA, SHARADA, SHAVIAN, SIDDHAM, SINHALA, SOGDIAN, SORA SOMPENG, SOYOMBO, SUNDANESE, SYLOTI NAGRI, SYRIAC,
TAGALOG, TAGBANWA, TAI LE, TAI THAM, TAI VIET, TAKRI, TAMIL, TANGSA, TANGUT, TELUGU, THAANA, THAI, TIBETAN,
TIFINAGH, TIRHUTA, TOTO, UGARITIC, VAI, VITHKUQI, WANCHO, WARANG CITI, YEZIDI, YI, ZANABAZAR SQUARE
"""
_NAMES = frozenset(map(str.strip, _TABLE.split(",")))
_ALIASES = {"HAN": "CJK", "BURMESE": "MYANMAR", "ODIA": "ORIYA", "N'KO": "NKO"}
_WITHOUT_SPACES = (
    *("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "BOPOMOFO ", "YI ", "TANGUT ", "THAI ", "LAO ", "KHMER "),
    *("MYANMAR ", "TIBETAN ", "JAVANESE ", "BALINESE ", "TAI LE ", "TAI THAM ", "TAI VIET ", "NEW TAI LUE "),
)
_WITHOUT_SENTENCE_MARKS = ("THAI ", "LAO ", "TIBETAN ", "TAI THAM ", "TAI VIET ", "NEW TAI LUE ")


def known_script(script: str) -> str:
    """Return the beginning of the Unicode names of a script's letters.

    Raises:
        InputError: Unicode has no such script, such as "Grek" or the language "Japanese".

    Example:
        >>> known_script("Greek"), known_script("Han")
        ('GREEK', 'CJK')
    """
    wanted = " ".join(script.upper().replace("_", " ").split())
    wanted = _ALIASES.get(wanted, wanted)
    if wanted not in _NAMES:
        close = get_close_matches(wanted, _NAMES, n=3)
        hint = f"did you mean {', '.join(map(str.title, close))}?" if close else "such as Latin, Greek, Cyrillic or Han"
        raise InputError(f"there is no script {script[:40]!r}; name one of Unicode's scripts: {hint}")
    return wanted


def in_script(letter: str, script: str) -> bool:
    """Whether a letter belongs to a script that `known_script` returned.

    Full-width, mathematical and other compatibility forms belong to the script of the letter they stand for.

    Example:
        >>> in_script("λ", "GREEK"), in_script("Ａ", "LATIN"), in_script("a", "GREEK")
        (True, True, False)
    """
    name = _name(letter)
    return any(name.startswith(script + end) for end in (" ", "-")) or (
        # The sound mark of both kana has both names, and the iteration mark of Chinese characters neither.
        (script == "HIRAGANA" and name.startswith("KATAKANA-HIRAGANA"))
        or (script == "CJK" and name.startswith("IDEOGRAPHIC "))
    )


@cache
def _name(letter: str) -> str:
    plain = unicodedata.normalize("NFKC", letter)
    return unicodedata.name(plain[:1], "") if plain else ""


def without_spaces(character: str) -> bool:
    """Whether a character belongs to a script that is written without spaces between words, such as Chinese or Thai.

    Example:
        >>> without_spaces("猫"), without_spaces("고"), without_spaces("a")
        (True, False, False)
    """
    return not character.isascii() and _name(character).startswith(_WITHOUT_SPACES)


def without_sentence_marks(character: str) -> bool:
    """Whether a character belongs to a script that ends a sentence with a space at most, such as Thai.

    Example:
        >>> without_sentence_marks("ฝ"), without_sentence_marks("猫")
        (True, False)
    """
    return not character.isascii() and _name(character).startswith(_WITHOUT_SENTENCE_MARKS)
