"""One request to Flowise and its response, in a form that can be kept: without secrets, and comparable.

What differs from run to run although the request is the same, a call's own chat and session ids, does not count when
requests are compared, and is put into the played response in place of the recorded ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from pydantic import JsonValue

from agentic_flywheel.models import Model

_SECRET = "[secret]"
#: Names of values that are secrets, wherever they stand.
_SECRET_NAMES = re.compile(
    r"(?i)^(?:.*(?:api_?-?key|secret|passw(?:or)?d|passphrase|authorization|access_?-?token|credential).*|token)$"
)
_KEY_IN_PATH = re.compile(r"(?<=/apikey/)[^/]+")
#: Ids that every run makes anew.
_OWN_IDS = ("chatId", "sessionId")


class Request(Model):
    """A request as it is kept. ``ids`` are the caller's own, by name."""

    method: str
    path: str
    query: dict[str, str] = {}
    body: JsonValue = None
    ids: dict[str, str] = {}

    @property
    def key(self) -> str:
        """The parts of a request that must be equal for the same response."""
        kept = self.model_dump(exclude={"ids"}, mode="json")
        return json.dumps(kept, sort_keys=True)

    def __str__(self) -> str:
        question = self.body.get("question") if isinstance(self.body, dict) else None
        asked = f" asking {str(question)[:80]!r}" if question else ""
        return f"{self.method} {self.path}{asked}"


class Response(Model):
    """A response as it is kept: JSON, the events of a stream, or text; one of the three."""

    status: int
    content_type: str
    retry_after: str | None = None
    data: JsonValue = None
    events: tuple[str, ...] | None = None
    text: str | None = None

    @property
    def body(self) -> str:
        """The whole body. A character that is half of a cut-off one is a surrogate."""
        if self.events is not None:
            return "".join(self.events)
        return self.text if self.text is not None else json.dumps(self.data, ensure_ascii=False)


class Exchange(Model):
    """A request and what it was answered."""

    request: Request
    response: Response


def read_request(method: str, path: str, query: str, body: bytes, secrets: Iterable[str] = ()) -> Request:
    """Return a request without its secrets, its own ids apart."""
    try:
        found = json.loads(body) if body else None
    except (ValueError, RecursionError):
        found = body.decode("utf-8", "surrogateescape")
    ids: dict[str, str] = {}
    kept = _without_ids(_cleaned(found, tuple(secrets)), ids)
    given = _without_ids(dict(parse_qsl(query, keep_blank_values=True)), ids)
    safe = _cleaned(_KEY_IN_PATH.sub(_SECRET, path), tuple(secrets))
    return Request(method=method, path=safe, query=_cleaned(given, tuple(secrets)), body=kept, ids=ids)


def read_response(
    status: int, content_type: str, retry_after: str | None, body: bytes, secrets: Iterable[str] = ()
) -> Response:
    """Return a response without its secrets."""
    text = body.decode("utf-8", "surrogateescape")
    kept: dict[str, Any] = {"status": status, "content_type": content_type, "retry_after": retry_after}
    if content_type == "text/event-stream":
        # An event ends with an empty line, which stays with it.
        events = re.findall(r"(?s).*?\n\n|.+\Z", text)
        return Response(**kept, events=tuple(_cleaned(event, tuple(secrets)) for event in events))
    if content_type == "application/json":
        try:
            return Response(**kept, data=_cleaned(json.loads(text), tuple(secrets)))
        except (ValueError, RecursionError):
            pass
    return Response(**kept, text=_cleaned(text, tuple(secrets)))


def with_ids(text: str, recorded: dict[str, str], own: dict[str, str]) -> str:
    """Return a recorded body with this run's own ids in the place of the recorded ones, where a field is so called."""
    for name, old in recorded.items():
        if name in own:
            field = re.compile(rf'("{name}"\s*:\s*){re.escape(json.dumps(old, ensure_ascii=False))}')
            new = json.dumps(own[name], ensure_ascii=False)
            text = field.sub(lambda found, new=new: found[1] + new, text)  # type: ignore[misc]
    return text


def _without_ids(value: Any, ids: dict[str, str]) -> Any:
    """Take the caller's own ids out of a request: its top level, its query, and its ``overrideConfig``."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, each in value.items():
        if name in _OWN_IDS and isinstance(each, str):
            ids[name] = each
            kept[name] = "[own]"
        else:
            kept[name] = _without_ids(each, ids) if name == "overrideConfig" else each
    return kept


def _cleaned(value: Any, secrets: tuple[str, ...]) -> Any:
    """Replace secrets, known by their name or because the request was authorised with them."""
    if isinstance(value, dict):
        return {
            name: _SECRET if isinstance(each, str) and each and _SECRET_NAMES.match(name) else _cleaned(each, secrets)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(each, secrets) for each in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _SECRET)
    return value
