"""What the classifier learns from: every text of the catalog that says what a flow is for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import regex  # type: ignore[import-untyped]

from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.routing.words import SIGNED, words

Kind = Literal["example", "topic", "name", "description", "keyword"]

#: A description is cut here: beyond it a text says less and less about what users ask.
_LONGEST_TEXT = 600
#: More texts than this are thinned: the work of a fit grows with their number's cube.
_MOST_TEXTS = 3000
#: Characters of a text that are quoted.
_QUOTED = 80
#: A mark belongs to its letter (हिन्दी), and a joiner to its word (می‌شود).
_SAID = regex.compile(rf"{SIGNED}|[\p{{L}}\p{{N}}\p{{M}}\u200c\u200d]+")


@dataclass(frozen=True)
class Intent:
    """What a question can be about: a flow, or one topic of it."""

    flow: str
    topic: str | None = None


@dataclass(frozen=True)
class Sample:
    """One text of the catalog and the intent (by number) that it speaks for."""

    text: str
    intent: int
    kind: Kind

    @property
    def asked(self) -> bool:
        """Whether it is what a user would ask, and not what the flow is called or described with."""
        return self.kind in ("example", "topic")

    @cached_property
    def quoted(self) -> str:
        """The text as reasons quote it: its beginning, on one line."""
        flat = " ".join(self.text.split())
        return f'"{flat}"' if len(flat) <= _QUOTED else f'"{flat[: _QUOTED - 1]}…"'


@dataclass(frozen=True)
class Corpus:
    """All samples of a catalog, with the intents they speak for."""

    intents: tuple[Intent, ...]
    samples: tuple[Sample, ...]
    #: Keywords per flow, as their words.
    keywords: dict[str, tuple[str, ...]]

    @property
    def digest(self) -> str:
        """Hash of everything that a fit reads; a change of a TTL or a time-out leaves it as it is."""
        seen = hashlib.sha256()
        for intent in self.intents:
            seen.update(repr((intent.flow, intent.topic)).encode())
        for sample in self.samples:
            seen.update(repr((sample.text, sample.intent, sample.kind)).encode())
        seen.update(repr(sorted(self.keywords.items())).encode())
        return seen.hexdigest()[:16]


def corpus_of(catalog: Catalog) -> Corpus:
    """Collect the samples of all flows that a classification may choose."""
    intents: list[Intent] = []
    samples: list[Sample] = []
    for flow in catalog.routable.values():
        for intent, texts in _intents_of(flow):
            # A text without words (an emoji) is as much like any question; of what has no other, one keeps the place.
            telling = [told for told in texts if words(told[0])] or texts[:1]
            samples.extend(Sample(text, len(intents), kind) for text, kind in telling)
            intents.append(intent)
    keywords = {key: tuple(word for word in flow.keywords if word.strip()) for key, flow in catalog.routable.items()}
    return Corpus(tuple(intents), tuple(_thinned(samples, len(intents))), keywords)


def _thinned(samples: list[Sample], intents: int) -> list[Sample]:
    """Return at most about _MOST_TEXTS samples; intents with many give up some, evenly over their order."""
    if len(samples) <= _MOST_TEXTS:
        return samples
    each = max(2, _MOST_TEXTS // intents)
    by_intent: dict[int, list[Sample]] = {}
    for sample in samples:
        by_intent.setdefault(sample.intent, []).append(sample)
    return [
        own[at * len(own) // each] if len(own) > each else own[at]
        for own in by_intent.values()
        for at in range(min(each, len(own)))
    ]


def _intents_of(flow: Flow) -> Iterator[tuple[Intent, list[tuple[str, Kind]]]]:
    texts: list[tuple[str, Kind]] = [(text, "example") for text in flow.examples if text.strip()]
    texts += [(plain(flow.name or flow.key), "name")]
    about = " ".join(part.strip() for part in (flow.description, flow.purpose) if part.strip())
    if about:
        texts.append((about[:_LONGEST_TEXT], "description"))
    texts += [(plain(word), "keyword") for word in flow.keywords if word.strip()]
    yield Intent(flow.key), texts
    for topic, examples in flow.topics.items():
        told: list[tuple[str, Kind]] = [(text, "topic") for text in examples if text.strip()]
        yield Intent(flow.key, topic), [(plain(topic), "name"), *told]


def plain(name: str) -> str:
    """Return a name such as ``reset_password`` as the words a person would say."""
    return " ".join(_SAID.findall(name.lower())) or name
