"""Draft changes of the catalog from labels. Whether a draft helps is measured elsewhere (``judging``)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Literal

from agentic_flywheel.learning.changes import EXAMPLES, KEYWORDS, TextChange
from agentic_flywheel.learning.evidence import RoutedLabel, place_of
from agentic_flywheel.learning.labels import same_question
from agentic_flywheel.models import Model
from agentic_flywheel.routing.corpus import Sample
from agentic_flywheel.routing.encoder import static_encoder
from agentic_flywheel.routing.features import clip
from agentic_flywheel.routing.trial import Likeness, Trial
from agentic_flywheel.routing.words import words
from agentic_flywheel.tracing.text import redact

Kind = Literal["add_examples", "move_examples", "drop_examples", "add_keyword", "drop_keyword"]

#: Most examples that one draft adds to a place of a flow: those whose route is least certain.
_MOST_EXAMPLES = 12
_LONGEST_EXAMPLE = 300
#: Probability of the right flow from which a question is not added as an example: it would change little.
_SURE = 0.8
#: Likeness, 0..1, above which two questions count as the same example.
_ALIKE = 0.9
#: Minimum number of questions that contain a new keyword; minimum share, 0..1, of the texts with this word that belong
#: to the flow; most new keywords of one flow.
_KEYWORD_QUESTIONS, _KEYWORD_SHARE, _MOST_KEYWORDS = 3, 0.95, 3
_SHORTEST_KEYWORD = 3
#: Lowest frequency rank of a keyword: the commonest words of the language are not keywords.
_COMMONEST = 2700
#: Minimum number of wrongly routed questions before a text is removed.
_ASTRAY = 2
#: Probability of an example's own flow, by the rest of the catalog, below which one wrongly routed question is enough
#: to remove it.
_FOREIGN = 0.2


class Draft(Model):
    """A change that may help, with the questions that suggest it."""

    kind: Kind
    flow: str
    #: The keyword or topic that it concerns, and the flow to which examples move.
    subject: str
    changes: tuple[TextChange, ...]
    #: The reason in a sentence, and the questions that suggest it.
    why: str
    questions: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """Identifies the draft: drafts with the same key from other questions are the same proposal."""
        return self.kind, self.flow, self.subject

    @property
    def removes(self) -> bool:
        """Whether it only removes texts."""
        return not any(change.add for change in self.changes)

    def limited_to(self, other: Draft) -> tuple[TextChange, ...]:
        """Return its changes without the texts that the other draft does not change."""
        theirs = {(each.flow, each.place, text) for each in other.changes for text in (*each.add, *each.drop)}

        def shared(change: TextChange, texts: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(text for text in texts if (change.flow, change.place, text) in theirs)

        return tuple(
            change.model_copy(update={"add": shared(change, change.add), "drop": shared(change, change.drop)})
            for change in self.changes
        )


def propose(seen: Sequence[RoutedLabel], trial: Trial, likeness: Likeness) -> list[Draft]:
    """Return every draft that these labelled questions suggest."""
    return [
        *_new_examples(seen, trial, likeness),
        *_misleading_examples(seen, trial),
        *_new_keywords(seen, trial),
        *_misleading_keywords(seen, trial),
    ]


def _new_examples(seen: Sequence[RoutedLabel], trial: Trial, likeness: Likeness) -> Iterator[Draft]:
    known = {same_question(sample.text) for sample in trial.corpus.samples}
    by_place: dict[tuple[str, str], list[RoutedLabel]] = defaultdict(list)
    for each in seen:
        right = each.label.right
        if right is None or (each.right and each.chance >= _SURE) or same_question(each.label.question) in known:
            continue
        if is_example(each.label.question):
            by_place[right, trial.place(each.label.question, right) or EXAMPLES].append(each)
    for (flow, place), found in by_place.items():
        chosen: list[str] = []
        for each in sorted(found, key=lambda each: each.chance):
            question = each.label.question
            if len(chosen) < _MOST_EXAMPLES and not any(
                likeness.between([question], [other])[0, 0] > _ALIKE for other in chosen
            ):
                chosen.append(question)
        astray = sum(not each.right for each in found)
        where = "its examples" if place == EXAMPLES else f"the topic {place}"
        told = _counted(len(found), "question")
        why = f"belonging to {flow}: {told}, of which {astray} went elsewhere; new in {where}: {len(chosen)}"
        yield Draft(
            kind="add_examples",
            flow=flow,
            subject=place,
            changes=(TextChange(flow=flow, place=place, add=tuple(chosen)),),
            why=why,
            questions=tuple(chosen),
        )


def is_example(question: str) -> bool:
    """Return whether a question may become an example: it is short, and contains no secret and no e-mail address."""
    return len(question) <= _LONGEST_EXAMPLE and redact(question) == question


def _misleading_examples(seen: Sequence[RoutedLabel], trial: Trial) -> Iterator[Draft]:
    """Yield drafts that remove examples which led to wrong routes, or move them where the right flow is known."""
    astray: dict[Sample, list[RoutedLabel]] = defaultdict(list)
    helped: Counter[Sample] = Counter()
    for each in seen:
        for sample in each.leading:
            if each.label.agrees(each.decision.likeliest):
                helped[sample] += 1
            else:
                astray[sample].append(each)
    foreign = {sample for sample, said, chance in trial.left_out if chance < _FOREIGN and said != trial.flow_of(sample)}
    places: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in trial.corpus.samples:
        if sample.asked:
            places[place_of(sample, trial)].append(sample)
    for (flow, place), samples in places.items():
        led = {each.label.question: each for sample in samples for each in astray[sample]}
        if place != EXAMPLES and len(led) > _ASTRAY and sum(helped[sample] for sample in samples) * 2 < len(led):
            groups = {_where_to(list(led.values())): samples}
        else:
            groups = defaultdict(list)
            for sample in samples:
                enough = 1 if sample in foreign else _ASTRAY
                if len(astray[sample]) >= enough and helped[sample] * 2 < len(astray[sample]):
                    groups[_where_to(astray[sample])].append(sample)
        for target, chosen in groups.items():
            questions = dict.fromkeys(each.label.question for sample in chosen for each in astray[sample])
            # A topic that moves as a whole keeps its name. Single examples join the examples of the other flow.
            known = target and place in trial.catalog.flows[target].topics
            there = place if known or len(chosen) == len(samples) else EXAMPLES
            yield _without((flow, place), (target, there), [sample.text for sample in chosen], list(questions))


def _without(source: tuple[str, str], aim: tuple[str, str], texts: Sequence[str], questions: Sequence[str]) -> Draft:
    (flow, place), (target, there) = source, aim
    where = "" if place == EXAMPLES else f" of its topic {place}"
    why = f"{_counted(len(texts), 'example')}{where} led {_counted(len(questions), 'question')} to {flow} wrongly"
    changes = [TextChange(flow=flow, place=place, drop=tuple(texts))]
    if target:
        changes.append(TextChange(flow=target, place=there, add=tuple(texts)))
        why += f"; most of them belong to {target}"
    return Draft(
        kind="move_examples" if target else "drop_examples",
        flow=flow,
        subject=f"{place} → {target}" if target else place,
        changes=tuple(changes),
        why=why,
        questions=tuple(questions),
    )


def _where_to(found: Sequence[RoutedLabel]) -> str:
    """Return the right flow of at least two thirds of these questions; empty where there is none."""
    rights = Counter(each.label.right for each in found)
    right, count = rights.most_common(1)[0]
    return right if right is not None and count * 3 >= len(found) * 2 else ""


def _new_keywords(seen: Sequence[RoutedLabel], trial: Trial) -> Iterator[Draft]:
    by_word: dict[str, list[RoutedLabel]] = defaultdict(list)
    for each in seen:
        for word in set(words(each.label.question)):
            if is_keyword(word):
                by_word[word].append(each)
    in_catalog = _flows_of_words(trial)
    found: dict[str, list[tuple[int, str, list[RoutedLabel]]]] = defaultdict(list)
    for word, holders in by_word.items():
        rights = Counter(each.label.right for each in holders if each.label.right is not None)
        if not rights:
            continue
        flow, count = rights.most_common(1)[0]
        if count < _KEYWORD_QUESTIONS or word in map(str.lower, trial.catalog.flows[flow].keywords):
            continue
        agreeing = count + in_catalog[word][flow]
        total = agreeing + sum(not each.label.agrees(flow) for each in holders)
        total += in_catalog[word].total() - in_catalog[word][flow]
        unsure = sum(each.label.right == flow and not (each.right and each.chance >= _SURE) for each in holders)
        if unsure and agreeing >= _KEYWORD_SHARE * total:
            found[flow].append((unsure, word, [each for each in holders if each.label.right == flow]))
    for flow, candidates in found.items():
        for unsure, word, holders in sorted(candidates, key=lambda each: (-each[0], each[1]))[:_MOST_KEYWORDS]:
            yield Draft(
                kind="add_keyword",
                flow=flow,
                subject=word,
                changes=(TextChange(flow=flow, place=KEYWORDS, add=(word,)),),
                why=f"with this word, belonging to {flow}: {_counted(len(holders), 'question')}, {unsure} not sure",
                questions=tuple(each.label.question for each in holders),
            )


def is_keyword(word: str, commonest: int = _COMMONEST) -> bool:
    """Return whether a word may be a keyword: it is not short, no number, and not among the commonest words."""
    return len(word) >= _SHORTEST_KEYWORD and not word.isdigit() and _rank(word) >= commonest


def possible_keywords(questions: Iterable[str]) -> list[str]:
    """Return every word that is in enough of these questions to become a keyword."""
    counted = Counter(word for question in questions for word in set(words(question)) if is_keyword(word))
    return [word for word, count in counted.items() if count >= _KEYWORD_QUESTIONS]


@cache
def _rank(word: str) -> int:
    rank = static_encoder(()).rank(word)
    return _COMMONEST if rank is None else rank


def _flows_of_words(trial: Trial) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in trial.corpus.samples:
        if sample.asked:
            for word in set(words(sample.text)):
                found[word][trial.flow_of(sample)] += 1
    return found


def _misleading_keywords(seen: Sequence[RoutedLabel], trial: Trial) -> Iterator[Draft]:
    spoken: dict[tuple[str, str], list[RoutedLabel]] = defaultdict(list)
    for each in seen:
        for hit in trial.keywords.hits(words(clip(each.label.question)), 1.0):
            spoken[hit.flow, hit.keyword].append(each)
    for (flow, keyword), holders in spoken.items():
        astray = [each for each in holders if not each.label.agrees(flow)]
        if len(astray) < _ASTRAY or len(astray) * 2 <= len(holders):
            continue
        yield Draft(
            kind="drop_keyword",
            flow=flow,
            subject=keyword,
            changes=(TextChange(flow=flow, place=KEYWORDS, drop=(keyword,)),),
            why=f"with this keyword: {_counted(len(holders), 'question')}, {len(astray)} of them not for {flow}",
            questions=tuple(each.label.question for each in astray),
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def changes_of(drafts: Iterable[Draft]) -> list[TextChange]:
    """Return the changes of several drafts."""
    return [change for draft in drafts for change in draft.changes]
