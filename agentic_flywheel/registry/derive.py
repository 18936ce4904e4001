"""What an entry leaves unsaid: its domain, its TTL and whether it takes questions, from what it does say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from agentic_flywheel.catalog import DEFAULT_TTL


class Kind(NamedTuple):
    """A kind of question whose words are unmistakable."""

    name: str
    ttl: timedelta
    words: frozenset[str]


CREATIVE = Kind(
    "creative",
    timedelta(days=30),
    frozenset(
        {
            "creative",
            "creativity",
            "create",
            "story",
            "stories",
            "storytelling",
            "narrative",
            "poem",
            "poetry",
            "writing",
            "writer",
        }
    ),
)
TECHNICAL = Kind(
    "technical",
    timedelta(days=7),
    frozenset(
        {
            "technical",
            "tech",
            "code",
            "coding",
            "programming",
            "software",
            "debug",
            "debugging",
            "developer",
            "devops",
            "engineering",
        }
    ),
)
DOCUMENTS = Kind(
    "documents",
    timedelta(days=1),
    frozenset({"document", "documents", "documentation", "docs", "doc", "docstore", "pdf", "rag", "retrieval"}),
)
#: Sets a TTL only: strategy is asked of flows of every domain.
STRATEGIC = Kind("strategic", timedelta(days=30), frozenset({"strategic", "strategy", "strategies"}))

_DOMAINS = (CREATIVE, TECHNICAL, DOCUMENTS)

#: The intents that the older format knew by name, without a flow of that key.
OLD_INTENTS: Mapping[str, str] = {
    "creative-orientation": CREATIVE.name,
    "technical-analysis": TECHNICAL.name,
    "document-qa": DOCUMENTS.name,
}

#: A flow of this status takes no questions, whatever its `active` says.
SHELVED = frozenset({"archive", "archived", "deprecated", "disabled", "inactive", "retired"})
#: A flow of this status takes questions only if its `active` says so.
UNFINISHED = frozenset({"conceptual", "draft", "planned", "testing"})

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


def domain_for(key: str, purpose: str) -> str:
    """Return the domain for a flow without one: creative, technical or documents where clear, else the key's slug."""
    kind = _only_kind(key, _DOMAINS) or _only_kind(purpose, _DOMAINS)
    return kind.name if kind else slug(key)


def ttl_for(domain: str, key: str, purpose: str) -> timedelta:
    """Return how long the answers of a flow that names no TTL are kept."""
    kinds = (*_DOMAINS, STRATEGIC)
    kind = _only_kind(domain, kinds) or _only_kind(key, kinds) or _only_kind(purpose, kinds)
    return kind.ttl if kind else DEFAULT_TTL


def takes_questions(active: Any, status: Any) -> bool:
    """Return whether a flow is active, from its ``active`` (a truth, or None where left out) and its ``status``."""
    state = str(status or "").strip().lower()
    if state in SHELVED:
        return False
    if active is None:
        return state not in UNFINISHED
    return bool(active)


def slug(text: str) -> str:
    """Return the text as a name that is safe everywhere, empty where nothing of it is: `Café` gives `cafe`."""
    letters = [each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each)]
    return _NOT_SLUG.sub("-", "".join(letters)).strip("-")[:128]


def _only_kind(text: str, kinds: tuple[Kind, ...]) -> Kind | None:
    words = {word.lower() for word in _WORD.findall(text)}
    found = [kind for kind in kinds if words & kind.words]
    return found[0] if len(found) == 1 else None
