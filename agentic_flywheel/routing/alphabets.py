"""Read a text that is typed in another alphabet than the catalog: Russian in Latin letters, Serbian in either.

People do not agree on how a letter is typed, so every usual way is tried, and the likeliest taken: a word of the
catalog, else what is likeliest in the vocabulary of a hundred languages. A text that is likelier as typed is left.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import product

import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.encoder import pieces_of_languages

#: A word is tried in ways of so many letters in all, which takes some 2 ms: the first ones of each of its letters. Of a
#: text, so many words that were not seen before are; the rest is written in the first way.
_MOST_LETTERS, _MOST_WORDS = 400, 24
#: What each letter of a word that becomes one of the catalog adds to the likelihood of the text (nats).
_KNOWN = 2.0
#: Words that were looked at are remembered, up to so many.
_REMEMBERED = 20_000
_NAMES = ("Latin", "Cyrillic", "Greek")
_LETTERS = {name: regex.compile(rf"[\p{{{name}}}\d]+") for name in _NAMES}


def _table(ways: str) -> dict[str, list[str]]:
    """Return what each letter or group of letters may stand for, from ``letters=one,other`` with spaces between."""
    return {unit: all_of.split(",") for unit, _, all_of in (each.partition("=") for each in ways.split())}


#: What Latin letters stand for, the usual first. Only letters that the catalog has are tried, and those that all
#: Cyrillic alphabets share.
_CYRILLIC = _table("""
    shch=щ sch=щ sht=щ,шт zh=ж kh=х ch=ч sh=ш ts=ц,тс yo=е,йо jo=йо,јо,е yu=ю ju=ю,ју ya=я ja=я,ја ye=е,є je=е,је
    yi=ї ji=ї,ји iy=ий yy=ый ia=ия,я,иа iu=ию,ю lj=љ,ль nj=њ,нь dž=џ dz=дз,џ dj=ђ,дж gj=ѓ,гј kj=ќ,кј gh=ғ,г ng=ң,нг
    a=а,ә,ъ b=б c=ц,ч,ћ,к d=д,дь e=е,э,є f=ф g=г,ғ,ґ h=х,г,һ i=и,і,й j=й,ј,ж k=к,қ l=л,ль m=м n=н,нь,ң o=о,ө p=п
    q=қ,я,к r=р,рь s=с,сь,ш t=т,ть u=у,ү,ұ,ъ v=в w=в,ш x=х,кс y=ы,й,и,ъ z=з,ж č=ч ć=ћ š=ш ž=ж đ=ђ 4=ч 6=ш
""")
_SHARED = frozenset("абвгдежзиклмнопрстуфхцчш")
_GREEK = _table("""
    th=θ ch=χ ps=ψ ks=ξ ou=ου oy=ου ai=αι ei=ει oi=οι mp=μπ nt=ντ gk=γκ gg=γγ ts=τσ tz=τζ af=αφ,αυ ef=εφ,ευ av=αβ,αυ
    ev=εβ,ευ a=α b=μπ,β c=κ,σ d=δ,ντ e=ε,αι f=φ g=γ,γκ h=η,χ i=ι,η,υ,ει,οι j=τζ,ξ k=κ l=λ,λλ m=μ n=ν o=ο,ω p=π q=θ,κ
    r=ρ s=σ,σσ t=τ u=υ,ου,θ v=β w=ω x=χ,ξ y=υ,γι,η,ι z=ζ 8=θ 3=ξ 4=ψ
""")
_LATIN = _table("""
    а=a б=b в=v г=g д=d е=e,je,ye ж=ž,j,zh з=z и=i й=y,j к=k л=l м=m н=n о=o п=p р=r с=s т=t у=u ф=f х=h,x ц=c,ts
    ч=č,ch,ç ш=š,sh,ş ъ= ь= ы=y,ı э=e ю=yu,ju я=ya,ja ј=j,y љ=lj њ=nj ћ=ć ђ=đ џ=dž қ=q,k ғ=g,ğ ў=o ҳ=h ә=ə,ä ө=ö ү=ü
    ұ=u ң=n,ñ і=i һ=h ҹ=c
