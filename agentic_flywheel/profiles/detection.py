"""Detect the kind of context that a question needs: technical, cultural, strategic, or general where that is unsure.

Uses the router that classifies questions for flows, with the examples below in place of a registry's.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.profiles.profile import ContextType

if TYPE_CHECKING:
    from agentic_flywheel.routing import FittedRouter

#: Lowest probability of a kind that is believed. Below it the kind is ``general``, so that all sections are sent: too
#: much context harms less than the wrong one.
_SURE = 2 / 3
#: Most words of a question that may only refer to something said before, such as "tell me more about it".
_LEANS = 5

_EXAMPLES: dict[ContextType, dict[str, tuple[str, ...]]] = {
    "technical": {
        "building": (
            "How do I connect the service to the database?",
            "Which framework should this web application use?",
            "Write a function that parses these log files",
            "How should we structure the API for uploads?",
            "Add pagination to this endpoint",
            "Generate a migration for the new column",
            "Which data format should the sensors send?",
        ),
        "running": (
            "Why is the deployment failing?",
            "The build takes too long, what can we cache?",
            "How do we monitor memory usage in production?",
            "Which index does this slow query need?",
            "What hardware does the server need for this load?",
            "How do I rotate the certificates without downtime?",
            "Install the new version on all machines",
            "Make the website load faster on telephones",
            "Move the files to the new computer",
        ),
        "mending": (
            "Debug this stack trace",
            "Why does the test time out only on the build machine?",
            "The page renders wrong in the browser after the upgrade",
            "How can I fix the race condition in this worker?",
            "The import script rejects files with special characters",
        ),
    },
    "cultural": {
        "speaking to people": (
            "Which tone fits our readers?",
            "How do we address elderly visitors politely?",
            "Write an invitation that people from the village will feel is meant for them",
            "Is this joke appropriate for an audience in Japan?",
            "Translate the slogan so that it sounds natural in Quebec",
            "Which words should we avoid when we write about the community?",
            "How do we write so that newcomers feel welcome?",
            "How should the notice at the entrance be worded?",
            "What do we call the people in the brochure?",
        ),
        "ways and traditions": (
            "What do I need to know about greetings and gifts when I visit the family?",
            "How is this festival celebrated and what does it mean?",
            "Which symbols are sacred to them?",
            "How do we honour the elders at the opening ceremony?",
            "Who may tell this story, and who must be asked before?",
            "What does respectful mourning look like there?",
        ),
        "people together": (
            "How do we resolve the conflict between volunteers from different backgrounds?",
            "What does the team value in how it works together?",
            "Does the name mean something bad in another language?",
            "How can the exhibition represent the people whose objects it shows?",
            "What would offend our guests?",
        ),
    },
    "strategic": {
        "choosing": (
            "Should we enter the German market next year?",
            "Which of the two offers should we accept?",
            "Is it better to build this ourselves or to buy it?",
            "What are the risks of depending on one supplier?",
            "Where should we invest the remaining budget?",
            "Should we raise the price or cut the free plan?",
        ),
        "planning": (
            "What are our priorities for the next quarter?",
            "Draft a roadmap to double membership in three years",
            "How do we get from pilot project to regular funding?",
            "Which goals should the organisation set for 2030?",
            "What has to happen before we can hire ten people?",
            "Prepare the board's decision on the merger",
        ),
        "standing": (
            "Who are our competitors and what do they do better?",
            "What makes our offer different from the others?",
            "How do we convince investors?",
            "What is the long-term value of this partnership?",
            "How will the new regulation change our business?",
        ),
    },
}


def context_type_of(question: str) -> ContextType:
    """Return the kind of context that a question needs. The first call in a process takes about 0.1 s."""
    from agentic_flywheel.routing.signals import is_follow_up
    from agentic_flywheel.routing.words import words

    if len(words(question)) <= _LEANS and is_follow_up(question):
        return "general"  # its kind is that of an earlier question, which is not known here
    router = _router()
    reading = router.read(question)
    if reading.novel or reading.chances[reading.best] < _SURE:
        return "general"
    return next(kind for kind in _EXAMPLES if kind == router.flows[reading.best])


@cache
def _router() -> FittedRouter:
    from agentic_flywheel.routing import fit_router

    flows = {kind: Flow(key=kind, id=kind, domain=kind, topics=topics) for kind, topics in _EXAMPLES.items()}
    return fit_router(Catalog(flows=flows))
