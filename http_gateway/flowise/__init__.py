"""The Flowise-compatible API, under /api/v1: what Flowise's widget and clients use of a Flowise server."""

from __future__ import annotations

import re

from http_gateway.flowise import chats, configs, feedback, passing, predictions
from http_gateway.flowise.guests import admits, lets_in
from http_gateway.flowise.predictions import MOST_BODY
from http_gateway.flowise.refusals import cut, refusal_of
from http_gateway.surfaces import Surface

_ROUTERS = (predictions.router, configs.router, feedback.router, chats.router, passing.router)
#: A prediction, files of a chat, documents for a flow.
_TAKES_FORM = re.compile(r"/api/v1/(prediction/[^/]+|attachments/[^/]+/[^/]+|vector/upsert/[^/]+)")
FLOWISE = Surface(
    "flowise",
    ("/api/v1",),
    refusal_of,
    cut,
    _ROUTERS,
    most_body=MOST_BODY,
    takes_form=_TAKES_FORM,
    lets_in=lets_in,
    admits=admits,
)
