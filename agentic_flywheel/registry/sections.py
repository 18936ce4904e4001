"""Which entries a registry has: its sections, the groups in them, and the archives, in the file's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentic_flywheel.registry.derive import SHELVED, slug
from agentic_flywheel.registry.document import Where
from agentic_flywheel.written import as_text

SECTIONS = ("operational_flows", "routing_flows")
#: Flows that are kept but take no questions.
ARCHIVES = tuple(f"{state}_flows" for state in sorted(SHELVED))

#: Keys of a flow that hold mappings.
_MAPPINGS = frozenset({"config", "sampling", "topics", "request", "answer", "public"})

#: Groups within groups; no registry is deeper.
_DEEPEST_GROUP = 4


@dataclass(frozen=True)
class Entry:
    """One flow as the file has it."""

    key: str
    where: Where
    fields: dict[str, Any]
    #: It stands in an archive.
    shelved: bool = False
    #: The group that it stands in, if any.
    group: str = ""


@dataclass(frozen=True)
class Misplaced:
    """Something that is no flow, where a flow should be."""

    where: Where
    reason: str


def entries_of(data: dict[str, Any]) -> Iterator[Entry | Misplaced]:
    """Yield every flow of a registry, active or not."""
    for section in (*SECTIONS, *ARCHIVES):
        if data.get(section) is not None:
            yield from _within(data[section], (section,), shelved=section in ARCHIVES, group="")


def _within(found: Any, where: Where, *, shelved: bool, group: str) -> Iterator[Entry | Misplaced]:
    if isinstance(found, list):
        yield from _listed(found, where, shelved=shelved, group=group)
        return
    if not isinstance(found, dict):
        yield Misplaced(where, "should be flows by their keys, or a list of flows")
        return
    for key, fields in found.items():
        here = (*where, key)
        if not isinstance(fields, dict):
            yield Misplaced(here, "should be a flow: a mapping with `id`, `name`, `description` and so on")
        elif _is_group(fields) and len(here) <= _DEEPEST_GROUP:
            yield from _within(fields, here, shelved=shelved or slug(key) in SHELVED, group=key)
        else:
            yield Entry(key, here, fields, shelved, group)


def _listed(found: list[Any], where: Where, *, shelved: bool, group: str) -> Iterator[Entry | Misplaced]:
    for number, fields in enumerate(found):
        here = (*where, number)
        if not isinstance(fields, dict):
            yield Misplaced(here, "should be a flow: a mapping with `key`, `id`, `name` and so on")
            continue
        # A name in another script gives no key; the chatflow's id does.
        made = (slug(str(as_text(fields.get(each) or ""))) for each in ("name", "id"))
        key = fields.get("key") or (next(filter(None, made), "") if fields.get("name") else "")
        if not key:
            yield Misplaced(here, "a flow in a list needs a `key` or a `name`")
            continue
        yield Entry(str(as_text(key)), here, fields, shelved, group)


def holds_flows(found: Any) -> bool:
    """Whether flows stand in something, at any depth at which they would be found in a section."""
    if isinstance(found, list):
        return any(isinstance(each, dict) and "id" in each and len(each) > 1 for each in found)
    return isinstance(found, dict) and (_is_group(found) or any(map(holds_flows, found.values())))


def _is_group(fields: dict[str, Any]) -> bool:
    """A group has flows where a flow has its id, or its server and what it asks there."""
    if "id" in fields or _is_asked_elsewhere(fields):
        return False
    inner = [(name, value) for name, value in fields.items() if isinstance(value, dict)]
    return any("id" in each or (name not in _MAPPINGS and _is_asked_elsewhere(each)) for name, each in inner)


def _is_asked_elsewhere(fields: dict[str, Any]) -> bool:
    return isinstance(fields.get("server"), str) and any(fields.get(name) for name in ("backend", "model", "request"))
