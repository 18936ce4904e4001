"""Templates of profiles: for each kind of context, when it is needed, what to write, and a file to fill in."""

from __future__ import annotations

import json

from agentic_flywheel.models import Model
from agentic_flywheel.profiles.profile import ContextType, Privacy


class Template(Model):
    """What to write about a domain for one kind of context."""

    context_type: ContextType
    when: str
    tell: tuple[str, ...]


TEMPLATES: dict[ContextType, Template] = {
    each.context_type: each
    for each in (
        Template(
            context_type="technical",
            when="The answer depends on how something is built or run.",
            tell=(
                "languages, frameworks, services, with versions",
                "constraints: load, budget, rules, data that must not leave",
                "conventions: style, tests, review",
                "what was tried, and why it was given up",
            ),
        ),
        Template(
            context_type="cultural",
            when="The answer depends on who is spoken to, and on their ways and words.",
            tell=(
                "people, language, place",
                "what is honoured, and what is to be avoided",
                "tone: formal or familiar, long or short",
                "who must be asked before something is said or shown",
            ),
        ),
        Template(
            context_type="strategic",
            when="The answer is a choice with long effects.",
            tell=(
                "the outcome that is wanted",
                "where things stand now, in numbers",
                "who decides, by when, and what is ruled out",
                "rivals, partners, risks",
            ),
        ),
        Template(
            context_type="general",
            when="All of these, or none of them in particular.",
            tell=(
                "description: what a newcomer must know",
                "keywords: the domain's own words, which steer the routing",
            ),
        ),
    )
}

_HEAD = """\
# What a flow must know of this domain. Every key is explained in docs/profiles.md; `flywheel profiles show {name}`
# prints what a flow is told. Running workers take a change over by themselves.

title: {title}
description: {description}

# public, internal, or confidential: for its owners only, and its text stays out of traces, logs and the shared cache.
privacy: {privacy}
# Who may ask under it; nobody named: everybody.
owners: [{owners}]

# The domain's own words: they lean the routing towards the flow that they fit.
keywords: []
"""

_SECTIONS: dict[ContextType, str] = {
    "technical": """
technical:
  answers: Name versions and say what you assume about the environment.
  # stack: [Python 3.12, PostgreSQL 16, Kubernetes]
  # constraints: Card data never leaves the vault service.
  # conventions: [Money is an integer of cents, Every migration can be rolled back]
  # tried: A message broker per team; given up, nobody could operate them all.
""",
    "cultural": """
cultural:
  answers: Use the words that people use for themselves, and say when somebody should be asked first.
  # people: Visitors from the valley, half of them over sixty, many with Italian as first language.
  # honoured: [The founders by name, Silence in the chapel]
  # avoided: [Jokes about the dialect, The old street names]
  # tone: Warm and short. First names only where people offered them.
""",
    "strategic": """
strategic:
  answers: Name the options that were left out, and what would change the recommendation.
  # outcome: Two thousand members by 2028, half of them under forty.
  # position: 1,240 members, 8 % leave each year; one paid post.
  # decides: The board, quarterly. Debt is ruled out.
  # rivals: The city's own programme is free since 2025.
""",
}


def new_profile(
    name: str, kind: ContextType, *, title: str = "", description: str = "", privacy: Privacy, owner: str
) -> str:
    """Return the text of a new profile's file. It is valid, with comments where the domain's own facts belong.

    Where it is confidential, ``owner`` becomes its owner.
    """
    named = title or name.replace("-", " ").replace("_", " ").capitalize()
    head = _HEAD.format(
        name=name,
        title=_quoted(named),
        description=_quoted(description or f"The domain {named}."),
        privacy=privacy,
        owners=_quoted(owner) if privacy == "confidential" else "",
    )
    kinds = [kind] if kind != "general" else list(_SECTIONS)
    return head + "".join(_SECTIONS[each] for each in kinds)


def _quoted(text: str) -> str:
    # Every JSON string is a YAML string.
    return json.dumps(text, ensure_ascii=False)
