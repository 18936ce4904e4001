"""What of a profile goes with a question, and how it reaches the flow. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentic_flywheel.broker.persistence import generate_cache_key
from agentic_flywheel.broker.sessions import flowise_session
from agentic_flywheel.catalog import Flow
from agentic_flywheel.models import Query, Turn
from agentic_flywheel.profiles import (
    Briefing,
    Profile,
    briefing,
    context_type_of,
    injected,
    leaning,
    read_profile,
)
from profiles.house import PAYMENTS, VAULT
from workers.context import compose

FLOW = Flow(key="f", id="f", domain="f")


@pytest.fixture
def payments(tmp_path: Path) -> Profile:
    (tmp_path / "payments.yaml").write_text(PAYMENTS)
    return read_profile(tmp_path / "payments.yaml")


@pytest.fixture
def vault(tmp_path: Path) -> Profile:
    (tmp_path / "vault.yaml").write_text(VAULT)
    return read_profile(tmp_path / "vault.yaml")


def asked(**fields: object) -> Query:
    return Query.model_validate({"question": "Which index does this query need?", "owner": "alice", **fields})


def told(profile: Profile | None, **fields: object) -> Briefing:
    given = briefing(profile, asked(**fields))
    assert given is not None
    return given


def turn(number: int, *, private_to: str | None = None, flow: str = "f", remembered: bool = True) -> Turn:
    return Turn(
        query_id=f"q{number}",
        question=f"question {number}",
        answer=f"answer {number}",
        flow=flow,
        domain="f",
        remembered=remembered,
        private_to=private_to,
        at=datetime.now(UTC),
    )


# None of these is among the examples that the kinds are recognised by.
@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How do I add an index to the payments table?", "technical"),
        ("Why does the kafka consumer lag?", "technical"),
        ("Write a Terraform module for the bucket", "technical"),
        ("Is the tone of this letter too formal for young people?", "cultural"),
        ("May we show photographs of ceremonies?", "cultural"),
        ("Which holidays matter to our colleagues in India?", "cultural"),
        ("What is the biggest risk to our plan for 2027?", "strategic"),
        ("Which segment should we focus on first?", "strategic"),
        ("How do we position ourselves against a cheaper offer?", "strategic"),
        ("Tell me more about it", "general"),
        ("Hello", "general"),
        ("What is the capital of Peru?", "general"),
    ],
)
def test_the_kind_of_context_is_the_question_s(question: str, kind: str) -> None:
    assert context_type_of(question) == kind


def test_a_technical_question_gets_the_technical_section_and_a_general_one_all(payments: Profile) -> None:
    technical, general = told(payments), told(payments, question="Tell me more about it")

    assert (technical.kind, general.kind) == ("technical", "general")
    assert "Technical context:\n- Stack: Python 3.12; PostgreSQL 16" in technical.text
    assert "Portugal" not in technical.text
    assert "Portugal" in general.text
    for each in (technical, general):
        assert "Card and account-to-account payments" in each.text
        assert "settlement" in each.text
    assert technical.digest != general.digest


def test_a_kind_without_a_section_brings_all_of_them(payments: Profile) -> None:
    text = told(payments, context_type="cultural").text

    assert "PostgreSQL" in text
    assert "Portugal" in text


def test_the_query_s_kind_goes_before_the_profile_s_and_that_before_the_question_s(payments: Profile) -> None:
    fixed = payments.model_copy(update={"context_type": "strategic"})

    assert told(fixed).kind == "strategic"
    assert told(fixed, context_type="technical").kind == "technical"


def test_a_confidential_profile_s_answers_are_one_owner_s_and_others_are_shared(
    payments: Profile, vault: Profile
) -> None:
    assert told(payments).digest == told(payments, owner="bella").digest
    assert told(vault).digest != told(vault, owner="bella").digest


def test_a_question_may_bring_a_context_of_its_own_alone_or_beside_a_profile(payments: Profile) -> None:
    alone, both = told(None, context="We run SQLite."), told(payments, context="We run SQLite.")

    assert briefing(None, asked()) is None
    assert (alone.profile, alone.kind, alone.confidential) == (None, "general", False)
    assert alone.text.endswith("\nWe run SQLite.")
    assert "PostgreSQL 16" in both.text
    assert both.text.endswith("For this question:\nWe run SQLite.")
    assert len({alone.digest, both.digest, told(payments).digest, told(None, context="We run MySQL.").digest}) == 4
    assert leaning(payments, asked(context="SQLite")) == (*payments.keywords, "SQLite")
    assert leaning(None, asked()) == ()


def test_prepended_the_profile_stands_before_the_question(payments: Profile) -> None:
    question, carried = injected("prepend", told(payments), "What now?", {"systemMessage": "Be brief."})

    assert question == f"{told(payments).text}\n\nWhat now?"
    assert carried == {}


def test_as_system_message_it_follows_the_one_that_is_set(payments: Profile) -> None:
    text = told(payments).text

    assert injected("system", told(payments), "What now?", {}) == ("What now?", {"systemMessage": text})
    _, carried = injected("system", told(payments), "What now?", {"systemMessage": "Be brief."})
    assert carried == {"systemMessage": f"Be brief.\n\n{text}"}


def test_as_variables_it_leaves_those_that_are_set(payments: Profile) -> None:
    _, carried = injected("vars", told(payments), "What now?", {"vars": {"tone": "warm", "profile": "mine"}})

    assert carried == {
        "vars": {
            "profile": "mine",
            "profile_context": told(payments).text,
            "profile_context_type": "technical",
            "tone": "warm",
        }
    }


@pytest.mark.parametrize("how", ["prepend", "system", "vars"])
def test_what_is_recorded_of_a_context_never_holds_the_profile(vault: Profile, how: str) -> None:
    flow = FLOW.model_copy(update={"injection": how, "config": {"temperature": 0.1}})

    context = compose(asked(), flow, [], told(vault))

    assert context.private
    assert context.config == {"temperature": 0.1}
    assert vault.technical[0].texts[0] in f"{context.question} {context.carried}"


def test_the_cache_key_knows_the_profile_its_revision_and_its_kind(payments: Profile, vault: Profile) -> None:
    changed = payments.model_copy(update={"description": "Another one."})
    contexts = [
        compose(asked(), FLOW, []),
        compose(asked(), FLOW, [], told(payments)),
        compose(asked(), FLOW, [], told(changed)),
        compose(asked(), FLOW, [], told(payments, context_type="strategic")),
        compose(asked(), FLOW, [], told(vault)),
        compose(asked(), FLOW, [], told(vault, owner="bella")),
    ]

    assert contexts[0].digest == ""
    assert len({generate_cache_key("x", FLOW, context=each.digest) for each in contexts}) == len(contexts)


def test_what_was_said_under_a_confidential_profile_is_told_under_that_one_only(
    payments: Profile, vault: Profile
) -> None:
    flow = FLOW.model_copy(update={"memory": "history"})
    turns = [turn(1), turn(2, private_to="vault"), turn(3), turn(4, private_to="another")]

    def heard(profile: Profile | None) -> list[str]:
        context = compose(asked(session_id="s"), flow, turns, None if profile is None else told(profile))
        return [message.content for message in context.history if message.role == "userMessage"]

    assert heard(None) == heard(payments) == ["question 1", "question 3"]
    assert heard(vault) == ["question 1", "question 2", "question 3"]


def test_the_last_turns_are_those_that_may_be_told() -> None:
    flow = FLOW.model_copy(update={"memory": "history", "history_turns": 5})
    turns = [*(turn(number) for number in range(6)), *(turn(10 + number, private_to="vault") for number in range(6))]

    context = compose(asked(session_id="s"), flow, turns)

    assert [message.content for message in context.history[::2]] == [f"question {number}" for number in range(1, 6)]
    assert context.left_out == 1


def test_flowise_remembers_a_confidential_conversation_apart(vault: Profile) -> None:
    query, private = asked(session_id="s"), told(vault)

    first = compose(query, FLOW, [], private, life="a")
    second = compose(query, FLOW, [turn(1, private_to="vault")], private, life="a")
    mixed = compose(query, FLOW, [turn(1), turn(2, private_to="vault")], private, life="a")
    after = compose(query, FLOW, [turn(1, private_to="vault")], life="a")

    assert first.session_id == second.session_id == flowise_session("a", "vault")
    assert mixed.session_id is None
    assert len(mixed.history) == 4
    assert (after.session_id, after.history) == (flowise_session("a", None), ())
    # Flowise may know turns of that session that are not among these: such an answer is nobody else's.
    assert after.digest not in ("", first.digest, second.digest)
