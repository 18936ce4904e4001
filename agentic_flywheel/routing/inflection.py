"""The forms in which a word may stand in a text: with a particle, an article, an ending, or inside a compound.

Rules of scripts and of kinds of languages, without a dictionary: they find a keyword in most of its forms, and now and
then in a word that only looks like one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.korean import noun
from agentic_flywheel.routing.words import words

_HANGUL = regex.compile(r"\p{Hangul}+")
_SEMITIC = regex.compile(r"[\p{Arabic}\p{Hebrew}]+")
#: "And", "so", "in", "like", "for" and the article, in the order in which they precede an Arabic or Hebrew word.
_BEFORE = regex.compile(r"[وف]?(?:[بك]?ال|لل|[بكلس])?|ו?[בכלמש]?ה?")
_LONGEST_BEFORE = 4
#: What follows one: possessives, the plural, the dual; those of Persian and Urdu, which have the same letters.
_AFTER = regex.compile(
    r"(?<=..)(?:هايي|هايم|هايت|هايش|هاي|اش|يں|وں|ياں|"
    r"تها|تهم|تنا|تك|ته|تي|ات|ون|ين|ان|ها|هم|هن|كم|نا|ه|ك|ي|ים|ות|תי|נו|י|ך|ו|ה)$"
)
#: A letter is a consonant with its vowel, eight in a row for each consonant. Endings (the article, possessives) change
#: the last vowel, longer ones follow a stem of so many letters. "In", "for", "of" and "from" precede a word.
_ETHIOPIC = regex.compile(r"\p{Ethiopic}+")
_ETHIOPIC_STEM = 3
_PREPOSITIONS = frozenset("በለየከ")
#: A stem has so many letters at least; an ending is no longer than the stem, and no more than so many letters.
_STEM, _ENDING = 4, 7
#: Both parts of a compound have so many letters at least.
_COMPOUND = 4
_VOWELS = frozenset("aeiouyáéíóúýàèìòùâêîôûäëïöüãõåæøąęėįųūőűāēīаеиоуыэюяіїєαεηιουωაეიოუ")
#: In scripts of India a word's last sound is a sign: a vowel's, or the virama, which says that there is none. An ending
#: takes its place, and has so many signs and letters at most.
_SIGNS = regex.compile(r"[\u0900-\u0df6&&\p{M}]", regex.V1)
_SIGNED = 6
#: An ending that is exchanged ("faktura", "faktury") has so many letters at most, and leaves so many at least.
_EXCHANGED, _EXCHANGED_STEM = 3, 5
#: Words that only languages with long compounds use so often: German, Dutch, Swedish, Danish and Norwegian, Icelandic,
#: Finnish, Estonian, Hungarian.
_TELLING = frozenset(
    (
        "und",
        "nicht",
        "ich",
        "der",
        "das",
        "ist",
        "wie",
        "wann",
        "mein",
        "meine",
        "het",
        "een",
        "niet",
        "mijn",
        "wat",
        "hoe",
        "voor",
        "och",
        "jag",
        "inte",
        "är",
        "min",
        "hur",
        "vad",
        "og",
        "jeg",
        "ikke",
        "er",
        "hvordan",
        "hva",
        "hvad",
        "mitt",
        "ég",
        "ekki",
        "mín",
        "hvernig",
        "ja",
        "ei",
        "miten",
        "minun",
        "mikä",
        "kuinka",
        "ole",
        "kuidas",
        "minu",
        "mis",
        "ma",
        "és",
        "nem",
        "hogyan",
        "egy",
        "mennyi",
        "vagy",
    )
)
_TELLING_SHARE = 0.06


def forms(word: str, *, compounds: bool) -> Iterator[str]:
    """Yield ``word`` and what it may be a form of; with ``compounds`` also its first and its last parts.

    A form that ends in ``*`` is a stem, to be compared with the ``stem`` of another word.
    """
    yield word
    if _HANGUL.fullmatch(word):
        yield from (word[:end] for end in range(len(word) - 1, 1, -1))
        yield noun(word, least=1)
    elif _SEMITIC.fullmatch(word):
        yield from _semitic(word)
    elif _ETHIOPIC.fullmatch(word):
        yield from _ethiopic(word)
    elif not word.isdigit():
        least = _STEM if compounds else max(_STEM, len(word) - _ENDING, (len(word) + 1) // 2)
        yield from (word[:end] for end in range(len(word) - 1, least - 1, -1))
        longest = _SIGNED if _SIGNS.search(word) else _EXCHANGED
        yield from (word[:end] + "*" for end in range(len(word), _EXCHANGED_STEM - 1, -1)[: longest + 1])
        if compounds:
            yield from (word[at:] for at in range(_COMPOUND, len(word) - _COMPOUND + 1))


def stem(word: str) -> str:
    """Return the stem of a word whose last vowel may be exchanged for other endings; other words as they are."""
    if _ETHIOPIC.fullmatch(word):
        return _without_vowel(word)
    exchanged = len(word) > _EXCHANGED_STEM and (word[-1] in _VOWELS or _SIGNS.match(word[-1]))
    return word[:-1] + "*" if exchanged else word


def _semitic(word: str) -> Iterator[str]:
    for start in range(min(_LONGEST_BEFORE, len(word) - 2) + 1):
        if not _BEFORE.fullmatch(word[:start]):
            continue
        base = word[start:]
        yield from (base, "ال" + base)
        ending = _AFTER.search(base)
        if ending:
            # The feminine ending is written as another letter where something follows it.
            short = base[: ending.start()]
            yield from (short, short + "ه", "ال" + short, "ال" + short + "ه")


def _ethiopic(word: str) -> Iterator[str]:
    for base in (word, word[1:]) if word[0] in _PREPOSITIONS else (word,):
        yield from (base[:end] for end in range(len(base) - 1, _ETHIOPIC_STEM - 1, -1))
        yield from (_without_vowel(base[:end]) for end in range(len(base), min(_ETHIOPIC_STEM, len(base)) - 1, -1))


def _without_vowel(word: str) -> str:
    """Return a word of Ethiopic script as the stem that it is with any vowel at its end."""
    return word[:-1] + chr(ord(word[-1]) & ~7) + "*"


def compounding(texts: Iterable[str]) -> bool:
    """Whether texts are in a language that writes compounds as one word, by the words that they use most."""
    said = [word for text in texts for word in words(text)]
    return sum(word in _TELLING for word in said) > len(said) * _TELLING_SHARE
