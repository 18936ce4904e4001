"""Every image that is named was looked up, and the versions of what works together are new enough for each other."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from processes import REPOSITORY
from shipping.compose_file import COMPOSE

from agentic_flywheel.broker.versions import OLDEST_SERVER
from agentic_flywheel.tracing.archive import OLDEST_LANGFUSE

DEPLOY = REPOSITORY / "deploy"
LIST = json.loads((DEPLOY / "images.json").read_text())
IMAGES: dict[str, dict[str, Any]] = {each["image"]: each for each in LIST["images"]}
#: Built here.
OURS = "agentic-flywheel"


def named() -> dict[str, set[str]]:
    """Return every image that compose.yaml and the Dockerfile name, with the tags and digests that they name it by."""
    dockerfile = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    found: dict[str, set[str]] = {}
    for reference in [*re.findall(r"^\s+image: (\S+)", COMPOSE.read_text(), re.MULTILINE), *dockerfile]:
        name, _, rest = reference.partition(":")
        if name != OURS:
            found.setdefault(name, set()).add(rest)
    return found


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return found


def test_every_image_is_in_the_list_with_its_tag_and_digest_and_the_other_way_round() -> None:
    listed = {name: {each["tag"] + (f"@{each['digest']}" if each["digest"] else "")} for name, each in IMAGES.items()}

    assert named() == listed


def test_the_list_says_when_and_where_each_was_looked_up() -> None:
    assert date.fromisoformat(LIST["looked_up"]) >= date(2026, 11, 30)
    for name, each in IMAGES.items():
        assert len(each["seen"]) > 15, name
        # What moves has no digest that stays true; what does not move is pinned.
        assert bool(each["digest"]) is not each["moves"], name
        assert each["digest"] is None or re.fullmatch(r"sha256:[0-9a-f]{64}", each["digest"]), name


@pytest.mark.parametrize("name", LIST["minimums"])
def test_a_server_is_as_new_as_what_uses_it_needs(name: str) -> None:
    needed, provided = Version(LIST["minimums"][name]["version"]), Version(IMAGES[name]["provides"])

    # A tag such as 4 moves within its major version: it is new enough if that one has what is needed.
    assert provided >= Version(".".join(map(str, needed.release[: len(provided.release)])))
    assert IMAGES[name]["tag"].startswith(IMAGES[name]["provides"].split(".")[0])


def test_servers_and_the_sdk_that_reads_them_have_the_minimums_of_the_list() -> None:
    (sdk,) = (Requirement(each) for each in project()["optional-dependencies"]["langfuse"] if "langfuse" in each)

    assert LIST["minimums"]["langfuse/langfuse"]["version"] == OLDEST_LANGFUSE
    (oldest,) = (each.version for each in sdk.specifier if each.operator == ">=")
    assert f"the SDK langfuse {oldest}," in LIST["minimums"]["langfuse/langfuse"]["for"]
    assert Version(LIST["minimums"]["valkey/valkey"]["version"]).release == (OLDEST_SERVER, 0)
    assert IMAGES["langfuse/langfuse"]["tag"] == IMAGES["langfuse/langfuse-worker"]["tag"]


def test_the_image_has_a_python_that_the_project_is_tested_with() -> None:
    version = IMAGES["python"]["tag"].partition("-")[0]

    assert f"Programming Language :: Python :: {version}" in project()["classifiers"]


def test_the_image_has_every_package_of_the_wheel() -> None:
    built = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()

    assert {each for each in built["packages"] if f"COPY {each} {each}\n" not in dockerfile} == set()
