"""Keys of a registry that nobody reads: misspelt ones, and those that belong to another place.

Unknown keys may be somebody's own, so they are kept, and remarked on only where they look like one that is read.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from agentic_flywheel.catalog import SIGNALS
from agentic_flywheel.registry import entry as flows
from agentic_flywheel.registry import policy, prices, servers
from agentic_flywheel.registry.document import Where
from agentic_flywheel.registry.entry import Fault
from agentic_flywheel.registry.sections import ARCHIVES, SECTIONS, Entry, holds_flows

#: Sections that other tools write into the file, and we keep.
_KEPT = ("metadata", "session_management", "environment")
_TOP = (*SECTIONS, policy.SECTION, servers.SECTION, prices.SECTION, prices.CURRENCY, *ARCHIVES, *_KEPT)
_BANDS = ("high", "medium")
_POLICY = tuple(name for name in policy.MEANING if name not in _BANDS)
#: Keys of an entry that mean something beside those of a flow, or that older files carry.
_FLOW = (*flows.MEANING, "status", "performance_metrics")
#: Keys that anything may have.
_COMMON = frozenset({"key", "id", "name", "description", "purpose", "active", "status", "performance_metrics"})
#: Keys of a flow that mean nothing to Flowise, nor to a model.
_NO_SETTING = frozenset(
    {"intent_keywords", "examples", "topics", "domain", "ttl", "stale_while_revalidate", "failure_ttl"}
    | {"idle_timeout", "history_turns", "history_chars", "fallback", "api_key_env"}
)
_OF_A_FLOW, _OF_THE_POLICY, _OF_A_SERVER = "a flow", f"`{policy.SECTION}`", "one of the `servers`"
_OF_THE_FILE = "the top of the file"
#: Where a key is read that stands elsewhere.
_ELSEWHERE = {
    **dict.fromkeys((policy.SECTION, servers.SECTION, prices.SECTION, prices.CURRENCY, *SECTIONS), _OF_THE_FILE),
    **dict.fromkeys((name for name in servers.MEANING if name not in flows.MEANING), _OF_A_SERVER),
    **dict.fromkeys((*_POLICY, *_BANDS, "method"), _OF_THE_POLICY),
    **dict.fromkeys((name for name in _FLOW if name not in _COMMON), _OF_A_FLOW),
}


def remarks_on_keys(data: Mapping[str, Any], entries: Iterable[Entry]) -> Iterator[Fault]:
    """Yield the keys of a registry that are hardly meant as they are written; ``entries`` are its flows."""
    for name, value in data.items():
        if name not in _TOP and holds_flows(value):
            yield (name,), _misnamed_section(name)
        else:
            yield from _slip((), name, _TOP, data)
    for entry in entries:
        if entry.shelved:
            continue
        for name in entry.fields:
            yield from _slip(entry.where, name, _FLOW, entry.fields)
        for name in _mapping(entry.fields, "config").keys() & _NO_SETTING:
            yield (
                (*entry.where, "config", name),
                "is sent to the flow's server and not read here; put it beside `config`",
            )
    section = _mapping(data, policy.SECTION)
    for name in section:
        if name not in _BANDS:
            yield from _slip((policy.SECTION,), name, (*_POLICY, "method"), section)
    for name, known in (("bands", _BANDS), ("scoring_weights", SIGNALS)):
        inner = _mapping(section, name)
        for each in inner:
            yield from _slip((policy.SECTION, name), each, known, inner)


def misnamed_section(data: Mapping[str, Any]) -> Fault | None:
    """Return why a registry has no flows: they stand in a section that is not read. None where it is not that."""
    if any(name in data for name in SECTIONS):
        return None
    found = (name for name, value in data.items() if name not in _TOP and holds_flows(value))
    return next((((name,), _misnamed_section(name)) for name in found), None)


def _misnamed_section(name: str) -> str:
    meant = _nearest(name, (*SECTIONS, *ARCHIVES)) or SECTIONS[0]
    return f"holds flows, and is no section that is read; did you mean `{meant}`?"


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def _slip(where: Where, name: str, known: Collection[str], given: Mapping[str, object]) -> Iterator[Fault]:
    """Yield what is wrong with an unknown key that looks like one which is not given, or like one of another place."""
    if name in known:
        return
    plain = _plain(name)
    near = _nearest(name, [each for each in known if each not in given])
    if near and (plain not in _ELSEWHERE or _singular(plain) == _singular(near)):
        yield (*where, name), f"is not a key that is read{_look_alike(name)}; did you mean `{near}`?"
        return
    # Of a word alone, a neighbour may well be a word of its own: `models`, `answers`.
    other = plain if plain in _ELSEWHERE or "_" not in plain else next(iter(_near(plain, _ELSEWHERE)), plain)
    if other in _ELSEWHERE and other not in known:
        meant = "it" if other == name else f"`{other}`"
        yield (*where, name), f"is not read here; {meant} belongs to {_ELSEWHERE[other]}"


def _nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known key that a name is a slip of, or a part of: `exampels`, `keywords` for `intent_keywords`."""
    plain = _plain(name)
    near = _near(plain, known)
    parts = set(_singular(plain))
    longer = (each for each in known if parts <= set(_singular(each)))
    return near[0] if near else None if plain in _ELSEWHERE else next(longer, None)


def _look_alike(name: str) -> str:
    """Return what is said of a character that looks like another, or like none: a Cyrillic letter among Latin ones."""
    odd = next((char for char in name if not char.isascii()), "")
    return f", since it holds U+{ord(odd):04X} ({unicodedata.name(odd, 'a character').lower()})" if odd else ""


def _near(plain: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(plain, known, n=1, cutoff=0.8)


def _plain(name: str) -> str:
    """Return a key as keys are written; letters of another alphabet, which may look like Latin ones, are left out."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return "".join(filter(str.isascii, plain))


def _singular(name: str) -> list[str]:
    return [part.removesuffix("s") for part in name.split("_")]
