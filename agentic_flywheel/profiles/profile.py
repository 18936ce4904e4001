"""The domain profile, and the text that it adds to a question."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from agentic_flywheel.catalog import Phrase
from agentic_flywheel.models import Identifier, Model, Slug

ContextType = Literal["technical", "cultural", "strategic", "general"]
#: The kinds of context for which a profile has a section. The kind ``general`` means all of them.
KINDS: tuple[Literal["technical", "cultural", "strategic"], ...] = ("technical", "cultural", "strategic")
Privacy = Literal["public", "internal", "confidential"]

#: First line of every briefing.
OPENING = "Context of the question below. It informs the answer and asks for nothing itself."


class Fact(Model):
    """One fact about a domain: texts under one name. The name is empty where the file gives none."""

    name: str = ""
    texts: Annotated[tuple[Phrase, ...], Field(min_length=1)]

    @property
    def line(self) -> str:
        said = "; ".join(" ".join(text.split()) for text in self.texts)
        return f"- {self.name}: {said}" if self.name else f"- {said}"


Section = tuple[Fact, ...]


class Profile(Model):
    """What a flow must know of one domain, as somebody who works there would explain it to a newcomer."""

    name: Slug
    title: str = ""
    description: Phrase
    #: The kind of context for every question; None: the kind is detected for each question.
    context_type: ContextType | None = None
    #: ``confidential``: only owners may use it, and its text is never in traces, logs or answers shared with others.
    privacy: Privacy = "internal"
    #: The users who may use it; empty: everybody may.
    owners: tuple[Identifier, ...] = ()
    keywords: tuple[Phrase, ...] = ()
    technical: Section = ()
    cultural: Section = ()
    strategic: Section = ()
    #: The file from which it was read, for messages.
    source: str = Field("", exclude=True)

    @cached_property
    def revision(self) -> str:
        """Hash of the content. It is part of the cache key, so that a changed profile gets new answers."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def confidential(self) -> bool:
        return self.privacy == "confidential"

    @property
    def kinds(self) -> tuple[Literal["technical", "cultural", "strategic"], ...]:
        """The kinds of context for which it has a section that is not empty."""
        return tuple(kind for kind in KINDS if self.section(kind))

    def section(self, kind: Literal["technical", "cultural", "strategic"]) -> Section:
        """Return the section for one kind of context."""
        return {"technical": self.technical, "cultural": self.cultural, "strategic": self.strategic}[kind]

    def readable_by(self, owner: str) -> bool:
        """Whether an owner may use it."""
        return not self.owners or owner in self.owners

    def text(self, kind: ContextType = "general") -> str:
        """Return the text for a question of one kind of context. Without a section of that kind, all are used."""
        chosen = tuple(each for each in self.kinds if each == kind) or self.kinds
        lines = [OPENING, f"Domain: {' '.join(self.title.split()) or self.name}", " ".join(self.description.split())]
        for each in chosen:
            lines += [f"{each.capitalize()} context:", *(fact.line for fact in self.section(each))]
        if self.keywords:
            lines.append(f"Terms of this domain: {', '.join(self.keywords)}")
        return "\n".join(lines)
