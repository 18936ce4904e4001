"""A real local HTTP server that takes traces as Langfuse does, keeps the tree, and can fail in every way a server does.

It decodes OTLP with the generated protobuf classes and serves what the langfuse SDK needs to read traces and scores
back. Runs in a thread of its own; processes of a test reach it by ``url`` and the keys.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from aiohttp import web
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

PUBLIC_KEY, SECRET_KEY = "pk-lf-test", "sk-lf-test"
TYPES = frozenset({"span", "generation", "event", "embedding", "agent", "tool", "chain", "retriever", "guardrail"})

Failure = Literal["slow", "hanging", "status", "reset", "malformed", "web_page"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    trace_id: str
    span_id: str
    parent: str | None
    name: str
    start: int
    end: int
    is_error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: tuple[str, ...]
    arrived: float

    def attribute(self, name: str) -> Any:
        return self.attributes.get(f"langfuse.observation.{name}")


@dataclass
class Fault:
    """How the server fails until told otherwise; ``times`` counts down where it is to mend itself."""

    kind: Failure
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 5.0
    times: float = float("inf")


class LangfuseServer:
    """``with LangfuseServer() as server``; then ``server.url``, ``server.spans``, ``server.fail(...)``."""

    def __init__(self, *, port: int = 0) -> None:
        self.port = port
        self.spans: dict[tuple[str, str], Span] = {}
        self.duplicates: list[tuple[str, str]] = []
        self.problems: list[str] = []
        self.scores: dict[str, dict[str, Any]] = {}
        #: Items of datasets, as Langfuse returns them; what is not given has a default.
        self.datasets: dict[str, list[dict[str, Any]]] = {}
        self.requests: Counter[str] = Counter()
        self.largest_request = 0
        #: More spans in one request than this are refused with 413, as is a larger body than ``max_bytes``.
        self.max_spans = 1_000_000
        self.max_bytes = 4_500_000
        #: Spans of these names are left out and reported as rejected.
        self.rejected_names: set[str] = set()
        #: Seconds until what has arrived can be read, as with the real one.
        self.lag = 0.0
        #: What it says its version is.
        self.version = "4.60.0"
        #: Whether spans arrive unseen: counted only, for benchmarks.
        self.count_only = False
        self.received = 0
        self._fault: Fault | None = None
        self._loop = asyncio.new_event_loop()
        self._stopped: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="langfuse", daemon=True)

    # Life

    def __enter__(self) -> LangfuseServer:
        self._thread.start()
        assert self._ready.wait(10), "the Langfuse server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away; connections break."""
        if self._thread.is_alive():
            assert self._stopped is not None
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        self._stopped = asyncio.Event()
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, Any]:
        """What a process needs to trace to here: variables, to be given as keyword arguments too."""
        return {
            "LANGFUSE_BASE_URL": self.url,
            "LANGFUSE_PUBLIC_KEY": PUBLIC_KEY,
            "LANGFUSE_SECRET_KEY": SECRET_KEY,
        }

    # Faults

    def fail(
        self,
        kind: Failure,
        *,
        status: int = 500,
        headers: dict[str, str] | None = None,
        delay: float = 5.0,
        times: float = float("inf"),
    ) -> None:
        self._fault = Fault(kind, status, headers or {}, delay, times)

    def mend(self) -> None:
        self._fault = None

    @contextmanager
    def failing(self, kind: Failure, **how: Any) -> Iterator[None]:
        self.fail(kind, **how)
        try:
            yield
        finally:
            self.mend()

    # What arrived

    def trace(self, trace_id: str) -> list[Span]:
        return sorted((each for each in list(self.spans.values()) if each.trace_id == trace_id), key=lambda s: s.start)

    def roots(self) -> list[Span]:
        return [each for each in list(self.spans.values()) if each.parent is None]

    def orphans(self) -> list[Span]:
        """Spans whose parent never arrived."""
        known = dict(self.spans)
        return [each for each in known.values() if each.parent and (each.trace_id, each.parent) not in known]

    # The application

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 2**20)
        app.add_routes(
            [
                web.post("/api/public/otel/v1/traces", self._take_traces),
                web.post("/v1/traces", self._take_traces),
                web.post("/api/public/scores", self._take_scores),
                web.get("/api/public/v2/observations", self._observations),
                web.get("/api/public/v3/scores", self._read_scores),
                web.get("/api/public/dataset-items", self._dataset_items),
                web.get("/api/public/health", self._health),
                web.get("/api/public/projects", self._projects),
            ]
        )
        return app

    @property
    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests[request.path] += 1
            failed = await self._failure(request)
            if failed is not None:
                return failed
            open_to_all = request.path == "/api/public/health"
            if not open_to_all and not _authorized(request.headers.get("Authorization", "")):
                return web.json_response({"message": "Invalid credentials", "error": "UnauthorizedError"}, status=401)
            return await handler(request)

        return guard

    async def _failure(self, request: web.Request) -> web.StreamResponse | None:
        fault = self._fault
        if fault is None:
            return None
        fault.times -= 1
        if fault.times <= 0:
            self.mend()
        if fault.kind == "slow":
            await asyncio.sleep(fault.delay)
            return None
        if fault.kind == "hanging":
            assert self._stopped is not None
            await self._stopped.wait()
        if fault.kind == "web_page":
            return web.Response(text="<html>Please log in</html>", content_type="text/html")
        if fault.kind == "status":
            body = {"message": "fault", "error": "Fault"}
            return web.json_response(body, status=fault.status, headers=fault.headers)
        assert request.transport is not None
        if fault.kind == "malformed":
            request.transport.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        request.transport.close()
        return web.Response(status=500)

    async def _take_traces(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.largest_request = max(self.largest_request, len(body))
        if "application/x-protobuf" not in request.headers.get("Content-Type", ""):
            return web.json_response({"error": "Invalid content type"}, status=400)
        try:
            message = ExportTraceServiceRequest.FromString(body)
        except DecodeError as why:
            return web.json_response({"error": f"Failed to parse OTel {why}"}, status=400)
        count = sum(len(scope.spans) for each in message.resource_spans for scope in each.scope_spans)
        if count > self.max_spans or len(body) > self.max_bytes:
            return web.json_response({"error": "Payload too large"}, status=413)
        self.received += count
        answer = ExportTraceServiceResponse()
        if not self.count_only:
            answer.partial_success.rejected_spans = self._keep(message)
        return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")

    def _keep(self, message: ExportTraceServiceRequest) -> int:
        rejected = 0
        for each in message.resource_spans:
            resource = _plain(each.resource.attributes)
            for span in itertools.chain.from_iterable(scope.spans for scope in each.scope_spans):
                if span.name in self.rejected_names:
                    rejected += 1
                    continue
                seen = Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent=span.parent_span_id.hex() or None,
                    name=span.name,
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    is_error=span.status.code == 2,
                    attributes=_plain(span.attributes),
                    resource=resource,
                    links=tuple(link.trace_id.hex() for link in span.links),
                    arrived=time.monotonic(),
                )
                if len(span.trace_id) != 16 or len(span.span_id) != 8 or len(span.parent_span_id) not in (0, 8):
                    self.problems.append(f"ids of {seen}")
                if not 0 < seen.start <= seen.end:
                    self.problems.append(f"times of {seen}")
                if seen.attribute("type") not in TYPES:
                    self.problems.append(f"type of {seen}")
                key = seen.trace_id, seen.span_id
                if key in self.spans:
                    self.duplicates.append(key)
                self.spans[key] = seen
        return rejected

    async def _take_scores(self, request: web.Request) -> web.Response:
        given = await request.json()
        for score in given if isinstance(given, list) else [given]:
            if "name" not in score or "value" not in score or "id" not in score:
                return web.json_response({"message": "Invalid request data", "error": []}, status=400)
            self.scores[score["id"]] = score
        if isinstance(given, list):
            return web.json_response({"accepted": len(given)}, status=202)
        return web.json_response({"id": given["id"]})

    async def _projects(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "test", "name": "test", "metadata": {}}]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "OK", "version": self.version})

    async def _observations(self, request: web.Request) -> web.Response:
        arrived = time.monotonic() - self.lag
        found = [_observation(span) for span in list(self.spans.values()) if span.arrived <= arrived]
        asked = dict(request.query)
        conditions = json.loads(asked["filter"]) if "filter" in asked else _conditions(asked)
        found = [each for each in found if all(_holds(condition, each) for condition in conditions)]
        found.sort(key=lambda each: str(each["startTime"]), reverse=True)
        return _page(found, asked)

    async def _dataset_items(self, request: web.Request) -> web.Response:
        name, page, limit = request.query["datasetName"], int(request.query["page"]), int(request.query["limit"])
        found = [_dataset_item(name, number, each) for number, each in enumerate(self.datasets.get(name, []))]
        pages = -(-len(found) // limit)
        meta = {"page": page, "limit": limit, "totalItems": len(found), "totalPages": pages}
        return web.json_response({"data": found[(page - 1) * limit : page * limit], "meta": meta})

    async def _read_scores(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        traces = asked["traceId"].split(",") if "traceId" in asked else None
        found = [
            _score(score)
            for score in list(self.scores.values())
            if (traces is None or score.get("traceId") in traces)
            and asked.get("name", score["name"]) == score["name"]
            and asked.get("dataType", score["dataType"]) == score["dataType"]
            and float(asked.get("valueMin", "-inf")) <= _number(score["value"]) <= float(asked.get("valueMax", "inf"))
        ]
        return _page(found, asked)


def _authorized(header: str) -> bool:
    expected = base64.b64encode(f"{PUBLIC_KEY}:{SECRET_KEY}".encode()).decode()
    return header == f"Basic {expected}"


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _observation(span: Span) -> dict[str, Any]:
    given = span.attributes
    prefix = "langfuse.observation.metadata."
    usage, first = span.attribute("usage_details"), span.attribute("completion_start_time")
    return {
        "id": span.span_id,
        "traceId": span.trace_id,
        "projectId": "project",
        "startTime": _iso(span.start),
        "endTime": _iso(span.end),
        "parentObservationId": span.parent,
        "isRootObservation": span.parent is None,
        "type": str(span.attribute("type")).upper(),
        "name": span.name,
        "level": span.attribute("level") or "DEFAULT",
        "statusMessage": span.attribute("status_message"),
        "environment": given.get("langfuse.environment", "default"),
        "userId": given.get("user.id"),
        "sessionId": given.get("session.id"),
        "completionStartTime": json.loads(first) if first else None,
        "input": span.attribute("input"),
        "output": span.attribute("output"),
        "metadata": {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)},
        "model": span.attribute("model.name"),
        "usageDetails": json.loads(usage) if usage else {},
        "tags": given.get("langfuse.trace.tags", []),
        "release": given.get("langfuse.release"),
        "traceName": given.get("langfuse.trace.name"),
    }


def _conditions(asked: dict[str, str]) -> list[dict[str, Any]]:
    columns = ("traceId", "sessionId", "userId", "name", "type", "level", "isRootObservation")
    found: list[dict[str, Any]] = [
        {"column": column, "operator": "=", "value": asked[column]} for column in columns if column in asked
    ]
    if "fromStartTime" in asked:
        found.append({"column": "startTime", "operator": ">=", "value": asked["fromStartTime"]})
    if "toStartTime" in asked:
        found.append({"column": "startTime", "operator": "<", "value": asked["toStartTime"]})
    return found


def _holds(condition: dict[str, Any], observation: dict[str, Any]) -> bool:
    has, wanted = observation.get(condition["column"]), condition["value"]
    if condition["column"] == "metadata":
        has = has.get(condition["key"]) if isinstance(has, dict) else None
    if condition["column"] == "startTime":
        has, wanted = datetime.fromisoformat(str(has)), datetime.fromisoformat(wanted)
    match condition["operator"]:
        case "=":
            return has is not None and str(has).lower() == str(wanted).lower()
        case "starts with":
            return has is not None and str(has).startswith(str(wanted))
        case "matches" | "contains":
            return has is not None and str(wanted).lower() in str(has).lower()
        case "any of":
            values = has if isinstance(has, list) else [has]
            return any(each in wanted for each in values)
        case "all of":
            return isinstance(has, list) and all(each in has for each in wanted)
        case ">=":
            return bool(has is not None and has >= wanted)
        case "<":
            return bool(has is not None and has < wanted)
        case operator:
            raise web.HTTPBadRequest(text=f"operator {operator}")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _score(score: dict[str, Any]) -> dict[str, Any]:
    moment = score.get("timestamp", "2026-01-01T00:00:00Z")
    boolean = score["dataType"] == "BOOLEAN"
    return {
        **{name: score[name] for name in ("id", "name", "dataType")},
        "value": bool(score["value"]) if boolean else score["value"],
        "comment": score.get("comment"),
        "projectId": "project",
        "source": "API",
        "environment": score.get("environment", "default"),
        "timestamp": moment,
        "createdAt": moment,
        "updatedAt": moment,
        "subject": {"kind": "trace", "id": score.get("traceId", "")},
    }


def _dataset_item(name: str, number: int, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"item-{number}",
        "status": "ACTIVE",
        "input": None,
        "expectedOutput": None,
        "metadata": None,
        "datasetId": name,
        "datasetName": name,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "mediaReferences": [],
        **given,
    }


def _page(found: list[dict[str, Any]], asked: dict[str, str]) -> web.Response:
    limit, at = int(asked.get("limit", 50)), int(asked.get("cursor", 0))
    meta: dict[str, Any] = {"limit": limit}
    if at + limit < len(found):
        meta["cursor"] = str(at + limit)
    return web.json_response({"data": found[at : at + limit], "meta": meta})


def main() -> None:
    """Serve until standard input closes; say the port first. Counts spans, and says at the end how many came."""
    with LangfuseServer() as server:
        server.count_only = True
        if len(sys.argv) > 1:
            server.fail(cast(Failure, sys.argv[1]))
        print(server.port, flush=True)
        sys.stdin.read()
        print(server.received, flush=True)


if __name__ == "__main__":
    main()
