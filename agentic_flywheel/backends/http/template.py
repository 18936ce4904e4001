"""Put a call's values into the template of a request. Nothing is evaluated, and what is put in stays data.

A value cannot become a placeholder, since what was put in is not looked through again; nor a part of JSON's structure,
which is written after the values are in; nor a header's line, a step of a path or a parameter, since it is quoted.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from pydantic import JsonValue
from yarl import URL

from agentic_flywheel.backends.bodies import FlowUpload, StreamedBody, encoded_uploads
from agentic_flywheel.backends.http.pointers import NOTHING, Nothing
from agentic_flywheel.backends.models import FlowCall
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import FlowRefused, FlowUnauthorized
from agentic_flywheel.http_flows import MEMBERS, PLACEHOLDER, HttpRequest, names_in

#: Bytes of a body.
MAX_BODY = 50 * 1024 * 1024
#: What stands in a path or a query as it is written in the template.
_WRITTEN = "/?&=%:@!$'()*+,;~-._"
_ROLES = {"userMessage": "user", "apiMessage": "assistant"}
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

#: The value of a name; NOTHING where the call has none.
ValueOf = Callable[[str], JsonValue | Nothing]


@dataclass(frozen=True)
class Prepared:
    """A request with its values in it."""

    method: str
    url: URL
    headers: dict[str, str]
    body: bytes | StreamedBody | None


class Values:
    """What a call's placeholders stand for."""

    def __init__(self, call: FlowCall, chat_id: str, config: Mapping[str, JsonValue]) -> None:
        self._members: dict[str, Mapping[str, Any]] = {"config.": config, "form.": call.form}
        self._named: dict[str, JsonValue] = {
            "question": call.question,
            "chat_id": chat_id,
            # Some servers put all who name no session into one.
            "session_id": call.session_id or chat_id,
            "flow_id": call.flow.id,
            "history": [{"role": _ROLES[each.role], "content": each.content} for each in call.history],
            "config": dict(config),
            "form": dict(call.form),
            # Where the files are put once all is written: no user can have written this.
            "uploads": _mark() if call.uploads else [],
        }

    def __call__(self, name: str) -> JsonValue | Nothing:
        for member in MEMBERS:
            if name.startswith(member):
                found: JsonValue | Nothing = self._members[member].get(name.removeprefix(member), NOTHING)
                return found
        return self._named.get(name, NOTHING)

    @property
    def mark(self) -> str:
        return str(self._named["uploads"])


def values_of_attempt(flow: Flow | None, chat_id: str) -> ValueOf:
    """Return what stands for a name in a request that concerns an attempt made earlier."""
    named = {"chat_id": chat_id, "flow_id": flow.id if flow else ""}
    return lambda name: named.get(name, NOTHING)


def prepared(
    flow: str,
    template: HttpRequest,
    address: str,
    values: ValueOf,
    *,
    key: str | None,
    uploads: tuple[FlowUpload, ...] = (),
    mark: str = "",
) -> Prepared:
    """Return a request to a server with the values in it. Raises FlowRefused where one cannot stand in its place.

    ``mark`` stands in the values for the ``uploads``.
    """
    keyed = "key" in names_in(template.headers)
    if keyed and key is None:
        raise FlowUnauthorized(flow, "its request sends a key, and the variable that `api_key_env` names is not set")
    if keyed and not (key or "").isprintable():
        raise FlowUnauthorized(flow, "it holds a character that no header can carry, such as the end of a line")
    headers = {name: _in_header(text, values, key) for name, text in template.headers.items()}
    url = URL(address.rstrip("/") + _path(flow, template.path, values), encoded=True)
    if template.body is None:
        return Prepared(template.method, url, headers, None)
    try:
        written = _ENCODER.encode(filled(template.body, values)).encode()
    except (ValueError, RecursionError):
        raise FlowRefused(flow, "a number in the configuration or form is not finite") from None
    body = _with_files(written, mark, uploads) if uploads else written
    length = len(body) if isinstance(body, bytes) else body.length
    if length > MAX_BODY:
        raise FlowRefused(flow, f"the request has {length >> 20} MB, {MAX_BODY >> 20} MB are allowed")
    return Prepared(template.method, url, headers, body)


def filled(template: JsonValue, values: ValueOf) -> Any:
    """Return a template with its values: where a text is a placeholder alone, the value with its type.

    A member or an entry that stands for a value which is not there is left out.
    """
    if isinstance(template, dict):
        members = ((name, filled(each, values)) for name, each in template.items())
        return {name: each for name, each in members if each is not NOTHING}
    if isinstance(template, list):
        return [each for each in (filled(each, values) for each in template) if each is not NOTHING]
    if not isinstance(template, str):
        return template
    if alone := PLACEHOLDER.fullmatch(template):
        return values(alone[1])
    return PLACEHOLDER.sub(lambda found: _as_text(values(found[1])), template)


def _as_text(value: JsonValue | Nothing) -> str:
    if value is NOTHING or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in_header(template: str, values: ValueOf, key: str | None) -> str:
    def value(found: re.Match[str]) -> str:
        return (key or "") if found[1] == "key" else quote(_as_text(values(found[1])), safe="")

    return PLACEHOLDER.sub(value, template)


def _path(flow: str, template: str, values: ValueOf) -> str:
    path, mark, query = template.partition("?")
    steps = "/".join(_quoted(each, partial(_as_step, flow, values)) for each in path.split("/"))
    return steps + mark + _quoted(query, lambda name: quote(_as_text(values(name)), safe=""))


def _quoted(template: str, value: Callable[[str], str]) -> str:
    """Return the template's own text, and between it the values, as they can stand in an address."""
    parts = PLACEHOLDER.split(template)
    return "".join(value(each) if number % 2 else quote(each, safe=_WRITTEN) for number, each in enumerate(parts))


def _as_step(flow: str, values: ValueOf, name: str) -> str:
    text = _as_text(values(name))
    # Servers and proxies unquote before they look where a path leads. Without a value it would lead elsewhere too.
    if not text or {".", ".."} & set(re.split(r"[/\\]", text)):
        raise FlowRefused(flow, f"the path of the request has no place for this value of {name}: {text[:40]!r}")
    return quote(text, safe="")


def _mark() -> str:
    return secrets.token_hex(16)


def _with_files(body: bytes, mark: str, uploads: tuple[FlowUpload, ...]) -> StreamedBody:
    pieces = body.split(f'"{mark}"'.encode())
    parts = [*encoded_uploads(uploads)]
    inserted = [part for piece in pieces[1:] for part in (*parts, piece)]
    return StreamedBody([pieces[0], *inserted], content_type="application/json")
