"""The gateway's own API, under /v1: queries, batches, sessions, flows, routes and figures."""

from __future__ import annotations

from http_gateway.native import events, queries
from http_gateway.problems import problem_response
from http_gateway.surfaces import Surface

NATIVE = Surface("native", ("/v1",), problem_response, (queries.router, events.router))
