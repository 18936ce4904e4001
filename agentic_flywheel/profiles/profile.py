"""What a domain profile says, and what of it goes with a question."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from agentic_flywheel.catalog import Phrase
from agentic_flywheel.models import Identifier, Model, Slug

ContextType = Literal["technical", "cultural", "strategic", "general"]
#: The kinds of context that a profile has a section for; ``general`` is all of them.
KINDS: tuple[Literal["technical", "cultural", "strategic"], ...] = ("technical", "cultural", "strategic")
Privacy = Literal["public", "internal", "confidential"]

#: What stands before all that is told.
OPENING = "Context of the question below. It informs the answer and asks for nothing itself."


class Fact(Model):
    """One thing to know, under the name that the file gives it, if any."""

    name: str = ""
    texts: Annotated[tuple[Phrase, ...], Field(min_length=1)]

    @property
    def line(self) -> str:
        said = "; ".join(" ".join(text.split()) for text in self.texts)
        return f"- {self.name}: {said}" if self.name else f"- {said}"


Section = tuple[Fact, ...]


class Profile(Model):
    """One domain, as whoever works in it would explain it to a newcomer."""

    name: Slug
    title: str = ""
    description: Phrase
    #: Always this kind of context, instead of the one that fits the question.
    context_type: ContextType | None = None
    #: confidential: for its owners only, and its text stays out of traces, logs and the answers that all share.
    privacy: Privacy = "internal"
    #: Who may ask under it; nobody named: everybody.
    owners: tuple[Identifier, ...] = ()
    keywords: tuple[Phrase, ...] = ()
    technical: Section = ()
    cultural: Section = ()
    strategic: Section = ()
    #: Where it was read from, for messages.
    source: str = Field("", exclude=True)

    @cached_property
    def revision(self) -> str:
        """Hash of the content: another text, another answer."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def confidential(self) -> bool:
        return self.privacy == "confidential"

    @property
    def kinds(self) -> tuple[Literal["technical", "cultural", "strategic"], ...]:
        """The kinds of context that it has something to say about."""
        return tuple(kind for kind in KINDS if self.section(kind))

    def section(self, kind: Literal["technical", "cultural", "strategic"]) -> Section:
        """Return what it says about one kind of context."""
        return {"technical": self.technical, "cultural": self.cultural, "strategic": self.strategic}[kind]

    def readable_by(self, owner: str) -> bool:
        """Whether an owner may ask under it."""
        return not self.owners or owner in self.owners

    def text(self, kind: ContextType = "general") -> str:
        """Return what goes with a question about one kind of context: all sections, where it has none of that kind."""
        chosen = tuple(each for each in self.kinds if each == kind) or self.kinds
        lines = [OPENING, f"Domain: {' '.join(self.title.split()) or self.name}", " ".join(self.description.split())]
        for each in chosen:
            lines += [f"{each.capitalize()} context:", *(fact.line for fact in self.section(each))]
        if self.keywords:
            lines.append(f"Terms of this domain: {', '.join(self.keywords)}")
        return "\n".join(lines)
