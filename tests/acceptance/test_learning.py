"""Score, reroute, learn, lint, and what another registry would change: each as its command."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentic_flywheel.registry import bundled_registry

from .conftest import TECHNICAL, Flywheel, RunningStack

QUESTIONS = """
Write a haiku about the rain

Why is the query slow?
How long do I boil an egg?
"""
#: Small, so that it is fitted at once.
REGISTRY = """
operational_flows:
  poetry:
    id: a
    examples: [write a haiku about the snow, compose an ode to the sea, a sonnet for her, find a rhyme with orange]
  code:
    id: b
    examples: [profile the python script, why is this query slow, fix the bug in the loop, which index do I need]
  documents:
    id: c
    examples: [summarise the annual report, what does the contract say, quote the clause on liability, cut the paper]
"""
KITCHEN = (
    "  kitchen:\n    id: k\n    examples: [how do I boil rice, how long do I fry an egg, bake a cake, peel a potato]\n"
)


@pytest.fixture
def small_registry(apart: Path) -> Path:
    """The registry in force, in a folder where fits are kept."""
    (apart / "home").mkdir()
    path = apart / ".agentic_flywheel" / "flow-registry.yaml"
    path.parent.mkdir()
    path.write_text(REGISTRY)
    return path


def test_a_wrong_route_is_corrected_and_learned_from(flywheel: Flywheel) -> None:
    asked = flywheel("ask", "What colour is the database of my dreams?", "--flow", "document-qa", "--json").object
    rerouted = flywheel("reroute", asked["query_id"], "--flow", "creative-orientation", "--json").object
    flywheel("score", asked["query_id"], "2")
    shown = flywheel("reroute", asked["query_id"], "--flow", "technical-analysis").out
    again = flywheel("reroute", rerouted["query_id"], "--flow", "creative-orientation")
    nowhere = flywheel("reroute", asked["query_id"], "--flow", "nowhere", "--json")
    learned = flywheel("learn", "--json").objects
    told = flywheel("learn").out

    assert (rerouted["reroute_of"], rerouted["flow"]) == (asked["query_id"], "creative-orientation")
    assert "technical-analysis (technical)" in shown
    assert again.code == 2
    assert (nowhere.code, nowhere.object["error_type"]) == (2, "UnknownFlow")
    assert learned[0]["kind"] == "summary"
    assert learned[0]["labelled"] >= 1
    assert learned[0]["after"]["labelled_accuracy"] >= learned[0]["before"]["labelled_accuracy"]
    assert "judged" in told


def test_without_a_broker_learning_says_so(bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    assert bare_flywheel("learn", "--json").code == 3


def test_lint_names_file_and_line_and_ends_with_one_for_a_problem(bare_flywheel: Flywheel, apart: Path) -> None:
    registry = apart / ".agentic_flywheel" / "flow-registry.yaml"
    registry.parent.mkdir()
    registry.write_text(
        "operational_flows:\n  login:\n    id: a\n    examples:\n      - forgot my password\n      - my login fails\n"
        "      - reset the password\n  poetry:\n    id: b\n    examples:\n      - write a sonnet\n"
        "      - a haiku about snow\n      - Reset the password\n"
    )
    told = bare_flywheel("flows", "lint")
    summary, *findings = bare_flywheel("flows", "lint", "--json").objects
    registry.write_text(bundled_registry().read_text())
    clean = bare_flywheel("flows", "lint", "--json")

    assert told.code == 1
    assert f'{registry}:7: login: "reset the password" is an example of login and of poetry' in told.out
    assert not summary["ok"]
    assert summary["problems"] == sum(each["level"] == "problem" for each in findings) > 0
    assert ("contradiction", 7) in [(each["kind"], each["line"]) for each in findings]
    assert (clean.code, clean.objects[0]["ok"]) == (0, True)


def test_overrides_that_flowise_ignores_are_among_the_findings(stack: RunningStack, flywheel: Flywheel) -> None:
    stack.behave(TECHNICAL, overrides=False)
    kinds = {each.get("kind") for each in flywheel("flows", "lint", "--json").objects}

    assert "ignored_override" in kinds


def test_a_route_is_explained_to_its_parts_and_rivals(bare_flywheel: Flywheel, small_registry: Path) -> None:
    question = "Profiel the python scrpt and summarise the annual report"
    told = bare_flywheel("route", question, "--explain", "--json").object["explanation"]
    shown = bare_flywheel("route", question, "--explain").out

    assert told["read_as"].startswith("profile the python script")
    assert [part["text"] for part in told["parts"]][1] == "summarise the annual report"
    assert {"code", "documents"} <= {each["flow"] for each in told["rivals"]}
    assert "log-odds" in shown


def test_many_questions_are_routed_and_two_registries_compared(bare_flywheel: Flywheel, small_registry: Path) -> None:
    questions, registry = small_registry.with_name("questions.txt"), small_registry.with_name("new.yaml")
    questions.write_text(QUESTIONS)
    registry.write_text(REGISTRY + KITCHEN)
    compared = ("route", "--file", str(questions), "--registry", str(registry), "--compare")

    routed = bare_flywheel("route", "--file", str(questions), "--json").objects
    summary, *moved = bare_flywheel(*compared, "--json").objects
    shown = bare_flywheel(*compared).out

    assert [each["flows"] for each in routed][:2] == [["poetry"], ["code"]]
    assert summary == {"questions": 3, "moved": 1}
    assert moved[0]["question"] == "How long do I boil an egg?"
    assert moved[0]["to"]["flows"] == ["kitchen"]
    assert 0 < moved[0]["from"]["confidence"] <= 1
    assert "1 of 3 questions" in shown


def test_questions_are_routed_from_a_file_as_a_replay_reads_it(
    bare_flywheel: Flywheel, small_registry: Path, apart: Path
) -> None:
    (apart / "q.csv").write_text("id;question\n1;Write me a poem\n2;Profile the python script\n")
    (apart / "bad.csv").write_text("id;question\n1;Write me a poem\n2;\n")
    (apart / "q.txt").write_bytes("Write me a poem\u2028please\nProfile it\n".encode())
    (apart / "bad.txt").write_bytes("Schön\nGrün\n".encode() + b"Oh\xf9?\n")

    routed = bare_flywheel("route", "--file", "q.csv", "--json").objects
    refused = [bare_flywheel("route", "--file", name, "--json").object for name in ("bad.csv", "bad.txt")]

    assert [each["question"] for each in routed] == ["Write me a poem", "Profile the python script"]
    assert [each["details"]["reason"] for each in refused] == [
        "bad.csv cannot be read: line 3: question: it is missing",
        "bad.txt cannot be read: line 3: it holds bytes that are no text in this file's encoding",
    ]
    assert [each["question"] for each in bare_flywheel("route", "--file", "q.txt", "--json").objects] == [
        "Write me a poem\u2028please",
        "Profile it",
    ]


def test_questions_to_route_may_come_from_stdin(bare_flywheel: Flywheel, small_registry: Path) -> None:
    routed = bare_flywheel("route", "--file", "-", "--json", stdin="id;question\n1;Write me a poem\n")

    assert routed.object["question"] == "Write me a poem"
    assert "stdin has a semicolon between its columns" in routed.err
    assert bare_flywheel("route", "--file", "-", stdin="").code == 2


def test_questions_to_route_are_read_in_the_encoding_that_is_told(
    bare_flywheel: Flywheel, small_registry: Path, apart: Path
) -> None:
    (apart / "q.txt").write_bytes("Schreib ein Gedicht für Zoë\n".encode("cp1252"))
    (apart / "frage.csv").write_bytes("Frage\nschön?\n".encode("cp1252"))
    (apart / "q.csv").write_bytes("question\nカタカナ\n".encode("shift_jis"))
    (apart / "marked.txt").write_text("Write me a poem\n", encoding="utf-16")

    routed = {
        name: bare_flywheel("route", "--file", name, "--encoding", told, "--json").object["question"]
        for name, told in (("q.txt", "windows-1252"), ("q.csv", "shift_jis"))
    }
    marked = bare_flywheel("route", "--file", "marked.txt", "--json").object
    refused = bare_flywheel("route", "--file", "q.txt", "--encoding", "klingon", "--json").object

    assert routed == {"q.txt": "Schreib ein Gedicht für Zoë", "q.csv": "カタカナ"}
    named = bare_flywheel("route", "--file", "frage.csv", "--column", "Frage", "--json")
    assert marked["question"] == "Write me a poem"
    assert named.object["question"] == "schön?"
    assert "frage.csv is not UTF-8 (first in line 2); read as windows-1252" in named.err
    assert "there is no encoding 'klingon'" in refused["error"]
    assert bare_flywheel("route", "Why?", "--encoding", "utf-8").code == 2


def test_a_comparison_needs_something_to_compare(bare_flywheel: Flywheel, small_registry: Path, apart: Path) -> None:
    (apart / "empty.txt").write_text("\n")

    assert bare_flywheel("route").code == 2
    assert bare_flywheel("route", "Why?", "--compare").code == 2
    assert bare_flywheel("route", "--file", "empty.txt").code == 2
    assert bare_flywheel("route", "--file", "nowhere.txt", "--json").object["error_type"] == "InvalidQuery"
    assert bare_flywheel("route", "Why?", "--registry", "nowhere.yaml").code == 2
