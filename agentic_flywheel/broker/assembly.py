"""Assemble the whole source of a script: shared functions that it uses, and its names replaced by what they stand for.

``STEP.started`` comes from the table in ``lifecycle``. ``STATE.running``, ``REASON.retry``, ``EVENT.final``,
``PRIORITY.low`` and the like are values of ``models`` and ``wire``; ``record_key(id)`` and ``OPEN`` are names there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import get_args

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.lifecycle import STEPS
from agentic_flywheel.models import TERMINAL, CachePolicy, EventKind, HowEnded, Priority, State, WaitReason

#: Files of shared functions in the order in which they may use each other.
SHARED = (
    "basics", "allowance", "movers", "stops", "serving", "tally", "sessions", "blobs", "cache", "packing", "ending",
    "followers", "admission",
)  # fmt: skip

#: Redis's own name of a script's arguments. Nowhere else does a source name a position in it.
ARGUMENTS = "ARGV"
#: What Lua itself defines, and its words before a parenthesis.
_LUA = frozenset("tonumber tostring unpack ipairs pairs pcall type error select".split()) | frozenset(  # noqa: SIM905
    "and or not if while until return in function".split()  # noqa: SIM905
)
#: A text or the comment at the end of a line: no name in it stands for anything.
_SPOKEN = r"--[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
#: What a shared paragraph defines: a function, or constants.
_DEFINED = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)
#: A name that stands by itself, neither behind a dot nor in a text or a comment.
_WORD = re.compile(rf"{_SPOKEN}|(?<!\.)\.\w+|\b([A-Za-z_]\w*)")
#: How a source calls a shared function that its usual way does not come to.
_SELDOM = re.compile(r"\bseldom\.(\w+)")
#: Values that a source names, such as ``STATE.running``: those of enumerations, and of types that are lists of texts.
_NAMES: dict[str, dict[str, str]] = {
    "STATE": {each.name: each for each in State},
    "REASON": {each.name: each for each in WaitReason},
    "HOW": {each.name: each for each in HowEnded},
    "EVENT": {each.name: each for each in EventKind},
    "PRIORITY": {each.name: each for each in Priority},
    "STAGE": {each.name: each for each in wire.QueryStage},
    "POLICY": {each.upper(): each for each in get_args(CachePolicy)},
    "HEARD": {each.upper(): each for each in get_args(wire.Heard)},
}


class InvalidDeclaration(Exception):
    """A script's head and body do not agree, or it uses a name that does not exist. A fault of our code."""


def assembled(name: str, code: str) -> str:
    """Return Lua code behind the shared functions that it uses, with the names of ``wire`` and of the table resolved.

    ``name`` is for the message of InvalidDeclaration, which is raised where a name does not exist.
    """
    return _checked(name, _resolved(name, _with_what_it_uses(name, code)))


def _checked(script: str, source: str) -> str:
    """Return a source of which every constant and function is defined. Raises InvalidDeclaration.

    ``tests/protocol/test_border.py`` reads every source with a parser, and finds other names that nothing declares.
    """
    code = re.sub(_SPOKEN, "''", source)
    defined = {
        each.strip() for names in re.findall(r"\blocal (?:function )?([\w, ]+)", code) for each in names.split(",")
    }
    defined |= set(re.findall(r"\bfor ([\w, ]+) in\b", code)) | _LUA
    named = set(re.findall(r"(?<![\w.:])([A-Z][A-Z_]+)\b", code)) - {ARGUMENTS}
    called = set(re.findall(r"(?<![\w.:])([a-z_]\w*)\(", code))
    if unknown := sorted((named | called) - defined):
        raise InvalidDeclaration(f"{script}: nothing defines {', '.join(unknown)}")
    return source


def lua_text(name: str) -> str:
    """Return the text of a Lua file of the package, named by its path without the suffix."""
    return resources.files("agentic_flywheel.broker").joinpath("lua", *f"{name}.lua".split("/")).read_text("utf-8")


@cache
def _shared() -> dict[str, frozenset[str]]:
    """Return the paragraphs that the scripts share, each with the names that it defines."""
    text = "\n\n".join(COMMENT.sub("", lua_text(f"shared/{name}")).strip() for name in SHARED)
    paragraphs = [f"local TERMINAL = {{{', '.join(f'{state} = true' for state in sorted(TERMINAL))}}}"]
    paragraphs += re.split(r"\n{2,}", text)
    return {
        each: frozenset(name for names in _DEFINED.findall(each) for name in names.split(", ")) for each in paragraphs
    }


