"""The noun of a Korean word: without the particle behind it, and without the verb that it is made into.

A particle's form tells whether the syllable before it ends in a consonant (을 after one, 를 after none). So it is known
for a particle by sound, without a dictionary. A noun becomes a verb by *do* or *become* behind it (배송하다, 배송되다).
"""

from __future__ import annotations

import regex  # type: ignore[import-untyped]

#: Particles after a syllable that ends in a consonant, after one that does not, and after any, the longest first.
_AFTER_CONSONANT = regex.compile("(?:이라도|이에요|으로는|으로|이나|이랑|이야|은|이|을|과)$")
_AFTER_VOWEL = regex.compile("(?:라도|예요|는|가|를|와|로|나|랑|야)$")
_AFTER_ANY = regex.compile("(?:에서는|에서|에게|에는|에도|까지|부터|한테|보다|처럼|마다|밖에|조차|에|의|도|만|께|요)$")
_VERB = regex.compile(r"(\p{Hangul}{2,}?)[하한할함합해했되된될됨됩돼됐]\p{Hangul}*")
#: The first of the 11,172 syllables, which are ordered by their sounds: 28 ends for each beginning.
_FIRST, _SYLLABLES, _ENDS = 0xAC00, 11_172, 28
#: The end (ㄹ) after which 로 stands as after a vowel.
_L = 8


def noun(word: str, least: int = 2) -> str:
    """Return the noun in a word of Hangul if ``least`` syllables of it are left, else the word."""
    made = _VERB.fullmatch(word)
    if made:
        return str(made[1])
    found = [each for pattern in (_AFTER_CONSONANT, _AFTER_VOWEL, _AFTER_ANY) if (each := pattern.search(word))]
    for each in sorted(found, key=lambda each: int(each.start())):
        base = word[: each.start()]
        if len(base) >= least and _fits(base[-1], each):
            return base
    return word


def _fits(last: str, particle: regex.Match[str]) -> bool:
    place = ord(last) - _FIRST
    if not 0 <= place < _SYLLABLES:
        return False
    if particle.re is _AFTER_ANY:
        return True
    end = place % _ENDS
    return bool(end) == (particle.re is _AFTER_CONSONANT) or (end == _L and particle[0] == "로")
