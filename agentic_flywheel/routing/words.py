"""Cut a text into words as its script has them, case and what only decorates removed.

The rules are Unicode's (UAX 29): marks stay with the letter that carries them, and a joiner does not end a word.
Scripts that write no spaces between words (Chinese, Japanese, Thai, …) give their characters one by one, each as a
grapheme; whoever compares such texts looks at neighbours. An apostrophe ends a word: "l'hôtel" has two words, and so
has "İzmir'e". C++, C# and .NET are words with their signs.
"""

from __future__ import annotations

import re
import unicodedata

import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.korean import noun

#: Names that a sign belongs to, so that C++, C#, .NET and C are four words. Other signs at a word decorate or end it:
#: "order# 17", "#refund", ".csv".
SIGNED = r"[a-z][a-z0-9]*\+\+|(?<![a-z0-9])[a-z]#(?![a-z0-9])|\.net(?![a-z0-9])"
_ASCII_WORD = re.compile(rf"{SIGNED}|[a-z0-9]+")
#: Scripts that write words without spaces between them.
_UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Javanese}\p{Balinese}"
    r"\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}\p{Cham}ー々〆"
)
_WORD = regex.compile(
    rf"{SIGNED}"
    rf"|(?=[[{_UNSPACED}]&&[\p{{L}}\p{{N}}]])\X\p{{M}}*"
    rf"|[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]*",
    regex.V1,
)
_HANGUL = regex.compile(r"\p{Hangul}+")
_UNSPACED_START = regex.compile(rf"[{_UNSPACED}]", regex.V1)
#: Vowel signs that Arabic and Hebrew may leave out, Greek and Cyrillic accents, characters without width.
_DECORATION = regex.compile(
    r"[[\p{Arabic}\p{Hebrew}\p{Syriac}\u064b-\u065f\u0670\u0640]&&[\p{M}\u0640]]"
    r"|(?<=[\p{Greek}\p{Cyrillic}]\p{M}*)[\u0300\u0301\u0342\u0345\u0313\u0314]"
    r"|[\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufe00-\ufe0f]",
    regex.V1,
)
_ALIKE = str.maketrans(
    {
        "İ": "i",
        "♯": "#",
        "ё": "е",
        "Ё": "е",
        "ى": "ي",
        "ی": "ي",
        "ې": "ي",
        "ک": "ك",
        "ة": "ه",
        "ۀ": "ه",
        "ہ": "ه",
        "ھ": "ه",
    }
    | {"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ؤ": "و", "ئ": "ي"}
)
_PLAIN = str.maketrans({"ı": "i", "đ": "d", "ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t"})


def words(text: str) -> list[str]:
    """Return the words of ``text``; of a script without spaces, its characters.

    Full-width and other compatible forms are made plain, digits of any script European. Accents stay: in some
    languages they make another word (see ``bare``). Of a Korean word its noun is returned.
    """
    text = text.lower() if text.isascii() else folded(text)
    if text.isascii():
        return _ASCII_WORD.findall(text)
    found: list[str] = _WORD.findall(text)
    return [noun(word) if _HANGUL.fullmatch(word) else word for word in found] if _HANGUL.search(text) else found


def folded(text: str) -> str:
    """Return ``text`` without case, compatible forms, optional vowel signs and characters that have no width."""
    text = unicodedata.normalize("NFKC", text).translate(_ALIKE).casefold()
    text = unicodedata.normalize("NFKC", _DECORATION.sub("", unicodedata.normalize("NFKD", text)))
    return "".join(str(unicodedata.digit(each)) if _other_digit(each) else each for each in text)


def _other_digit(char: str) -> bool:
    return char > "\x7f" and unicodedata.category(char) == "Nd"


def bare(word: str) -> str:
    """Return a folded word of the Latin alphabet as it is typed without accents; any other word as it is."""
    if word.isascii() or unspaced(word):
        return word
    letters = unicodedata.normalize("NFD", word.translate(_PLAIN))
    plain = "".join(each for each in letters if not unicodedata.combining(each))
    return plain if plain.isascii() else word


def unspaced(word: str) -> bool:
    """Whether a word is a character of a script that writes no spaces between words."""
    return not word.isascii() and _UNSPACED_START.match(word) is not None
