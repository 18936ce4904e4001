"""Add and change flows in a registry file: whole or not at all, one writer at a time, nothing else touched."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentic_flywheel.errors import InvalidRegistry, UnknownFlow
from agentic_flywheel.errors.given import WHOLE_FILE
from agentic_flywheel.registry.block_style import Layout, block
from agentic_flywheel.registry.cascade import PLACE, bundled_registry
from agentic_flywheel.registry.document import Document, content_of, document_of
from agentic_flywheel.registry.patch import Append, Change, at, patched, same
from agentic_flywheel.registry.reading import reading_of
from agentic_flywheel.registry.sections import SECTIONS, Entry, entries_of
from agentic_flywheel.registry.splice import NotInPlace, spliced
from agentic_flywheel.whole_files import mode_of, replacing

#: Columns by which the flows of a new registry are indented.
_INDENT = 2
#: What to do where a change is refused: for the values that were given, for the moment, or for the file's form.
_OTHER_VALUES = "Correct what was given: docs/registry.md has every key of a flow, and what it takes."
_ONCE_MORE = "Try again: it begins with what is there now."
_BY_HAND = "Edit it by hand; `flywheel flows check` then says whether it is acceptable."
_BOM = b"\xef\xbb\xbf"


def add_flow(path: Path, flow_fields: Mapping[str, Any], *, cwd: Path) -> Path:
    """Add a flow to a registry and return the file that was written.

    ``flow_fields`` are a flow's keys as the file has them, and ``key``. The bundled registry is copied into ``cwd``
    first. Raises InvalidRegistry, and leaves the file as it was, where the result would be faulty.
    """
    with _locked(_writable(path, cwd)) as target:
        document = _current(target)
        fields = _plain(document, flow_fields)
        key = str(fields.pop("key", None) or "")
        if not key:
            raise _refused(document.fault((SECTIONS[0],), "a new flow needs a `key`"))
        found = _entries(document)
        if key in found:
            raise _refused(document.fault(found[key].where, "is there already"))
        section = document.data.get(SECTIONS[0])
        change = Append({"key": key, **fields}) if isinstance(section, list) else {key: fields}
        _write(target, _changed(target, document, at((SECTIONS[0],), change)).text.encode())
    return target


def update_flow(path: Path, key: str, changes: Mapping[str, Any], *, cwd: Path) -> Path:
    """Change a flow of a registry and return the file that was written.

    A mapping among the changes is changed key by key, None removes a key (RFC 7396), and anything else replaces. The
    bundled registry is copied into ``cwd`` first. Raises UnknownFlow; and InvalidRegistry, which leaves the file as it
    was, where the result would be faulty.
    """
    return update_flows(path, {key: changes}, cwd=cwd)


def update_flows(
    path: Path, changes: Mapping[str, Mapping[str, Any]], *, cwd: Path, revision: str | None = None
) -> Path:
    """Change several flows as ``update_flow`` does, all of them or none.

    With ``revision`` the registry has to give that very catalog still: what was derived from one is not written into
    another.
    """
    with _locked(_writable(path, cwd)) as target:
        document = _current(target)
        if revision not in (None, reading_of(document).catalog_or_raise().revision):
            raise _refused(document.fault((), "was changed meanwhile; nothing was written"), _ONCE_MORE)
        for key, fields in changes.items():
            found = _entries(document)
            if key not in found:
                raise UnknownFlow(key, sorted(found))
            document = _changed(target, document, at(found[key].where, _plain(document, fields)))
        _write(target, document.text.encode())
    return target


def import_flows(
    path: Path,
    added: Mapping[str, Mapping[str, Any]],
    changed: Mapping[str, Mapping[str, Any]],
    *,
    head: str,
    cwd: Path,
    revision: str | None,
) -> Path:
    """Add flows by their keys and change others, all of them or none; return the file that was written.

    Where the bundled registry is in force, a new file with these flows alone takes its place; ``head`` is the comment
    at its top. ``revision``: as with ``update_flows``. Raises InvalidRegistry.
    """
    with _locked(_writable(path, cwd)) as target:
        if not target.exists():
            _write(target, _begun(target, added, head).text.encode())
            return target
        document = _current(target)
        if revision not in (None, reading_of(document).catalog_or_raise().revision):
            raise _refused(document.fault((), "was changed meanwhile; nothing was written"), _ONCE_MORE)
        new = {key: _plain(document, fields) for key, fields in added.items()}
        if isinstance(document.data.get(SECTIONS[0]), list):
            for key, fields in new.items():
                document = _changed(target, document, at((SECTIONS[0],), Append({"key": key, **fields})))
        elif new:
            document = _changed(target, document, at((SECTIONS[0],), new))
        for key, changes in changed.items():
            document = _changed(target, document, at(_entries(document)[key].where, _plain(document, changes)))
        _write(target, document.text.encode())
    return target


def _begun(target: Path, flows: Mapping[str, Mapping[str, Any]], head: str) -> Document:
    """Return a new registry with these flows, each apart from the next. Raises InvalidRegistry."""
    empty = Document(target, "")
    entries = (block({key: _plain(empty, fields)}, _INDENT, Layout()) for key, fields in flows.items())
    text = f"{head}\n{SECTIONS[0]}:\n" + "".join(f"\n{' ' * _INDENT}{entry}\n" for entry in entries)
    return _acceptable(document_of(target, text.encode()))


def _acceptable(changed: Document) -> Document:
    """Return a registry as it is to be written. Raises InvalidRegistry: the values that were given are at fault."""
    reading = reading_of(changed)
    if reading.catalog is None:
        raise _refused(reading.faults[0])
    return changed


def _writable(path: Path, cwd: Path) -> Path:
    """Return the file that an edit of ``path`` goes to. A link is followed, so that it stays one."""
    real = path.resolve()
    return (cwd / PLACE).resolve() if real == bundled_registry().resolve() else real


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[Path]:
    """Hold the registry's lock. It is a file of its own, because the registry's is replaced; the kernel frees it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f".{target.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield target
    except OSError as refused:
        remedy = f"Let this user write into {target.parent}, and see that there is room: `ls -ld` and `df` tell."
        raise InvalidRegistry(str(target), 1, WHOLE_FILE, f"cannot be written: {refused.strerror}", remedy) from None


