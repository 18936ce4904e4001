"""What can be read without calling a tool: JSON with the moment it was true, never older than a few seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from mcp_types import Resource, ResourceTemplate

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.broker.bundles import load_bundle
from agentic_flywheel.broker.sessions import load_session
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import UnknownBatch, UnknownQuery
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.archive import Wish
from mcp_bridge.asking import Submit
from mcp_bridge.batches import view_of
from mcp_bridge.conversations import session_view, sessions_of, turn_view
from mcp_bridge.discretion import record_told
from mcp_bridge.figures import cache_metrics, flow_health
from mcp_bridge.flows import flow_list
from mcp_bridge.profiles import domain_templates
from mcp_bridge.schema import input_schema
from mcp_bridge.tool import Call
from mcp_bridge.traces import find_traces

JSON = "application/json"
SCHEME = "flowise://"

Reader = Callable[[Call], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Readable:
    """One address and what it tells."""

    name: str
    title: str
    description: str
    scope: Scope
    read: Reader

    @property
    def uri(self) -> str:
        return SCHEME + self.name

    def listed(self) -> Resource:
        """Return the resource as clients see it."""
        return Resource(uri=self.uri, name=self.name, title=self.title, description=self.description, mime_type=JSON)


async def _flows(call: Call) -> dict[str, Any]:
    return flow_list(call.producer.catalog).model_dump(mode="json", exclude_none=True)


async def _sessions(call: Call) -> dict[str, Any]:
    return (await sessions_of(call, 50)).model_dump(mode="json", exclude_none=True)


async def _config_schema(call: Call) -> dict[str, Any]:
    """The fields of a question, of a flow and of the environment. Values of settings are nobody's business here."""
    settings = [
        {"name": f"FLYWHEEL_{name.upper()}", "default": _plain(field.get_default(call_default_factory=True))}
        for name, field in Settings.model_fields.items()
    ]
    return {
        "question": input_schema(Submit),
        "flow": Flow.model_json_schema(by_alias=True),
        "settings": settings,
        "overrides": {flow.key: list(flow.config) for flow in call.producer.catalog.active.values()},
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


async def _traces(call: Call) -> dict[str, Any]:
    return (await find_traces(call, Wish(limit=20))).model_dump(mode="json", exclude_none=True)


async def _cache(call: Call) -> dict[str, Any]:
    return (await cache_metrics(call)).model_dump(mode="json", exclude_none=True)


async def _health(call: Call) -> dict[str, Any]:
    return (await flow_health(call)).model_dump(mode="json", exclude_none=True)


async def _domains(call: Call) -> dict[str, Any]:
    return domain_templates(call).model_dump(mode="json", exclude_none=True)


RESOURCES = (
    Readable("flows", "Flows", "The flows there are, what each is for, and the default one.", Scope.ASK, _flows),
    Readable("sessions", "Sessions", "Your conversations, the latest first.", Scope.READ, _sessions),
    Readable(
        "config-schema",
        "Configuration",
        "What a question, a flow and the environment may say, as JSON Schema.",
        Scope.ASK,
        _config_schema,
    ),
    Readable("traces", "Traces", "Your latest queries, running ones first, with their trace_id.", Scope.READ, _traces),
    Readable("cache-metrics", "Cache", "What the answer cache saves, per flow.", Scope.READ, _cache),
    Readable("flow-health", "Flow health", "How each flow and its queue are doing.", Scope.READ, _health),
    Readable("domain-templates", "Domains", "Templates and profiles of domain context.", Scope.ASK, _domains),
)
_BY_URI = {each.uri: each for each in RESOURCES}

TEMPLATES = (
    ResourceTemplate(
        uri_template=f"{SCHEME}query/{{id}}",
        name="query",
        title="A query",
        description="All that is known of one of your queries: state, route, answer or error, timings.",
        mime_type=JSON,
    ),
    ResourceTemplate(
        uri_template=f"{SCHEME}session/{{id}}",
        name="session",
        title="A session",
        description="One of your conversations with its turns.",
        mime_type=JSON,
    ),
    ResourceTemplate(
        uri_template=f"{SCHEME}batch/{{id}}",
        name="batch",
        title="A batch",
        description="One of your batches with all its items.",
        mime_type=JSON,
    ),
)
#: By the name of the template.
_TEMPLATE_SCOPES = {"query": Scope.ASK, "session": Scope.READ, "batch": Scope.ASK}
_TEMPLATE = re.compile(r"^flowise://(query|session|batch)/([^\s/]{1,1000})$")
_ID = re.compile(r"[0-9a-f-]{32,36}")


async def _query(call: Call, query_id: str) -> dict[str, Any]:
    record = record_told(await call.producer.status(query_id))
    shown = record.model_dump(mode="json", exclude={"query"}, exclude_none=True)
    return {**shown, "query": record.query.shown()}


async def _batch(call: Call, batch_id: str) -> dict[str, Any]:
    view = await view_of(call, await load_bundle(call.producer.batch, batch_id, asker=call.asker))
    return view.model_dump(mode="json", exclude_none=True)


async def _session(call: Call, session_id: str) -> dict[str, Any]:
    session = await load_session(call.producer.batch, session_id, asker=call.asker)
    turns = await call.producer.history(session_id)
    return {
        **session_view(session).model_dump(mode="json", exclude_none=True),
        "history": [turn_view(turn).model_dump(mode="json") for turn in turns],
    }


def scope_of_template(template: ResourceTemplate) -> Scope:
    """Return what a token needs to read what a template describes."""
    return _TEMPLATE_SCOPES[template.name]


def scope_of_uri(uri: str) -> Scope:
    """Return what a token needs to read an address; one that does not exist needs what most do."""
    if uri in _BY_URI:
        return _BY_URI[uri].scope
    match = _TEMPLATE.match(uri)
    return _TEMPLATE_SCOPES[match[1]] if match is not None else Scope.READ


async def read(call: Call, uri: str) -> dict[str, Any] | None:
    """Return what an address tells; None where it is none.

    Raises UnknownQuery, UnknownSession, UnknownBatch, InvalidQuery, BrokerUnavailable.
    """
    if (readable := _BY_URI.get(uri)) is not None:
        return await readable.read(call)
    match = _TEMPLATE.match(uri)
    if match is None:
        return None
    kind, name = match[1], unquote(match[2])
    if kind == "session":
        return await _session(call, name)
    if not _ID.fullmatch(name):
        raise UnknownQuery(name[:64]) if kind == "query" else UnknownBatch(name[:64])
    return await (_query if kind == "query" else _batch)(call, name)


def written(value: dict[str, Any]) -> str:
    """Return what is told as JSON, with the moment."""
    as_of = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"as_of": as_of, **value}, ensure_ascii=False)
