"""The forms in which a word may stand in a text: with a particle, an article, an ending, or inside a compound.

Rules of scripts and of kinds of languages, without a dictionary: they find a keyword in most of its forms, and now and
then in a word that only looks like one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.korean import noun
from agentic_flywheel.routing.words import typed, words

_HANGUL = regex.compile(r"\p{Hangul}+")
_SEMITIC = regex.compile(r"[\p{Arabic}\p{Hebrew}]+")
#: Languages that write their vowels in Arabic letters (Kurdish, Uyghur) have endings as others have.
_VOWELLED = regex.compile("[ەێۆۇۈ]")
#: "And", "so", "in", "like", "for" and the article, in the order in which they precede an Arabic or Hebrew word.
_BEFORE = regex.compile(r"[وف]?(?:[بك]?ال|لل|[بكلس])?|ו?[בכלמש]?ה?")
_LONGEST_BEFORE = 4
#: What follows one: possessives, the plural, the dual; those of Persian and Urdu, which have the same letters.
_AFTER = regex.compile(
    r"(?<=..)(?:هايمان|هايتان|هايشان|هايي|هايم|هايت|هايش|هاي|اش|(?<=ه)ام|(?<=....)(?:مان|تان|شان|[متش])|يں|وں|ياں|"
    r"تها|تهم|تنا|تك|ته|تي|ات|ون|ين|ان|ها|هم|هن|كم|نا|ه|ك|ي|ים|ות|תי|נו|י|ך|ו|ה)$"
)
#: A letter is a consonant with its vowel, eight in a row for each consonant. Endings (the article, possessives) change
#: the last vowel, longer ones follow a stem of so many letters. "In", "for", "of" and "from" precede a word.
_ETHIOPIC = regex.compile(r"\p{Ethiopic}+")
_ETHIOPIC_STEM = 3
_PREPOSITIONS = frozenset("በለየከ")
#: A stem has so many letters at least, and more than its ending, which has no more than so many.
_STEM, _ENDING = 4, 7
#: Endings may follow each other behind a stem of so many letters, up to so many letters together.
_LONG_STEM, _ENDINGS = 6, 10
#: Both parts of a compound have so many letters at least.
_COMPOUND = 4
_VOWELS = "aeiouyáéíóúýàèìòùâêîôûäëïöüãõåæøąęėįųūőűāēīаеиоуыэюяіїєαεηιουωაეიოუ"
#: In scripts of India a word's last sound is a sign: a vowel's, or the virama, which says that there is none. An ending
#: takes its place, and has so many signs and letters at most.
_SIGNS = regex.compile(r"[\u0900-\u0df6&&\p{M}]", regex.V1)
_SIGNED, _SIGNED_STEM = 6, 3
#: A keyword's own ending, which others replace: a vowel, one with an s ("λογαριασμός, λογαριασμού"), a sign of India.
_OWN_ENDING = regex.compile(rf"(?:ம்|[{_VOWELS}][sσ]?|[\u0900-\u0df6&&\p{{M}}])$", regex.V1)
#: How a noun's last sounds change before an ending: an s is left out ("rēķins, rēķinu"), or the vowel before the last
#: consonant ("рахунок, рахунку"); two consonants become one ("paketti, paketissa").
_CHANGED = (
    (regex.compile("[sσ]$"), ""),
    (regex.compile(rf"(?<=[^{_VOWELS}])[oeоеє](?=[^{_VOWELS}]$)"), ""),
    (regex.compile(rf"([kpt])\1(?=[{_VOWELS}]$)"), r"\1"),
)
#: Its last consonant, as Turkic languages voice it before one ("kitap, kitabı").
_VOICED = {"p": "b", "ç": "c", "k": "ğ", "п": "б", "к": "г", "қ": "ғ"}
#: The last vowel of a Hungarian noun is long before an ending: "számla", "számlámon".
_LONG = {"á": "a", "é": "e"}
#: An ending that is exchanged ("faktura", "faktury") has so many letters at most, and leaves so many at least.
_EXCHANGED, _EXCHANGED_STEM = 3, 5
#: In Georgian every noun has an ending that others replace.
_MKHEDRULI, _GEORGIAN = regex.compile(r"\p{Georgian}"), (6, 4)
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
    elif _SEMITIC.fullmatch(word) and not _VOWELLED.search(word):
        yield from _semitic(word)
    elif _ETHIOPIC.fullmatch(word):
        yield from _ethiopic(word)
    elif not word.isdigit():
        signed = _SIGNS.search(word) is not None
        yield from _stems(word, _STEM if compounds else _least(word, _SIGNED_STEM if signed else _STEM))
        longest, shortest = _exchanged(word)
        yield from (word[:end] + "*" for end in range(len(word), shortest - 1, -1)[: longest + 1])
        if compounds:
            for at in range(_COMPOUND, len(word) - _COMPOUND + 1):
                last = word[at:]
                yield last
                yield from _stems(last, max(_STEM, len(last) - _EXCHANGED))


def _stems(word: str, least: int) -> Iterator[str]:
    """Yield the beginnings of a word down to ``least`` letters; a last vowel that an ending made long is made short."""
    for end in range(len(word) - 1, least - 1, -1):
        yield word[:end]
        if word[end - 1] in _LONG:
            yield word[: end - 1] + _LONG[word[end - 1]]


def _least(word: str, shortest: int) -> int:
    return max(shortest, min(max(len(word) - _ENDING, len(word) // 2 + 1), max(len(word) - _ENDINGS, _LONG_STEM)))


def _exchanged(word: str) -> tuple[int, int]:
    """Return the most letters of an ending that takes the place of a word's own, and the fewest before it."""
    if _SIGNS.search(word):
        return _SIGNED, _SIGNED_STEM
    return _GEORGIAN if _MKHEDRULI.match(word) else (_EXCHANGED, _EXCHANGED_STEM)


@lru_cache(4096)
def bases(word: str) -> frozenset[str]:
    """Return the forms of a keyword to which endings are added: as it is, and with its own ending or sound changed."""
    if _ETHIOPIC.fullmatch(word):
        return frozenset({word, _without_vowel(word)})
    found = {word, typed(word)}
    own = _OWN_ENDING.search(word)
    if own and len(_SIGNS.sub("", word[: own.start()])) >= _exchanged(word)[1]:
        found.add(word[: own.start()] + "*")
    if len(word) > _STEM:
        found |= {pattern.sub(instead, word) for pattern, instead in _CHANGED}
        found.add(word[:-1] + _VOICED.get(word[-1], word[-1]))
    return frozenset(found)


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
