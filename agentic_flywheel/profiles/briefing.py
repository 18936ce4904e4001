"""What one question is given of its domain, and a digest that tells it from others."""

from __future__ import annotations

import hashlib

from agentic_flywheel.models import Model, Query
from agentic_flywheel.profiles.detection import context_type_of
from agentic_flywheel.profiles.profile import OPENING, ContextType, Profile


class Briefing(Model):
    """The text for one question."""

    #: None where the query itself brings all that is told.
    profile: str | None
    kind: ContextType
    text: str
    confidential: bool = False
    #: Differs where another text, or for a confidential profile another owner, would get another answer.
    digest: str


def briefing(profile: Profile | None, query: Query) -> Briefing | None:
    """Return what a query is given: its profile, its own context, both, or None.

    The kind of context is the query's, else the profile's, else the question's.
    """
    if profile is None:
        return _own(query.context, query.context_type or "general") if query.context is not None else None
    kind = query.context_type or profile.context_type or context_type_of(query.question)
    text, parts = profile.text(kind), [profile.revision, kind]
    if profile.confidential:
        parts.append(query.user)
    if query.context is not None:
        text = f"{text}\nFor this question:\n{query.context}"
        parts.append(_digest(query.context))
    return Briefing(
        profile=profile.name, kind=kind, text=text, confidential=profile.confidential, digest=":".join(parts)
    )


def leaning(profile: Profile | None, query: Query) -> tuple[str, ...]:
    """Return the words beside the question that lean its route."""
    words = () if profile is None else profile.keywords
    return words if query.context is None else (*words, query.context)


def _own(context: str, kind: ContextType) -> Briefing:
    return Briefing(profile=None, kind=kind, text=f"{OPENING}\n{context}", digest=f"{kind}:{_digest(context)}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
