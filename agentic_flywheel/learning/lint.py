"""Find what makes a catalog's routing worse than necessary: overlaps, contradictions, weak examples, idle keywords."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import numpy as np

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.learning.changes import KEYWORDS
from agentic_flywheel.learning.evidence import place_of
from agentic_flywheel.learning.keyword_faults import keyword_faults
from agentic_flywheel.learning.languages import languages
from agentic_flywheel.learning.overlaps import Overlap, overlaps
from agentic_flywheel.models import Model
from agentic_flywheel.routing.corpus import Sample, corpus_of, plain
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.trial import Likeness, Trial
from agentic_flywheel.routing.words import bare, words

#: Fewest examples that a topic, or a flow without topics, should have.
_FEW = 3
#: An example is left out and routed by the others. Probabilities of its own flow below which it contradicts the others,
#: and below which it is weak.
_CONTRADICTS, _WEAK = 0.1, 0.25
#: Where more than this share of the examples is routed elsewhere, and nothing else tells of a fault, they are too few
#: to say which of them is weak.
_SCARCE = 0.25
#: Probability of a keyword's flow, without the keyword, for a question that consists of the keyword alone. From this
#: value on the keyword is idle.
_SURE = 0.9
_QUOTED = 80


class LintFinding(Model):
    """One thing to look at. A problem sends questions to a wrong flow; a remark may be intended."""

    kind: Literal[
        "overlap",
        "contradiction",
        "weak_example",
        "few_examples",
        "idle_keyword",
        "shared_keyword",
        "common_keyword",
        "hidden_character",
        "ignored_override",
        "unset_variable",
        "language",
        "registry",
    ]
    level: Literal["problem", "remark"]
    #: Empty: the whole registry.
    flow: str = ""
    #: The topic, ``(keywords)`` or ``(examples)`` that it concerns; of an overlap the other flow; empty: the flow.
    place: str = ""
    text: str = ""
    said: str
    #: The line in the registry, where it is known; 0: that of what ``flow``, ``place`` and ``text`` name.
    line: int = 0


def lint(catalog: Catalog) -> list[LintFinding]:
    """Return the findings in a catalog, problems first, in the order of its flows."""
    trial = Trial(catalog, Likeness((sample.text for sample in corpus_of(catalog).samples), catalog))
    overlapping = list(overlaps(trial, ()))
    found = [
        *_overlaps(overlapping),
        *_contradictions(trial),
        *_weak_examples(trial, overlapping),
        *_few_examples(catalog),
        *_keywords(trial),
        *_keyword_faults(trial),
        *_languages(trial),
    ]
    order = ["", *catalog.flows]
    return sorted(found, key=lambda each: (each.level, order.index(each.flow)))


def _overlaps(found: list[Overlap]) -> Iterator[LintFinding]:
    for each in found:
        one, other = each.flows
        told = f"overlaps with {other}: {each.confused} of their {each.of} examples are taken for the other's"
        said = f"{told} ({'; '.join(each.places)})"
        yield LintFinding(kind="overlap", level="problem", flow=one, place=other, said=said)


def _contradictions(trial: Trial) -> Iterator[LintFinding]:
    """Yield the texts that two flows both have, whatever their case, accents, spaces and punctuation."""
    holders: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in trial.corpus.samples:
        if sample.asked:
            holders[_bare(sample.text) or (sample.text,)].append(sample)
    for samples in holders.values():
        flows = list(dict.fromkeys(map(trial.flow_of, samples)))
        if len(flows) > 1:
            flow, place = place_of(samples[0], trial)
            yield LintFinding(
                kind="contradiction",
                level="problem",
                flow=flow,
                place=place,
                text=samples[0].text,
                said=f"{_quoted(samples[0].text)} is an example of {' and of '.join(flows)}",
            )


def _weak_examples(trial: Trial, overlapping: list[Overlap]) -> Iterator[LintFinding]:
    """Yield the examples that all others put elsewhere; where too many only lack others like them, say that instead."""
    pairs = {frozenset(each.flows) for each in overlapping}
    away = [(sample, said, chance) for sample, said, chance in trial.left_out if said != trial.flow_of(sample)]
    told = [
        each for each in away if frozenset((trial.flow_of(each[0]), each[1])) in pairs or trial.alike(each[0], each[1])
    ]
    scarce = len(away) - len(told) > _SCARCE * len(trial.left_out)
    if scarce:
        yield LintFinding(
            kind="few_examples",
            level="remark",
            said=f"by all other examples, {len(away)} of {len(trial.left_out)} would go to another flow: "
            "they are too few, or too unlike each other, to tell which flows overlap; add more to each flow",
        )
    for sample, said, chance in told if scarce else away:
        flow, place = place_of(sample, trial)
        if chance >= _WEAK:
            continue
        against = chance < _CONTRADICTS
        yield LintFinding(
            kind="contradiction" if against else "weak_example",
            level="remark",
            flow=flow,
            place=place,
            text=sample.text,
            said=f"{_quoted(sample.text)} would go to {said} by all other examples ({flow}: {chance:.0%}); "
            + ("move it, or add more like it" if against else "add more like it"),
        )


def _few_examples(catalog: Catalog) -> Iterator[LintFinding]:
    for flow in catalog.routable.values():
        if not flow.topics and len(flow.examples) < _FEW:
            told = f"has {len(flow.examples) or 'no'} example{'' if len(flow.examples) == 1 else 's'} and no topics"
            yield LintFinding(
                kind="few_examples", level="remark", flow=flow.key, said=f"{told}: its routes are guesses"
            )
        for topic, texts in flow.topics.items():
            if len(texts) < _FEW:
                said = f"the topic {topic} has {len(texts)} example{'' if len(texts) == 1 else 's'}"
                yield LintFinding(kind="few_examples", level="remark", flow=flow.key, place=topic, said=said)


def _keywords(trial: Trial) -> Iterator[LintFinding]:
    """Yield keywords that no question can contain, that several flows have, or that change no route."""
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for flow, keywords in trial.corpus.keywords.items():
        for keyword in dict.fromkeys(keywords):
            holders[tuple(words(keyword))].append(flow)
    plainly: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for said, flows in holders.items():
        plainly[tuple(map(bare, said))].update(flows)
    deciding = _deciding(trial)
    for flow, keywords in trial.corpus.keywords.items():
        idle = []
        for keyword in dict.fromkeys(keywords):
            said = tuple(words(keyword))
            others = [other for other in holders[said] if other != flow]
            if not said:
                told = f"the keyword {keyword} never occurs: it has no letter and no digit"
                yield LintFinding(
                    kind="idle_keyword", level="problem", flow=flow, place=KEYWORDS, text=keyword, said=told
                )
            elif others:
                told = f"the keyword {keyword} is one of {', '.join(others)} too, and decides nothing between them"
                yield LintFinding(
                    kind="shared_keyword", level="problem", flow=flow, place=KEYWORDS, text=keyword, said=told
                )
            elif alike := sorted(plainly[_bare(keyword)] - {flow}):
                told = f"the keyword {keyword} differs from one of {', '.join(alike)} in its accents alone"
                yield LintFinding(
                    kind="shared_keyword",
                    level="remark",
                    flow=flow,
                    place=KEYWORDS,
                    text=keyword,
                    said=f"{told}: typed without them, it decides nothing between them",
                )
            elif (flow, keyword) not in deciding and trial.without_keyword.get((flow, plain(keyword)), 0) >= _SURE:
                idle.append(keyword)
        if idle:
            told = f"the examples say as much as {', '.join(idle)}: without these keywords no example goes elsewhere"
            yield LintFinding(
                kind="idle_keyword", level="remark", flow=flow, place=KEYWORDS, text=", ".join(idle), said=told
            )


def _keyword_faults(trial: Trial) -> Iterator[LintFinding]:
    for each in keyword_faults(trial):
        yield LintFinding(
            kind=each.kind, level=each.level, flow=each.flow, place=KEYWORDS, text=each.keyword, said=each.said
        )


def _languages(trial: Trial) -> Iterator[LintFinding]:
    for flow, level, keyword, said in languages(trial):
        yield LintFinding(
            kind="language", level=level, flow=flow, place=KEYWORDS if keyword else "", text=keyword, said=said
        )


def _deciding(trial: Trial) -> set[tuple[str, str]]:
    """Return the keywords without which an example, left out, would be routed to another flow."""
    deciding: set[tuple[str, str]] = set()
    for sample, chances in trial.left_out_chances:
        logs = np.log(chances + 1e-12)
        best = int(logs.argmax())
        for hit in trial.keywords.hits(words(clip(sample.text)), trial.keyword_weight):
            without = logs.copy()
            without[trial.flows.index(hit.flow)] -= hit.weight
            if int(without.argmax()) != best:
                deciding.add((hit.flow, hit.keyword))
    return deciding


def _bare(text: str) -> tuple[str, ...]:
    return tuple(map(bare, words(text)))


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    return f'"{flat}"' if len(flat) <= _QUOTED else f'"{flat[: _QUOTED - 1]}…"'
