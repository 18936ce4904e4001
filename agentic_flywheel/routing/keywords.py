"""Keyword rules: a keyword counts where it occurs as whole words, and each further one of a flow half as much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agentic_flywheel.routing.features import words


@dataclass(frozen=True)
class Hit:
    """A keyword that occurs, and what it adds to its flow's log-odds."""

    flow: str
    keyword: str
    weight: float


class KeywordRules:
    """The keywords of a catalog, found in a text in one pass over its words."""

    def __init__(self, keywords: Mapping[str, Sequence[str]]) -> None:
        """Take each flow's keywords as they are written."""
        self._rules: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}
        for flow, written in keywords.items():
            for keyword in dict.fromkeys(written):
                said = tuple(words(keyword))
                if said:
                    self._rules.setdefault(said[0], []).append((said, flow, keyword))

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
            for keyword, flow, written in self._rules.get(word, ()):
                if tuple(said[at : at + len(keyword)]) == keyword:
                    found[flow, written] = None
        return found
