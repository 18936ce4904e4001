"""Read a profile's file. Faults are reported without quoting the file, because its text may be confidential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agentic_flywheel.errors import InvalidProfile, InvalidRegistry
from agentic_flywheel.errors.given import WHOLE_FILE
from agentic_flywheel.models import MAX_CONTEXT
from agentic_flywheel.profiles.profile import KINDS, Profile
from agentic_flywheel.registry.document import Document, Where, content_of, document_of, dotted, unreadable
from agentic_flywheel.written import as_text

#: Largest file, in bytes. The text for a flow is bounded separately, by ``MAX_CONTEXT`` characters.
MAX_BYTES = 64_000
SUFFIX = ".yaml"

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")
#: Unknown keys that may be shown in a message. Others may be confidential text in a wrong place of the file.
_KEY = re.compile(r"^[a-z][a-z_]{0,30}$")
_UNSHOWN = "(not a key)"
_FACTS = "a text, a list of texts, or names with a text or a list of texts each"

#: What each key's value should be: the second half of a message about a wrong value.
MEANING: dict[str, str] = {
    "title": "text",
    "description": "what the domain is, in a sentence or two",
    "context_type": "technical, cultural, strategic or general (left out: the kind that fits the question)",
    "privacy": "public, internal or confidential",
    "owners": "a list of owners: names without spaces",
    "keywords": "a list of texts that are not empty",
    **dict.fromkeys(KINDS, _FACTS),
}


def read_profile(path: Path) -> Profile:
    """Return the profile in a file. Raises InvalidProfile with the first fault."""
    profile, faults = check_profile(path)
    if profile is None:
        raise faults[0]
    return profile


def check_profile(path: Path) -> tuple[Profile | None, list[InvalidProfile]]:
    """Return the profile in a file and no faults, or None and all faults in the order of their lines."""
    try:
        return profile_of(path, content_of(path))
    except InvalidRegistry as refused:  # the reader of YAML documents is shared with the registry
        return None, [InvalidProfile(*refused.args)]


def unreadable_profile(path: Path, refused: OSError) -> InvalidProfile:
    """Return the error for a profile, or a folder of them, that this user cannot read."""
    return InvalidProfile(*unreadable(path, refused).args)


def profile_of(path: Path, raw: bytes) -> tuple[Profile | None, list[InvalidProfile]]:
    """Return the profile in a file's bytes, or all faults. The name comes from ``path``, which messages show too."""
    if len(raw) > MAX_BYTES:
        reason = f"is too large: at most {MAX_BYTES} bytes"
        return None, [InvalidProfile(str(path), 1, WHOLE_FILE, reason, "Shorten it, or make two profiles of it.")]
    if not NAME.match(path.stem):
        reason = "its name should be letters, digits, `-`, `_` and `.`, at most 128"
        return None, [InvalidProfile(str(path), 1, WHOLE_FILE, reason, "Give the file another name.")]
    document = document_of(path, raw)
    if document.root is None or document.faults:
        return None, [_unreadable(path, each.line) for each in document.faults]
    faults = list(_faults(document, path.stem))
    if faults:
        faults.sort(key=lambda each: document.line_of(each[0]))
        return None, [InvalidProfile(str(path), document.line_of(at), _shown(at), why) for at, why in faults]
    return _profile(document, path.stem), []


def _faults(document: Document, name: str) -> Iterator[tuple[Where, str]]:
    data = document.data
    yield from (((key,), "is no key of a profile") for key in data if key not in MEANING)
    if not data.get("description"):
        yield ("description",), f"is missing: {MEANING['description']}"
        return
    shapes = [(kind,) for kind in KINDS if data.get(kind) is not None and _facts(data[kind]) is None]
    yield from ((at, f"should be {_FACTS}") for at in shapes)
    if shapes:
        return
    try:
        profile = _profile(document, name)
    except ValidationError as refused:
        seen = set()
        for each in refused.errors(include_url=False, include_input=False, include_context=False):
            key = str(each["loc"][0])
            place = each["loc"] if key in ("owners", "keywords") else (key,)
            if key not in seen:
                seen.add(key)
                yield place, f"should be {MEANING.get(key, 'something else')}"
        return
    if profile.confidential and not profile.owners:
        yield ("privacy",), "confidential needs `owners`: without one, nobody may use it"
    if not profile.kinds:
        yield ("technical",), "is missing: at least one of technical, cultural and strategic should be there"
    if (length := len(profile.text())) > MAX_CONTEXT:
        yield ("description",), f"all it tells has {length} characters together, {MAX_CONTEXT} are allowed"


def _profile(document: Document, name: str) -> Profile:
    given = {key: value for key, value in document.data.items() if key in MEANING and value is not None}
    for kind in KINDS:
        if kind in given:
            given[kind] = _facts(given[kind])
    for key in ("owners", "keywords"):
        if isinstance(given.get(key), str):
            given[key] = [given[key]]
        elif isinstance(given.get(key), list):
            given[key] = [as_text(each) for each in given[key]]
    given = {key: as_text(value) for key, value in given.items()}
    return Profile.model_validate({**given, "name": name, "source": str(document.path)})


def _facts(value: Any) -> list[dict[str, Any]] | None:
    """Return a section's facts; None where the section is neither a text, a list nor a mapping of texts."""
    if isinstance(value, dict):
        named = [(_title(name), each if isinstance(each, list) else [each]) for name, each in value.items()]
    else:
        named = [("", [each]) for each in (value if isinstance(value, list) else [value])]
    facts = [{"name": name, "texts": [as_text(each) for each in texts]} for name, texts in named]
    sound = all(
        fact["texts"] and all(isinstance(each, str) and each.strip() for each in fact["texts"]) for fact in facts
    )
    return facts if sound else None


def _title(name: str) -> str:
    """Return ``data_stores`` as ``Data stores``: underscores become spaces, the first letter is capital."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _shown(where: Where) -> str:
    steps = [step if isinstance(step, int) or step in MEANING or _KEY.match(step) else _UNSHOWN for step in where]
    return dotted(tuple(steps))


def _unreadable(path: Path, line: int) -> InvalidProfile:
    return InvalidProfile(
        str(path), line, WHOLE_FILE, "cannot be read as YAML from here on; is a colon, quote or indent wrong?"
    )