def _current(target: Path) -> Document:
    """Read what is to be changed. Raises its first fault."""
    source = target if target.exists() else bundled_registry()
    document = document_of(target, content_of(source))
    reading_of(document).catalog_or_raise()
    return document


def _entries(document: Document) -> dict[str, Entry]:
    """Return the entry of each key; an active one before an archived one, as in the catalog."""
    found: dict[str, Entry] = {}
    for entry in entries_of(document.data):
        if isinstance(entry, Entry) and (entry.key not in found or found[entry.key].shelved):
            found[entry.key] = entry
    return found


def _plain(document: Document, fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(fields)))
        json.dumps(plain, ensure_ascii=False).encode()
    except (TypeError, ValueError) as refused:
        raise _refused(document.fault((SECTIONS[0],), f"the new values are not plain data: {refused}")) from None
    return plain


def _changed(target: Path, document: Document, change: Change) -> Document:
    """Return the changed registry, if it says what it should and has no fault."""
    try:
        text = spliced(document, change)
    except NotInPlace as refused:
        fault = document.fault((), f"cannot be changed in place, edit it by hand: {refused}")
        raise _refused(fault, _BY_HAND) from None
    changed = _acceptable(document_of(target, text.encode()))
    if not same(changed.data, patched(document.data, change)):
        fault = document.fault((), "is written in a way that cannot be changed in place; edit it by hand")
        raise _refused(fault, _BY_HAND)
    return changed


def _refused(fault: InvalidRegistry, remedy: str = _OTHER_VALUES) -> InvalidRegistry:
    """Return the error for a change that is not made, from what would be wrong with the registry after it."""
    return replace(fault, remedy=remedy)


def _write(target: Path, raw: bytes) -> None:
    """Replace the registry, and keep its byte order mark."""
    if target.exists() and content_of(target).startswith(_BOM):
        raw = _BOM + raw
    with replacing(target, mode_of(target, otherwise=0o644)) as file:
        file.write(raw)
