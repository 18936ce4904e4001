"""``flywheel up`` serves HTTP, and says where."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from agentic_flywheel.stack import StackInfo

from .conftest import Flywheel, RunningStack


def told(stack: RunningStack, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{stack.info.api_url}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        found: dict[str, Any] = json.load(response)
    return found


def test_a_question_is_answered_over_http_and_found_on_the_command_line(
    stack: RunningStack, flywheel: Flywheel
) -> None:
    asked = told(stack, "/v1/queries?wait=50", {"question": "Write a poem about the northern lights"})
    found = flywheel("status", asked["query_id"], "--json").object

    assert asked["state"] == "succeeded"
    assert (found["query_id"], found["query"]["client"]) == (asked["query_id"], "http")
    assert told(stack, "/readyz") == {"status": "ready", "broker": "up", "workers": "living"}


def test_a_gateway_that_has_ended_is_named_by_the_doctor(stack: RunningStack, flywheel: Flywheel) -> None:
    def line() -> dict[str, str]:
        checks = flywheel("doctor", "--json").object["checks"]
        return next(each for each in checks if each["name"] == "gateway")

    well, state = line(), stack.home / "up.json"
    before = state.read_text()
    info = StackInfo.model_validate_json(before)
    state.write_text(info.model_copy(update={"api_url": "http://127.0.0.1:9"}).model_dump_json())
    try:
        ended = line()
    finally:
        state.write_text(before)

    assert (well["state"], well["found"]) == ("ok", stack.info.api_url)
    assert ended["state"] == "warning"
