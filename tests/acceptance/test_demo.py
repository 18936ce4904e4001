"""The demonstration: six questions through everything, and nothing left behind."""

from __future__ import annotations

import base64
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from agentic_flywheel.registry import load_catalog
from producer.cli.demo import questions

from .conftest import Flywheel, environment, finish, start, survivors


def test_the_demo_answers_six_questions_and_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "home"
    outcome = finish(start(["demo", "--exit", "--json"], environment(home), tmp_path), within=90)

    assert outcome.code == 0, outcome.err
    shown = outcome.objects
    assert [each["domain"] for each in shown[:3]] == ["creative", "technical", "documents"]
    assert all(each["band"] == "high" and not each["cached"] for each in shown[:3])
    again = shown[3]
    assert again["question"] in [each["question"] for each in shown[:3]]
    assert again["cached"]
    unsure, several = shown[4:]
    assert unsure["band"] != "high"
    assert unsure["explanation"]
    assert sorted(several["domains"]) == ["documents", "technical"]
    assert all(domain in several["text"] for domain in several["domains"])
    assert all(each["text"] and each["query_id"] and each["flow"] and each["elapsed_ms"] > 0 for each in shown)
    assert survivors(home) == []


def test_ctrl_c_ends_the_staying_demo_and_leaves_nothing_running(tmp_path: Path) -> None:
    home = tmp_path / "home"
    demo = start(["demo"], environment(home), tmp_path)
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if credentials := re.match(r"flower +(\S+) +user (\S+), password (\S+)", line):
            break
    else:
        pytest.fail(f"no Flower address:\n{said}\n{finish(demo).err}")

    url, user, password = credentials.groups()
    assert len(survivors(home)) >= 5
    assert _status(url) == 401
    assert _status(url, f"{user}:{password}") == 200
    listed = finish(start(["flows", "list", "--json"], environment(home), tmp_path)).objects
    demo.send_signal(signal.SIGINT)
    outcome = finish(demo)

    assert outcome.code == 0, outcome.err
    assert said.count(" yes ") == 1, "one answer came from the cache"
    assert "documents" in said
    assert {each["domain"]: each["backend"] for each in listed} == {
        "creative": "flowise",
        "technical": "openai",
        "documents": "flowise",
    }
    assert re.search(r"^Models +http://127\.0\.0\.1:\d+/v1 ", outcome.err, re.MULTILINE)
    assert survivors(home) == []


def test_beside_a_running_stack_the_demo_uses_it(flywheel: Flywheel) -> None:
    outcome = flywheel("demo", "--exit", "--json")

    assert outcome.code == 0
    assert len(outcome.objects) == 6
    assert "already" in outcome.err


def test_another_registry_is_shown_with_its_own_examples(tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    registry.write_text(
        "operational_flows:\n"
        "  kitchen: {id: one, domain: cooking, examples: [How long do I boil an egg?]}\n"
        "  garage: {id: two, domain: cars, topics: {oil: [Which oil does my car need?]}}\n"
    )
    asked = [question.text for question in questions(load_catalog(registry))]

    assert asked[:3] == ["How long do I boil an egg?", "Which oil does my car need?", "How long do I boil an egg?"]
    assert asked[-1] == "How long do I boil an egg, and Which oil does my car need?"


def _status(url: str, credentials: str = "") -> int:
    request = urllib.request.Request(f"{url}/workers")
    if credentials:
        request.add_header("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        return refused.code