""")
#: What letters of one alphabet stand for in another.
_WAYS = {("Latin", "Cyrillic"): _CYRILLIC, ("Latin", "Greek"): _GREEK, ("Cyrillic", "Latin"): _LATIN}


class Alphabets:
    """Knows the alphabet of a catalog, and writes words of another one in it."""

    def __init__(self, catalog: Mapping[str, float]) -> None:
        """``catalog`` gives a word's rarity in the catalog."""
        self._catalog = catalog
        self._seen: dict[str, str] = {}

    def rewritten(self, said: list[str]) -> list[str]:
        """Return the words of a text in the catalog's alphabet; the very same list where they are likelier as typed.

        A text that has a word of the catalog's alphabet is typed in it: its other words are names.
        """
        typed = _alphabet(said)
        if typed == self._alphabet or (typed, self._alphabet) not in _WAYS:
            return said
        unseen = [word for word in dict.fromkeys(said) if word not in self._catalog and word not in self._seen]
        here = {word: self._likeliest(word, _MOST_LETTERS if at < _MOST_WORDS else 0) for at, word in enumerate(unseen)}
        written = [word if word in self._catalog else self._seen.get(word) or here[word] for word in said]
        if len(unseen) <= _MOST_WORDS and len(self._seen) < _REMEMBERED:
            self._seen |= here
        pairs = [(one, other) for one, other in zip(said, written, strict=True) if one != other]
        cost = pieces_of_languages().cost
        gained = cost([one for one, _ in pairs]) - cost([other for _, other in pairs])
        gained += _KNOWN * sum(len(other) for _, other in pairs if other in self._catalog)
        return written if gained > 0 else said

    @cached_property
    def _alphabet(self) -> str:
        """The alphabet of most of the catalog's words; empty where that is another one."""
        counts = Counter(_alphabet([word]) for word in self._catalog)
        return counts.most_common(1)[0][0] if counts else ""

    @cached_property
    def _letters(self) -> frozenset[str]:
        return frozenset("".join(self._catalog)) | _SHARED

    @cached_property
    def _ways(self) -> Mapping[str, Mapping[str, list[str]]]:
        """By the alphabet in which a text is typed: what its letters may stand for, as far as the catalog has those."""
        found: dict[str, dict[str, list[str]]] = {}
        for (typed, wanted), ways in _WAYS.items():
            for unit, written in ways.items() if wanted == self._alphabet else ():
                if usable := [way for way in written if self._letters.issuperset(way)]:
                    found.setdefault(typed, {})[unit] = usable
        return found

    def _likeliest(self, word: str, letters: int) -> str:
        """Return the likeliest way to write a word in the catalog's alphabet; the word itself where there is none.

        ``letters``: of all ways that are tried.
        """
        options = list(_cut(word, self._ways.get(_alphabet([word]), {})))
        if not options or not all(options):
            return word
        while math.prod(map(len, options)) > max(1, letters // len(word)):
            longest = max(range(len(options)), key=lambda at: len(options[at]))
            options[longest] = options[longest][:-1]
        variants = list(map("".join, product(*options)))
        if known := [each for each in variants if each in self._catalog]:
            return min(known, key=self._catalog.__getitem__)
        cost = pieces_of_languages().cost
        return min(variants, key=lambda each: cost([each]))


def _cut(word: str, ways: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Yield what each part of a word may stand for, the longest parts that are known first; none for an unknown one."""
    at = 0
    while at < len(word):
        part = next((word[at : at + size] for size in (4, 3, 2, 1) if word[at : at + size] in ways), "")
        yield ways.get(part, [])
        at += len(part) or 1


def _alphabet(said: Iterable[str]) -> str:
    """Return the alphabet of all words, numbers apart; empty where they have several, or another one."""
    text = "".join(said)
    if not text or text.isdigit():
        return ""
    return "Latin" if text.isascii() else next((name for name in _NAMES if _LETTERS[name].fullmatch(text)), "")
