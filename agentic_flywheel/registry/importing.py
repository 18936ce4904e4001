"""Propose what a registry should say of the flows that a Flowise server has. Decides only; nothing is read or written.

A flow is recognised by its id. Of one that the registry has, only what the server decides is brought up to date, and
nothing is overwritten that somebody may have thought about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.backends import ListedFlow
from agentic_flywheel.backends.flowise.forms import unlike
from agentic_flywheel.backends.flowise.models import Chatflow, ServerRate
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.given import Slug
from agentic_flywheel.registry.derive import domain_for, slug
from agentic_flywheel.texts import fault_in, fault_in_name, is_blank
from agentic_flywheel.tracing.text import redact

#: Characters of a name, and of any other text, that are taken over.
_NAME, _TEXT = 120, 300
#: Characters of a key that is made from a name; behind them is room for a number.
_KEY = 100
#: Longest part of a text that is looked at.
_READ = 2_000
_SLUG = TypeAdapter[str](Slug)


class Listed(NamedTuple):
    """A flow as its server lists it, and whether it streams; None where the server did not say."""

    flow: Chatflow
    streams: bool | None = None


@dataclass(frozen=True)
class FlowProposal:
    """What becomes of one flow of the server, or of the registry.

    ``change``: `skip` where it cannot be in a registry at all, `gone` where the registry alone has it.
    """

    key: str
    listed: Listed | ListedFlow
    change: Literal["add", "update", "none", "skip", "gone"]
    #: What is written, as the file has it.
    fields: dict[str, Any]
    #: What the registry says of the same now.
    before: dict[str, Any]
    #: What a person should know of it, each a sentence.
    notes: tuple[str, ...] = ()

    @property
    def there(self) -> Chatflow | ListedFlow:
        """The flow as its server lists it."""
        return self.listed if isinstance(self.listed, ListedFlow) else self.listed.flow


def selected(listed: Iterable[Listed], wanted: Sequence[str]) -> tuple[list[Listed], list[str]]:
    """Return the flows whose id, or name in any case, fits one of the patterns (``*`` and ``?``); all, without any.

    The second list has the patterns that fit nothing.
    """
    flows = list(listed)
    if not wanted:
        return flows, []

    def fitting(each: Listed, pattern: str) -> bool:
        name = _plain(each.flow.name, _NAME)
        return fits(pattern, each.flow.id, name, slug(name))

    found = [each for each in flows if any(fitting(each, pattern) for pattern in wanted)]
    return found, [pattern for pattern in wanted if not any(fitting(each, pattern) for each in flows)]


def fits(pattern: str, *names: str) -> bool:
    """Return whether one of a flow's names fits a pattern (``*`` and ``?``), in any case."""
    return any(fnmatchcase(name.casefold(), pattern.casefold()) for name in names)


def proposals(
    catalog: Catalog | None,
    listed: Iterable[Listed],
    *,
    url: str,
    base: str | None,
    name: str | None = None,
    domain: str | None = None,
) -> list[FlowProposal]:
    """Return what the registry should say of each flow, in the order of their names.

    ``catalog``: the registry's; None: there is none. ``url``: the server's address; ``base``: that of the flows that
    name no ``server``; ``name``: what the registry calls the server, where it has it. ``domain``: that of all new
    flows, by default each one's own.
    """
    server = name or (None if _root(url) == _root(base or url) else _root(url))
    known: dict[str, list[Flow]] = {}
    for flow in flows_at(catalog, url=url, base=base):
        known.setdefault(flow.id, []).append(flow)
    # Whatever the server's order is, keys are given in the same one.
    ordered = sorted(listed, key=lambda each: (_plain(each.flow.name, _NAME).casefold(), each.flow.id))
    taken, found = set(catalog.flows if catalog else ()), list[FlowProposal]()
    for each in ordered:
        if each.flow.id in known:
            found += [_update(flow, each) for flow in known[each.flow.id]]
        elif not is_slug(each.flow.id):
            why = "its id cannot be part of an address: it is left out"
            found.append(FlowProposal("", each, "skip", {}, {}, (why,)))
        else:
            new = _new(each, taken, server=server, domain=domain)
            taken.add(new.key)
            found.append(new)
    return found


def flows_at(catalog: Catalog | None, *, url: str, base: str | None) -> list[Flow]:
    """Return the registry's flows that are at the server of this address; ``base`` as for ``proposals``."""
    usual = _root(base or url)
    flows = catalog.flows.values() if catalog else ()
    return [each for each in flows if (_root(each.server) if each.server else usual) == _root(url)]


def is_slug(text: str) -> bool:
    """Return whether a text can be a flow's id."""
    try:
        return bool(_SLUG.validate_python(text))
    except ValidationError:
        return False


