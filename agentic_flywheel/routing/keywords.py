"""Keyword rules: a keyword counts where it occurs as whole words, and each further one of a flow half as much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agentic_flywheel.routing.corpus import Corpus
from agentic_flywheel.routing.encoder import StaticEncoder
from agentic_flywheel.routing.inflection import bases, compounding, forms
from agentic_flywheel.routing.words import words

#: Vectors of forms of one word are so near (cosine). Measured on pairs in 12 languages: of 62 true ones two are less
#: near (*Kind, Kinder*), of 44 that share only letters 27 are.
_RELATED = 0.4


@dataclass(frozen=True)
class Hit:
    """A keyword that occurs, and what it adds to its flow's log-odds."""

    flow: str
    keyword: str
    weight: float


class KeywordRules:
    """The keywords of a catalog, found in a text in one pass over its words.

    What a whole word is depends on the script: without spaces, the keyword's characters in a row; in languages that
    decline their words, also the keyword with a particle, an article or an ending of its own. A word that only looks
    like such a form is known by its meaning, where the table has both as words of their own (*порт, портрет*).
    """

    def __init__(self, corpus: Corpus, table: StaticEncoder) -> None:
        """Take the keywords of a corpus's flows as they are written, and the table that the corpus is read with."""
        self._table = table
        self._inflected = inflected = not table.english
        self._compounds = inflected and compounding(sample.text for sample in corpus.samples)
        self._rules: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}
        for flow, written in corpus.keywords.items():
            for keyword in dict.fromkeys(written):
                said = tuple(words(keyword))
                if said:
                    for base in bases(said[0]) if inflected else said[:1]:
                        self._rules.setdefault(base, []).append((said, flow, keyword))

    def hits(self, said: list[str], weight: float) -> Iterator[Hit]:
        """Yield the keywords in a text, given as its words; the first of a flow has the whole ``weight``."""
        if not self._rules:
            return
        left: dict[str, float] = {}
        for flow, keyword in self._found(said):
            share = left.get(flow, weight)
            left[flow] = share / 2
            yield Hit(flow, keyword, share)

    def _found(self, said: list[str]) -> dict[tuple[str, str], None]:
        found: dict[tuple[str, str], None] = {}
        for at, word in enumerate(said):
            for form in self._forms(word) if self._inflected else (word,):
                if form not in self._rules:
                    continue
                for keyword, flow, written in self._rules[form]:
                    if word != keyword[0] and not self._related(word, keyword[0]):
                        continue
                    rest = said[at + 1 : at + len(keyword)]
                    if len(rest) + 1 == len(keyword) and all(map(self._is_form, rest, keyword[1:])):
                        found[flow, written] = None
        return found

    def _forms(self, word: str) -> Iterable[str]:
        return forms(word, compounds=self._compounds)

    def _is_form(self, word: str, base: str) -> bool:
        if word == base or not self._inflected:
            return word == base
        return not bases(base).isdisjoint(self._forms(word)) and self._related(word, base)

    def _related(self, word: str, base: str) -> bool:
        """Whether two words may be forms of one, by their meaning; what is not known is believed."""
        numbers = self._table.rank(word), self._table.rank(base)
        if numbers[0] is None or numbers[1] is None:
            return True
        return float(self._table.mean([numbers[0]]) @ self._table.mean([numbers[1]])) >= _RELATED
