"""The registry's ``servers``: what the flows of each share, by the name under which flows refer to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentic_flywheel.addresses import holds_login, is_address
from agentic_flywheel.given import Slug
from agentic_flywheel.places import expanded
from agentic_flywheel.registry.document import Where
from agentic_flywheel.registry.entry import Fault
from agentic_flywheel.servers import BACKENDS, VARIABLE, FlowServer

SECTION = "servers"

#: What each key should be.
MEANING = {
    "address": "an address that begins with http:// or https:// and names a host, without `?` and `#`",
    "backend": BACKENDS,
    "api_key_env": "the NAME of an environment variable (A-Z, 0-9, _), never the key itself",
    "headers": "a mapping of names to texts of plain characters; ${NAME} stands for what an environment variable holds",
    "ca_file": "the path of a file of certificates",
    "concurrency": "a whole number of at least 1",
}
#: Headers that are ours to send.
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"})
_SLUG = TypeAdapter[str](Slug)


def servers_of(data: dict[str, Any], folder: Path) -> tuple[dict[str, FlowServer | None], list[Fault]]:
    """Return the servers of a registry by their names, None where one is faulty, and the faults.

    ``folder``: where paths in the registry begin.
    """
    section = data.get(SECTION)
    if section is None:
        return {}, []
    if not isinstance(section, dict):
        return {}, [((SECTION,), "should be servers by their names")]
    servers: dict[str, FlowServer | None] = {}
    faults: list[Fault] = []
    for name, fields in section.items():
        where: Where = (SECTION, name)
        servers[name] = None
        if not _is_name(name):
            faults.append((where, "should have a name of the letters A to Z, digits, `-`, `_` and `.`, at most 128"))
        if not isinstance(fields, dict):
            faults.append((where, "should be a mapping with `address`, `backend` and so on"))
            continue
        given = {key: value for key, value in fields.items() if value is not None}
        wrong = [(where_it_is, text) for where_it_is, text in _unfit(given, where)]
        try:
            server = FlowServer.model_validate(given)
        except ValidationError as refused:
            wrong += [_fault(each["type"], each["loc"], where) for each in refused.errors(include_url=False)]
            faults += dict(reversed(wrong)).items()
            continue
        wrong += _conflicts(server, where)
        faults += wrong
        if server.ca_file is not None:
            try:
                path = folder / expanded(Path(server.ca_file))
            except ValueError as refused:
                faults.append(((*where, "ca_file"), str(refused)))
                continue
            server = server.model_copy(update={"ca_file": str(path)})
        servers[name] = server
    return servers, faults


def _is_name(text: str) -> bool:
    try:
        return bool(_SLUG.validate_python(text))
    except ValidationError:
        return False


def _unfit(given: dict[str, Any], where: Where) -> Iterator[Fault]:
    """Yield the values that the model would take for something else than they say."""
    if isinstance(given.get("concurrency"), bool):
        yield (*where, "concurrency"), f"should be {MEANING['concurrency']}"
    address = given.get("address")
    if isinstance(address, str) and not is_address(address):
        yield (*where, "address"), f"should be {MEANING['address']}"


def _fault(kind: str, way: tuple[int | str, ...], where: Where) -> Fault:
    name = str(way[0])
    if name not in MEANING:
        return (*where, name), f"is not a key of a server; its keys are {', '.join(MEANING)}"
    way = tuple(step for step in way if step != "[key]")
    return (
        *where,
        *way,
    ), f"{'is missing' if kind == 'missing' else 'should be'}{':' if kind == 'missing' else ''} {MEANING[name]}"


def _conflicts(server: FlowServer, where: Where) -> Iterator[Fault]:
    """Yield what cannot be together."""
    names = {name.lower() for name in server.headers}
    login = holds_login(server.address)
    if login and server.api_key_env is not None:
        reason = "`address` holds a user and a password, and both would be the Authorization header"
        yield (*where, "api_key_env"), f"{reason}: leave one of them out"
    if "authorization" in names and (login or server.api_key_env is not None):
        other = "`address` holds a user and a password" if login else "`api_key_env` names a key"
        yield (*where, "headers"), f"has an Authorization, and {other}: leave one of them out"
    for name in sorted(names & _OURS):
        yield (*where, "headers"), f"has a {name}, which is not given by hand"
    if len(names) < len(server.headers):
        yield (*where, "headers"), "has two of one name"
    for name, value in server.headers.items():
        if "${" in VARIABLE.sub("", value):
            yield (*where, "headers", name), "names no variable behind `${`: write ${NAME} with A-Z, 0-9 and _"
