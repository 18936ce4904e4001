"""The gateway's own API, under /v1: queries, batches, sessions, flows, routes and figures."""

from __future__ import annotations

from http_gateway.native import batches, events, figures, flows, letters, queries, sessions
from http_gateway.problems import problem_response
from http_gateway.surfaces import Surface

#: A batch of long questions has more bytes than one query.
_MOST_BODY = 4 * 2**20

NATIVE = Surface(
    "native",
    ("/v1",),
    problem_response,
    events.cut,
    tuple(each.router for each in (queries, events, batches, sessions, flows, figures, letters)),
    most_body=_MOST_BODY,
)
