"""The profiles in ``examples/``: complete, and told as they are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentic_flywheel.models import Query
from agentic_flywheel.profiles import KINDS, ProfileWatch, briefing

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "domains"


def test_there_are_two_and_neither_is_refused() -> None:
    watch = ProfileWatch(EXAMPLES)

    assert watch.faults() == []
    assert [(each.name, each.privacy) for each in watch.readable("local")] == [
        ("payments-platform", "confidential"),
        ("river-museum", "public"),
    ]
    assert [each.name for each in watch.readable("somebody")] == ["river-museum"]


@pytest.mark.parametrize("name", ["payments-platform", "river-museum"])
def test_each_is_complete(name: str) -> None:
    profile = ProfileWatch(EXAMPLES).get(name, "local")

    assert profile.kinds == KINDS
    assert all(len(profile.section(kind)) >= 5 for kind in KINDS)
    assert len(profile.keywords) >= 5


@pytest.mark.parametrize(
    ("name", "question", "kind"),
    [
        ("payments-platform", "How do I make the payout endpoint idempotent?", "technical"),
        ("payments-platform", "Should we stay with the acquirer whose price will rise?", "strategic"),
        ("river-museum", "How do we word the invitation so that the elders feel honoured?", "cultural"),
        ("river-museum", "What are the risks of the plan for 2030?", "strategic"),
        ("river-museum", "How do we update the software of the kiosks?", "technical"),
    ],
)
def test_a_question_gets_the_section_that_it_is_about(name: str, question: str, kind: str) -> None:
    told = briefing(ProfileWatch(EXAMPLES).get(name, "local"), Query(question=question))

    assert told is not None
    assert told.kind == kind
    assert [each for each in KINDS if f"{each.capitalize()} context:" in told.text] == [kind]
