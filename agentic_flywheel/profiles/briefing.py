"""What one question is given of a profile: the kind of context that fits it, and a digest that tells it from others."""

from __future__ import annotations

from agentic_flywheel.models import Model, Query
from agentic_flywheel.profiles.detection import context_type_of
from agentic_flywheel.profiles.profile import ContextType, Profile


class Briefing(Model):
    """A profile's text for one question."""

    profile: str
    kind: ContextType
    text: str
    confidential: bool
    #: Differs where another text, or for a confidential profile another owner, would get another answer.
    digest: str


def briefing(profile: Profile, query: Query) -> Briefing:
    """Return what a query is given. The kind of context is the query's, else the profile's, else the question's."""
    kind = query.context_type or profile.context_type or context_type_of(query.question)
    parts = [profile.revision, kind, *([query.user] if profile.confidential else [])]
    return Briefing(
        profile=profile.name,
        kind=kind,
        text=profile.text(kind),
        confidential=profile.confidential,
        digest=":".join(parts),
    )
