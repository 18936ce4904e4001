"""``flywheel profiles``: from a template to a session that carries the profile."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from acceptance.conftest import Flywheel, RunningStack
from producer.cli.exits import Exit

DOMAINS = Path(".agentic_flywheel") / "domains"


@pytest.mark.parametrize("template", ["technical", "cultural", "strategic", "general"])
def test_a_profile_from_a_template_can_be_used_as_it_is(bare_flywheel: Flywheel, template: str) -> None:
    hostile = 'cards: # & "accounts" \' {x} %s\n- not: yaml'

    made = bare_flywheel("profiles", "new", "acme", "--template", template, "--description", hostile, "--json").object
    shown = bare_flywheel("profiles", "show", "acme", "--json").object

    assert (made["description"], made["privacy"], made["owners"]) == (hostile, "internal", [])
    assert made["revision"] == shown["revision"]
    sections = [kind for kind in ("technical", "cultural", "strategic") if made[kind]]
    assert sections == (["technical", "cultural", "strategic"] if template == "general" else [template])


def test_a_new_profile_never_takes_the_place_of_one_that_is_there(bare_flywheel: Flywheel, apart: Path) -> None:
    bare_flywheel("profiles", "new", "acme", "--template", "technical")
    path = apart / DOMAINS / "acme.yaml"
    path.write_text(path.read_text() + "cultural: Ours.\n")

    again = bare_flywheel("profiles", "new", "acme", "--template", "strategic")

    assert again.code == 2
    assert "Traceback" not in again.err
    assert path.read_text().endswith("cultural: Ours.\n")


def test_a_confidential_profile_is_its_maker_s_alone(bare_flywheel: Flywheel, apart: Path) -> None:
    bare_flywheel("profiles", "new", "vault", "--privacy", "confidential", "--owner", "ada")

    assert (apart / DOMAINS / "vault.yaml").stat().st_mode & 0o077 == 0
    assert bare_flywheel("profiles", "show", "vault", "--owner", "ada").code == 0
    refused = bare_flywheel("profiles", "show", "vault", "--json")
    assert refused.object["error_type"] == "UnknownProfile"
    assert bare_flywheel("profiles", "list", "--json").out == ""


def test_the_list_says_what_is_wrong_with_a_file_and_where(bare_flywheel: Flywheel, apart: Path) -> None:
    bare_flywheel("profiles", "new", "acme", "--template", "technical")
    (apart / DOMAINS / "bad.yaml").write_text("description: d\ntechnical: x\nprivacy: secret\n")

    listed = bare_flywheel("profiles", "list")

    assert "acme" in listed.out
    assert "bad.yaml:3: privacy: should be public, internal or confidential" in listed.out
    assert listed.err == ""


def test_show_says_what_a_question_would_be_told(bare_flywheel: Flywheel) -> None:
    bare_flywheel("profiles", "new", "acme")

    told = bare_flywheel("profiles", "show", "acme", "--for", "Should we enter the Spanish market?", "--json").object

    assert told["kind"] == "strategic"
    assert "Strategic context:" in told["text"]
    assert "Technical context:" not in told["text"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("new", "two words"),
        ("new", "x", "--template", "social"),
        ("new", "x", "--privacy", "secret"),
        ("show", "x", "--as", "social"),
        ("show", "x", "--as", "general", "--for", "Why?"),
        ("use", "--session", "s"),
        ("use", "x", "--none", "--session", "s"),
        ("use", "x"),
    ],
)
def test_what_is_not_acceptable_is_said_in_a_line(bare_flywheel: Flywheel, arguments: tuple[str, ...]) -> None:
    outcome = bare_flywheel("profiles", *arguments)

    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_a_session_carries_a_profile_through_the_running_stack(
    flywheel: Flywheel, stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the stack was started: its workers read profiles there.
    monkeypatch.chdir(stack.home.parent)
    flywheel("profiles", "new", "shop", "--template", "technical", "--description", "A shop for used bicycles.")

    used = flywheel("profiles", "use", "shop", "--session", "of-the-shop", "--json").object
    carried = flywheel("ask", "How should the API page results?", "--session", "of-the-shop", "--json").object
    named = flywheel("ask", "How should the API page its results?", "--profile", "shop", "--json").object
    given = flywheel("ask", "And in winter?", "--profile", "shop", "--context", "social", "--json")
    submitted = flywheel("submit", "How should the API sort results?", "--profile", "nowhere", "--json")
    route = flywheel("route", "And how does it sort?", "--session", "of-the-shop", "--json").object
    dropped = flywheel("profiles", "use", "--none", "--session", "of-the-shop", "--json").object

    assert (used["profile"], dropped["profile"]) == ("shop", None)
    assert (carried["profile"], named["profile"]) == ("shop", "shop")
    assert (given.code, given.object["error_type"]) == (2, "InvalidQuery")
    assert submitted.code == 2
    assert submitted.object["error_type"] == "UnknownProfile"
    assert route["targets"]


def test_a_profile_for_which_there_is_no_room_leaves_no_half_of_it(bare_flywheel: Flywheel, apart: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        outcome = bare_flywheel("profiles", "new", "cooking")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert outcome.code == Exit.FAILED
    assert "cooking.yaml: File too large" in outcome.err
    assert bare_flywheel("profiles", "new", "cooking").code == 0
