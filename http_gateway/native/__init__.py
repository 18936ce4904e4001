"""The gateway's own API, under /v1: queries, batches, sessions, flows, routes and figures."""

from __future__ import annotations

import re

from fastapi import Depends

from http_gateway.native import batches, events, figures, flows, letters, queries, sessions
from http_gateway.native.parameters import only_known_parameters
from http_gateway.problems import problem_response
from http_gateway.surfaces import Surface

NATIVE = Surface(
    "native",
    ("/v1",),
    problem_response,
    events.cut,
    tuple(each.router for each in (queries, events, batches, sessions, flows, figures, letters)),
    most_body=batches.MOST_BODY,
    dependencies=(Depends(only_known_parameters),),
    takes_form=re.compile(r"/v1/queries"),
)
