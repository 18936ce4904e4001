"""Briefings: the text about a domain that is sent with one question, and a digest of it for the cache key."""

from __future__ import annotations

import hashlib

from agentic_flywheel.models import Model, Query
from agentic_flywheel.profiles.detection import context_type_of
from agentic_flywheel.profiles.profile import OPENING, ContextType, Profile


class Briefing(Model):
    """The text about the domain that is sent with one question."""

    #: Name of the profile; None where the whole text comes from the query's ``context``.
    profile: str | None
    kind: ContextType
    text: str
    confidential: bool = False
    #: Part of the cache key: the profile's revision, the kind, a hash of the query's ``context`` and, for a
    #: confidential profile, owner and user.
    digest: str


def briefing(profile: Profile | None, query: Query) -> Briefing | None:
    """Return the briefing from a query's profile, its own context, or both; None where it has neither.

    The kind of context is the one that the query names, else the profile's, else the one detected in the question.
    """
    if profile is None:
        return _own(query.context, query.context_type or "general") if query.context is not None else None
    kind = query.context_type or profile.context_type or context_type_of(query.question)
    text, parts = profile.text(kind), [profile.revision, kind]
    if profile.confidential:
        parts.append(query.asker.name)
    if query.context is not None:
        text = f"{text}\nFor this question:\n{query.context}"
        parts.append(_digest(query.context))
    return Briefing(
        profile=profile.name, kind=kind, text=text, confidential=profile.confidential, digest=":".join(parts)
    )


def leaning(profile: Profile | None, query: Query) -> tuple[str, ...]:
    """Return the texts that are weighed beside the question when its route is chosen: keywords and own context."""
    words = () if profile is None else profile.keywords
    return words if query.context is None else (*words, query.context)


def _own(context: str, kind: ContextType) -> Briefing:
    return Briefing(profile=None, kind=kind, text=f"{OPENING}\n{context}", digest=f"{kind}:{_digest(context)}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