def _with_what_it_uses(name: str, body: str) -> str:
    """Return a body behind the shared paragraphs that define what it names, or what these name.

    A script runs from its first line at every call: each function in it is made anew and thrown away. Those that are
    called as ``seldom.name(…)`` alone are made together, when the first of them is called. Raises InvalidDeclaration.
    """
    often = _paragraphs(set(_WORD.findall(body)), frozenset())
    rare: list[str] = []
    wanted = _SELDOM.findall("".join([*often, body]))
    while more := _paragraphs(set(wanted), frozenset((*often, *rare))):
        rare += more
        wanted = _SELDOM.findall("".join(more))
    made = "".join(f"{each}\n" for each in _shared() if each in rare)
    apart = set(re.findall(r"^local function (\w+)", made, re.MULTILINE))
    named = apart.union(*(_shared()[each] for each in often))

    def called(match: re.Match[str]) -> str:
        if match[1] not in named:
            raise InvalidDeclaration(f"{name}: no shared function is {match[1]}")
        return f"seldom().{match[1]}" if match[1] in apart else match[1]

    source = "".join(f"{each}\n" for each in often)
    if rare:
        table = ", ".join(f"{each} = {each}" for each in sorted(apart))
        source = (
            f"local seldom\n{source}local made\nfunction seldom()\nif made then return made end\n"
            f"{made}made = {{{table}}}\nreturn made\nend\n"
        )
    return _SELDOM.sub(called, source + body)


def _paragraphs(words: set[str], known: frozenset[str]) -> list[str]:
    """Return, in their order, the shared paragraphs that define one of these words, or what such a paragraph names."""
    found: list[str] = []
    for paragraph, names in reversed(_shared().items()):
        if paragraph not in known and not words.isdisjoint(names):
            found.insert(0, paragraph)
            words.update(_WORD.findall(paragraph))
    return found


def _resolved(script: str, source: str) -> str:
    steps = {step.name: step for step in STEPS}

    def step(name: str, values: list[str]) -> str:
        if name not in steps or steps[name].fields.count("?") != len(values):
            raise InvalidDeclaration(f"{script}: no step {name} with {len(values)} values in the table")
        given = iter(values)
        return ", ".join(next(given) if each == "?" else each for each in steps[name].fields)

    def named(match: re.Match[str]) -> str:
        if match[2].upper() not in _NAMES[match[1]]:
            raise InvalidDeclaration(f"{script}: there is no {match[0]}")
        return f"'{_NAMES[match[1]][match[2].upper()]}'"

    def family(name: str, values: list[str]) -> str:
        found = getattr(wire, name, None)
        if not isinstance(found, wire.Family) or len(values) != 1:
            raise InvalidDeclaration(f"{script}: wire has no {name} of {len(values)} parts")
        value = values[0] if values[0].isidentifier() else f"({values[0]})"
        return f"('{found.start}' .. {value})"

    def constant(match: re.Match[str]) -> str:
        found = getattr(wire, match[1] or "", None)
        return f"'{found}'" if isinstance(found, str) else str(found) if type(found) is int else match[0]

    source = expanded(source, r"STEP\.(\w+)", step)
    source = re.sub(rf"\b({'|'.join(_NAMES)})\.(\w+)", named, source)
    source = expanded(source, r"\b(\w+_(?:key|channel|queue|member))(?=\()", family)
    return re.sub(rf"{_SPOKEN}|(?<![\w.])([A-Z][A-Z_]+)\b(?!\[)", constant, source)


def expanded(source: str, name: str, replacement: Callable[[str, list[str]], str]) -> str:
    """Replace every ``name(a, b)``, or ``name`` alone, by what ``replacement`` makes of its name and arguments."""
    found = re.search(name, source)
    if found is None:
        return source
    end, arguments = _arguments(source, found.end())
    inner = [expanded(each, name, replacement) for each in arguments]
    return source[: found.start()] + replacement(found[1], inner) + expanded(source[end:], name, replacement)


def _arguments(source: str, at: int) -> tuple[int, list[str]]:
    """Return where a call's parenthesis closes, and its arguments; none where none opens at ``at``."""
    if source[at : at + 1] != "(":
        return at, []
    depth, quote, start = 0, "", at + 1
    found: list[str] = []
    for place in range(at, len(source)):
        letter = source[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "({[":
            depth += 1
        elif letter in ")}]":
            depth -= 1
            if depth == 0:
                last = source[start:place].strip()
                return place + 1, [*found, last] if last else found
        elif letter == "," and depth == 1:
            found.append(source[start:place].strip())
            start = place + 1
    raise InvalidDeclaration(f"no parenthesis closes behind {source[at - 40 : at]}")
