"""Keywords that speak for their flow where they should not, or that are not what they look like."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Literal, NamedTuple

from agentic_flywheel.routing.corpus import Corpus
from agentic_flywheel.routing.encoder import pieces_of_languages
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.keywords import KeywordRules
from agentic_flywheel.routing.trial import Trial
from agentic_flywheel.routing.words import words

#: In the vocabulary of a hundred languages, so many words are almost all such as "and", "the", "is".
_COMMONEST = 700
#: Fewest examples of other flows that contain a keyword which is remarked on.
_ELSEWHERE = 2
#: Characters that change the order in which a text is shown (UAX 9).
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NAMED = 3


class KeywordFault(NamedTuple):
    """What is wrong with a keyword of a flow, and what to do."""

    flow: str
    keyword: str
    kind: Literal["common_keyword", "shared_keyword", "hidden_character"]
    level: Literal["problem", "remark"]
    said: str


def keyword_faults(trial: Trial) -> Iterator[KeywordFault]:
    """Yield keywords that questions for any flow contain, that another flow's keyword contains, or that hide signs."""
    own, elsewhere = _said_in(trial)
    inside = _inside(trial.corpus, trial.keywords)
    for flow, keywords in trial.corpus.keywords.items():
        for keyword in dict.fromkeys(keywords):
            place = flow, keyword
            hidden = sorted(_REORDERING.intersection(keyword))
            if hidden:
                named = ", ".join(f"U+{ord(each):04X} ({unicodedata.name(each).capitalize()})" for each in hidden)
                said = f'the keyword "{keyword}" has {named}, which is not seen and changes the order of what is seen'
                yield KeywordFault(*place, "hidden_character", "problem", f"{said}: type it anew")
            others = elsewhere[place]
            if others.total() >= _ELSEWHERE and others.total() > own[place]:
                named = ", ".join(other for other, _ in others.most_common(_NAMED))
                said = f"the keyword {keyword} is in {others.total()} examples of other flows ({named})"
                said += f" and in {own[place] or 'none'} of its own: it sends such questions here; leave it out"
                yield KeywordFault(*place, "common_keyword", "problem" if len(others) > 1 else "remark", said)
            elif _is_common(keyword):
                said = f"the keyword {keyword} is one of the commonest words, which questions for any flow have"
                yield KeywordFault(*place, "common_keyword", "problem", f"{said}: leave it out, or give a phrase")
            if inside[place]:
                named = ", ".join(f"{longer} of {other}" for other, longer in inside[place][:_NAMED])
                said = f"the keyword {keyword} occurs in {named}: a question with that speaks for both flows"
                said += "; give one that does not"
                yield KeywordFault(*place, "shared_keyword", "remark", said)


def _said_in(trial: Trial) -> tuple[Counter[tuple[str, str]], dict[tuple[str, str], Counter[str]]]:
    """Return how many examples contain each keyword: those of its flow, and those of each other flow."""
    own: Counter[tuple[str, str]] = Counter()
    elsewhere: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for sample in trial.corpus.samples:
        if not sample.asked:
            continue
        flow = trial.flow_of(sample)
        for hit in trial.keywords.hits(words(clip(sample.text)), 1.0):
            if hit.flow == flow:
                own[flow, hit.keyword] += 1
            else:
                elsewhere[hit.flow, hit.keyword][flow] += 1
    return own, elsewhere


def _inside(corpus: Corpus, rules: KeywordRules) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return the longer keywords of other flows, with their flows, in which each keyword is found."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for flow, keywords in corpus.keywords.items():
        for keyword in dict.fromkeys(keywords):
            said = words(keyword)
            for hit in rules.hits(said, 1.0):
                if hit.flow != flow and words(hit.keyword) != said:
                    found[hit.flow, hit.keyword].append((flow, keyword))
    return found


def _is_common(keyword: str) -> bool:
    said = words(keyword)
    if len(said) != 1 or not said[0].isalpha():
        return False
    rank = pieces_of_languages().rank(said[0])
    return rank is not None and rank < _COMMONEST
