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
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_SIGNED_ASCII_WORD = re.compile(rf"{SIGNED}|[a-z0-9]+")
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
#: Vowel signs that Arabic and Hebrew may leave out, Greek and Cyrillic accents, Armenian signs of a sentence that stand
#: above a letter of it, characters without width.
_DECORATION = regex.compile(
    r"[\u055b\u055c\u055e]|(?<=\p{Latin}\p{M}*)\u200b(?=\p{Latin})|[[\p{Arabic}\p{Hebrew}\p{Syriac}\u064b-\u065f\u0670\u0640]&&[\p{M}\u0640]]"
    r"|(?<=[\p{Greek}\p{Cyrillic}]\p{M}*)[\u0300\u0301\u0342\u0345\u0313\u0314]"
    r"|[\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufe00-\ufe0f]",
    regex.V1,
)
#: Rows of eight letters of Ethiopic script that sound as another row in Amharic, and are written for each other (BGN's
#: romanization, in CLDR). "H" and the row without a consonant sound alike with their first and fourth vowel.
_SAME_ROWS = {0x1210: 0x1200, 0x1280: 0x1200, 0x1220: 0x1230, 0x12D0: 0x12A0, 0x1340: 0x1338}
#: Letters that are written for each other, in words and in vocabularies: those rows, and the Romanian letters with a
#: cedilla, as old keyboards have them, or with a comma.
_RESPELLED = (
    {chr(row + at): chr(same + at) for row, same in _SAME_ROWS.items() for at in range(8)}
    | {
        chr(row + 3): chr(same)
        for same in (0x1200, 0x12A0)
        for row in (same, *(a for a, b in _SAME_ROWS.items() if b == same))
    }
    | {"ţ": "ț", "Ţ": "ț", "ș": "ş", "Ș": "ş"}
)
_RESPELLED_LETTER = re.compile(f"[{''.join(_RESPELLED)}]")
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
    # Apostrophes that Unicode takes for letters.
    | {"ʼ": "'", "ʻ": "'", "ʹ": "'", "ʽ": "'"}
    # Chillus of Malayalam, which are also written as a letter, a virama and a joiner.
    | {"ൺ": "ണ്", "ൻ": "ന്", "ർ": "ര്", "ൽ": "ല്", "ൾ": "ള്", "ൿ": "ക്"}
    | _RESPELLED
)
#: A tone at the end of a Vietnamese syllable, which stands on its last vowel ("hoá") or on the one before ("hóa").
_LAST_TONE = regex.compile(r"((?<!q)u(?=y)|o(?=[ae]))([aey])([\u0300\u0301\u0303\u0309\u0323])(?![\p{L}\p{M}])")
#: Letters as they are typed where a keyboard lacks them (de-ASCII and da-ASCII in CLDR).
_TYPED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_PLAIN = str.maketrans({"ı": "i", "đ": "d", "ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t"})


def words(text: str) -> list[str]:
    """Return the words of ``text``; of a script without spaces, its characters.

    Full-width and other compatible forms are made plain, digits of any script European. Accents stay: in some
    languages they make another word (see ``bare``). Of a Korean word its noun is returned.
    """
    text = text.lower() if text.isascii() else folded(text)
    if text.isascii():
        # Most texts have none of these signs: to look for them first takes half the time.
        signed = "+" in text or "#" in text or "." in text
        return (_SIGNED_ASCII_WORD if signed else _ASCII_WORD).findall(text)
    found: list[str] = _WORD.findall(text)
    return [noun(word) if _HANGUL.fullmatch(word) else word for word in found] if _HANGUL.search(text) else found


def folded(text: str) -> str:
    """Return ``text`` without case, compatible forms, optional vowel signs and characters that have no width."""
    text = unicodedata.normalize("NFKC", text).translate(_ALIKE).casefold()
    text = _LAST_TONE.sub(r"\1\3\2", _DECORATION.sub("", unicodedata.normalize("NFKD", text)))
    text = unicodedata.normalize("NFKC", text)
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


def typed(word: str) -> str:
    """Return a folded word as it is typed with two letters for one that a keyboard lacks: *Rueckgabe*."""
    return word if word.isascii() else word.translate(_TYPED)


def respelled(text: str) -> str:
    """Return a folded text with one letter for all that are written for each other, as ``words`` has it."""
    return _RESPELLED_LETTER.sub(lambda letter: _RESPELLED[letter[0]], text)


def unspaced(word: str) -> bool:
    """Whether a word is a character of a script that writes no spaces between words."""
    return not word.isascii() and _UNSPACED_START.match(word) is not None