def _new(listed: Listed, taken: set[str], *, server: str | None, domain: str | None) -> FlowProposal:
    flow, about = listed.flow, listed.flow.about
    name = _plain(flow.name, _NAME)
    key, notes = _key(flow, name, taken)
    description = _plain(about.description, _TEXT)
    if not description and about.prompts:
        told = _plain(about.prompts[0], _READ)
        description = _sentence(redact(told))
        hidden = "; what looks like a secret is left out of it" if description != _sentence(told) else ""
        notes.append(f"its description is the beginning of its system prompt: say what people may ask it{hidden}")
    examples = list(dict.fromkeys(filter(None, (_plain(each, _TEXT) for each in about.starters))))
    if not examples and not flow.form:
        notes.append("no examples: add questions as people ask them, so that they find it")
    why = flow.unusable or _odd_form(flow)
    if why:
        notes.append(f"not active: {why}")
    fields: dict[str, Any] = {
        "id": flow.id,
        "name": name or None,
        "domain": domain or slug(_plain(flow.category, _NAME).partition(";")[0]) or domain_for(key, description) or key,
        "description": description or None,
        "examples": examples,
        "form": [each.model_dump(exclude_defaults=True, mode="json") for each in flow.form] or None,
        "active": False if why else None,
        "memory": "none" if about.remembers is False else None,
        "cache": "off" if about.acts else None,
        "rate": _rate(flow.rate),
        "streaming": False if listed.streams is False else None,
        "server": server,
    }
    if about.acts:
        notes.append("its answers are not kept: it uses tools or other services")
    return FlowProposal(
        key, listed, "add", {field: value for field, value in fields.items() if value is not None}, {}, tuple(notes)
    )


def _update(flow: Flow, listed: Listed) -> FlowProposal:
    """Return what is new of a flow that the registry has: another name, or what the registry does not say at all."""
    name, rate, said = _plain(listed.flow.name, _NAME), _rate(listed.flow.rate), flow.model_fields_set
    fields: dict[str, Any] = {}
    if name and flow.name and flow.name != name:
        fields["name"] = name
    if rate is not None and flow.rate is None:
        fields["rate"] = rate
    odd = _odd_form(listed.flow)
    if listed.flow.form and not odd and "form" not in said:
        fields["form"] = [each.model_dump(exclude_defaults=True, mode="json") for each in listed.flow.form]
    if listed.streams is False and "streaming" not in said:
        fields["streaming"] = False
    why = listed.flow.unusable or odd
    notes: list[str] = []
    if flow.active and why:
        notes.append(f"it takes questions here, but {why}")
    elif flow.active and flow.form:
        notes += unlike(flow.form, listed.flow.form)
    before = {"name": flow.name} if "name" in fields else {}
    return FlowProposal(flow.key, listed, "update" if fields else "none", fields, before, tuple(notes))


def _odd_form(flow: Chatflow) -> str:
    """Return why a flow's form cannot be filled in; empty where it can, or where it has none."""
    twice = [name for name, times in Counter(each.name for each in flow.form).items() if times > 1]
    return f"its form has two fields of the name {twice[0]!r}: rename one in Flowise" if twice else ""


def _key(flow: Chatflow, name: str, taken: set[str]) -> tuple[str, list[str]]:
    """Return a key for a new flow that no other has: from its name, or else from its id."""
    wanted = slug(name)[:_KEY].strip("-")
    # A number that is left of a name in another script says nothing.
    said = name.isascii() or any(letter.isalpha() for letter in wanted)
    return free_key(wanted if wanted and said else f"flow-{slug(flow.id)[:8].strip('-')}", taken)


def free_key(wanted: str, taken: set[str]) -> tuple[str, list[str]]:
    """Return a key for a new flow that no other has, and what is to be said of it."""
    wanted = wanted[:_KEY].strip("-")
    key, number = wanted, 1
    while key in taken:
        number += 1
        key = f"{wanted}-{number}"
    return key, [f"its key is {key}, since another flow has {wanted}"] if key != wanted else []


def one_text(text: str) -> str:
    """Return a text of a server on one line, without characters that nobody sees, and no longer than is kept."""
    return _plain(text, _TEXT)


def _rate(limit: ServerRate | None) -> str | None:
    """Return a server's limit as a registry has it; None where there is none that could be kept."""
    if limit is None or limit.calls <= 0 or not limit.period:
        return None
    hourly = f"{limit.calls / limit.period.total_seconds() * 3600:.4f}".rstrip("0").rstrip(".")
    return None if hourly == "0" else f"{hourly}/h"


def _sentence(text: str) -> str:
    end = min((at + 1 for at in map(text.find, (". ", "! ", "? ", "。")) if at >= 0), default=len(text))
    return _cut(text[:end], _TEXT)


def _plain(text: str, limit: int) -> str:
    """Return a text of a server on one line, without characters that nobody sees, and no longer than ``limit``."""
    sound = (" " if each.isspace() or fault_in(each) else each for each in text[:_READ])
    flat = " ".join("".join(each for each in sound if not fault_in_name(each)).split())
    return "" if is_blank(flat) else _cut(flat, limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _root(address: str) -> str:
    """Return an address of a server as it is written once: a login in it is none of it."""
    return without_secrets(address.rstrip("/").removesuffix("/api/v1"))
