"""Say what to do next in the words of where it is read.

Suggestions are written as commands of the command line, since it can do everything. Elsewhere a command that has a
counterpart there is told as that: a method, a request, a tool. What is left is for whoever runs the queue, and says so.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple


class Wording(enum.StrEnum):
    """Where suggestions are read in other words than on the command line."""

    PYTHON = "python"
    HTTP = "http"
    MCP = "mcp"


class Deed(NamedTuple):
    """One thing to do, as it is done in each place; '' where it cannot be done there. ``<…>`` stands for a value."""

    command: str
    python: str = ""
    http: str = ""
    mcp: str = ""

    def worded(self, wording: Wording) -> str:
        """Return how it is done there."""
        return {Wording.PYTHON: self.python, Wording.HTTP: self.http, Wording.MCP: self.mcp}[wording]


#: What errors suggest to whoever asks, and can be done in other places, too.
DEEDS = (
    Deed(
        "flywheel ask --help",
        python="help(agentic_flywheel.models.Query)",
        http="GET /openapi.json",
        mcp="tools/list",
    ),
    Deed(
        "flywheel status <query_id>",
        python='producer.status("<query_id>")',
        http="GET /v1/queries/<query_id>",
        mcp='flowise_poll {"query_id": "<query_id>"}',
    ),
    Deed("flywheel status", python="producer.recent()", http="GET /v1/queries", mcp="flowise_poll"),
    Deed(
        "flywheel wait <query_id>",
        python='producer.wait("<query_id>")',
        http="GET /v1/queries/<query_id>?wait=50",
        mcp='flowise_poll {"query_id": "<query_id>", "wait_s": 20}',
    ),
    Deed(
        "flywheel stream <query_id>",
        python='producer.stream("<query_id>")',
        http="GET /v1/queries/<query_id>/events",
        mcp='flowise_poll {"query_id": "<query_id>", "wait_s": 20}',
    ),
    Deed(
        "flywheel cancel <query_id>",
        python='producer.cancel("<query_id>")',
        http="POST /v1/queries/<query_id>/cancel",
        mcp='flowise_cancel {"query_id": "<query_id>"}',
    ),
    Deed(
        "flywheel waiting",
        python="producer.waiting()",
        http="GET /v1/queries?state=input_required",
        mcp="flowise_poll",
    ),
    Deed(
        "flywheel resume <query_id> --proceed",
        python='producer.resume("<query_id>", "proceed")',
        http='POST /v1/queries/<query_id>/resume {"decision": "proceed"}',
        mcp='flowise_resume {"query_id": "<query_id>", "decision": "proceed"}',
    ),
    Deed(
        "flywheel resume <query_id> --proceed --stop <stop>",
        python='producer.resume("<query_id>", "proceed", stop=<stop>)',
        http='POST /v1/queries/<query_id>/resume {"decision": "proceed", "stop": <stop>}',
        mcp='flowise_resume {"query_id": "<query_id>", "decision": "proceed", "stop": <stop>}',
    ),
    Deed("flywheel dead-letters list", http="GET /v1/dead-letters"),
    Deed("flywheel dead-letters retry <query_id>", http="POST /v1/dead-letters/<query_id>/retry"),
    Deed("flywheel sessions list", http="GET /v1/sessions", mcp="flowise_session_info"),
    Deed("flywheel flows list", python="producer.catalog.active", http="GET /v1/flows", mcp="flowise_list_flows"),
    Deed("flywheel health", http="GET /v1/health", mcp="flowise_flow_health"),
)

FOR_OPERATOR = "For whoever runs the queue: "
_VALUE = re.compile(r"<(\w+)>")
_COMMAND = re.compile(r"(Run )?`(flywheel [^`]+)`")
_VERBS = {Wording.PYTHON: "Call ", Wording.HTTP: "Send ", Wording.MCP: "Call "}
#: The command of each deed, with its values as groups.
_PATTERNS = [(re.compile(_VALUE.sub(r"(?P<\1>\\S+)", re.escape(each.command))), each) for each in DEEDS]


def worded(wording: Wording, suggestions: Iterable[str]) -> tuple[str, ...]:
    """Return suggestions in other words: first what their reader can do, then what whoever runs the queue can."""
    told = [_told(wording, each) for each in suggestions]
    return tuple(sorted(told, key=lambda each: each.startswith(FOR_OPERATOR)))


def _told(wording: Wording, suggestion: str) -> str:
    told = _COMMAND.sub(lambda found: _call(wording, found), suggestion)
    # In Python the command line is at hand, too.
    if wording is Wording.PYTHON or "whoever" in told or not _COMMAND.search(told):
        return told
    return FOR_OPERATOR + told


def _call(wording: Wording, found: re.Match[str]) -> str:
    for pattern, deed in _PATTERNS:
        given = pattern.fullmatch(found[2])
        if given is not None and (call := deed.worded(wording)):
            for name, value in given.groupdict().items():
                call = call.replace(f"<{name}>", value)
            return f"{_VERBS[wording] if found[1] else ''}`{call}`"
    return found[0]
