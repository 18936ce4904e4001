"""Read a Lua script's declaration from its head, and check it against the body.

A head looks like this. Lua's arguments and Python's functions are made from it (``wrappers.py`` writes Python's)::

    -- What the script does, in one or more sentences.
    --
    -- id: text               an argument, its type and meaning
    -- delay_ms: whole
    -- queues: texts          lists come last
    -- entries: entries       entries of several kinds come behind everything else
    --
    --+ ack(tag: text)        a kind of entry, and what is done with it
    --
    --> waits                 a reply
    --> full(length: whole)   a reply with a field

In the source, ``reply.full(3)`` returns a declared reply. ``function entry.ack(tag)`` says what is done with a kind of
entry, and ``carry_out(entries)`` calls these functions for one entry after the other. ``assembly.py`` says which other
names a source may use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from weakref import WeakSet

from agentic_flywheel.broker.assembly import ARGUMENTS, COMMENT, InvalidDeclaration, assembled, expanded, lua_text
from agentic_flywheel.broker.prefixes import lua_below

#: Types of arguments, and the Lua expression that reads one from the text that Redis passes.
ARGUMENT_TYPES = {
    "text": "{0}",
    "whole": "tonumber({0})",
    "number": "tonumber({0})",
    "flag": "({0} == '1')",
    "texts": "{0}",
    "wholes": "tonumber({0})",
    "numbers": "tonumber({0})",
    "entries": "",
}
LISTS = frozenset({"texts", "wholes", "numbers"})
#: Types of a reply's fields. Blobs are read as bytes: they may be no UTF-8.
REPLY_TYPES = frozenset({"text", "whole", "texts", "blobs"})
#: Types of an entry's fields.
ENTRY_TYPES = frozenset({"text", "whole"})
_ARGUMENT = re.compile(r"^-- (\w+): (\w+)(?: +(.*))?$")
_REPLY = re.compile(r"^--> (\w+)(?:\((.*?)\))?(?: +(.*))?$")
_ENTRY = re.compile(r"^--\+ (\w+)\((.*?)\)(?: +(.*))?$")


class UndeclaredReply(Exception):
    """A script returned a reply that its head does not declare. A fault of our code."""

    def __init__(self, script: str, reply: object) -> None:
        super().__init__(script, reply)


class UnexpectedReply(Exception):
    """A script returned a reply that its head declares and that this call of it cannot get. A fault of our code."""

    def __init__(self, script: str, reply: object, why_not: str) -> None:
        super().__init__(f"{script} replied {reply!r}, which cannot be: {why_not}")


class Replied:
    """Base of the classes in ``scripts``: a script's reply."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


@dataclass(frozen=True)
class Field:
    """One argument of a script, or one field of a reply."""

    name: str
    type: str
    meaning: str = ""

    @property
    def is_list(self) -> bool:
        return self.type in LISTS


@dataclass(frozen=True)
class Declared:
    """One declared reply of a script, or one declared kind of its entries."""

    name: str
    fields: tuple[Field, ...]
    meaning: str


#: The scripts of this process.
_DECLARED: WeakSet[Script] = WeakSet()


def read_scripts() -> None:
    """Read all scripts of this process now, which otherwise are read when they are needed first.

    An update of the package in place would then give new scripts to old code, and a process that has no file left to
    open would fail. Raises InvalidDeclaration.
    """
    for script in _DECLARED:
        _ = script.source


class Script:
    """One Lua script of the package, named by its path in ``lua/``. ``source`` is what the server is given."""

    def __init__(self, path: str) -> None:
        self.path, self.name = path, path.rpartition("/")[2]
        _DECLARED.add(self)
        #: By the prefix of keys: SHA-1 of the source, by which a server that has loaded it knows it.
        self.digests: dict[str, str] = {}

    @cached_property
    def summary(self) -> str:
        """What the script does, from its head."""
        return " ".join(_summary(self._head)).strip()

    @cached_property
    def arguments(self) -> tuple[Field, ...]:
        """The declared arguments. Raises InvalidDeclaration."""
        found = [Field(*_groups(match)) for line in self._head if (match := _ARGUMENT.match(line))]
        if unknown := [each.name for each in found if each.type not in ARGUMENT_TYPES]:
            raise InvalidDeclaration(f"{self.name}.lua: arguments of unknown type: {unknown}")
        order = [(each.type == "entries", each.is_list) for each in found]
        if order != sorted(order) or order.count((True, False)) > 1:
            raise InvalidDeclaration(f"{self.name}.lua: lists come last, and entries behind them")
        return tuple(found)

    @cached_property
    def replies(self) -> tuple[Declared, ...]:
        """The declared replies. Raises InvalidDeclaration."""
        found = self._declared(_REPLY, REPLY_TYPES)
        if not found:
            raise InvalidDeclaration(f"{self.name}.lua declares no reply")
        return found

    @cached_property
    def entries(self) -> tuple[Declared, ...]:
        """The declared kinds of entries. Raises InvalidDeclaration."""
        return self._declared(_ENTRY, ENTRY_TYPES)

    @cached_property
    def body(self) -> str:
        """What stands below the head, without comments."""
        return COMMENT.sub("", self._text).removeprefix(self._first_line)

    @cached_property
    def source(self) -> str:
        """The whole Lua source: shared functions that are used, the arguments as locals, the body, all names resolved.

        Raises InvalidDeclaration.
        """
        given = _locals(self.arguments) + self._with_entries()
        return self._first_line + assembled(f"{self.name}.lua", given + self._with_replies())

    def source_below(self, prefix: str) -> str:
        """Return the source whose keys all have a prefix. Raises InvalidDeclaration."""
        return self._first_line + lua_below(prefix) + self.source.removeprefix(self._first_line)

    @cached_property
    def _text(self) -> str:
        return lua_text(self.path)

    @property
    def _first_line(self) -> str:
        """What tells the server how to run the script, such as ``#!lua flags=allow-oom``; empty where nothing does."""
        return self._text.partition("\n")[0] + "\n" if self._text.startswith("#!") else ""

    @cached_property
    def _head(self) -> list[str]:
        lines = self._text.removeprefix(self._first_line).splitlines()
        end = next((at for at, line in enumerate(lines) if not line.startswith("--")), len(lines))
        return lines[:end]

    def _declared(self, form: re.Pattern[str], types: frozenset[str]) -> tuple[Declared, ...]:
        return tuple(
            Declared(match[1], tuple(_fields(self.name, match[2] or "", types)), match[3] or "")
            for line in self._head
            if (match := form.match(line))
        )

    def _with_entries(self) -> str:
        """Return the Lua that calls the function of each entry. Raises InvalidDeclaration."""
        declared = {each.name: ", ".join(field.name for field in each.fields) for each in self.entries}
        if dict(re.findall(r"^function entry\.(\w+)\((.*?)\)", self.body, re.MULTILINE)) != declared:
            raise InvalidDeclaration(f"{self.name}.lua: its functions of entries are not those that it declares")
        return _carry_out(self.entries) if declared else ""

    def _with_replies(self) -> str:
        declared = {reply.name: reply for reply in self.replies}

        def returned(name: str, arguments: list[str]) -> str:
            if name not in declared or len(declared[name].fields) != len(arguments):
                raise InvalidDeclaration(f"{self.name}.lua returns reply.{name} with {len(arguments)} fields")
            return "{" + ", ".join([f"'{name}'", *arguments]) + "}"

        return expanded(self.body, r"reply\.(\w+)", returned)


def scripts_in(folder: str = "") -> list[Script]:
    """Return the scripts in a folder below ``lua/``, sorted by name."""
    found = resources.files("agentic_flywheel.broker").joinpath("lua", folder).iterdir()
    paths = sorted(f"{folder}/{each.name}".strip("/") for each in found if each.name.endswith(".lua"))
    return [Script(path.removesuffix(".lua")) for path in paths]


def _groups(match: re.Match[str]) -> tuple[str, str, str]:
    return match[1], match[2], match[3] or ""


def _summary(head: list[str]) -> Iterator[str]:
    for line in head:
        if line == "--" or any(form.match(line) for form in (_ARGUMENT, _REPLY, _ENTRY)):
            return
        yield line.removeprefix("--").strip()


def _fields(script: str, declared: str, types: frozenset[str]) -> Iterator[Field]:
    for each in filter(None, (part.strip() for part in declared.split(","))):
        name, _, kind = (part.strip() for part in each.partition(":"))
        if kind not in types:
            raise InvalidDeclaration(f"{script}.lua: a field of unknown type: {each}")
        yield Field(name, kind)


def _locals(arguments: tuple[Field, ...]) -> str:
    """Return the Lua that reads the arguments: single ones by position, each list behind its length."""
    single = [each for each in arguments if not each.is_list and each.type != "entries"]
    lines = []
    if single:
        values = ", ".join(ARGUMENT_TYPES[each.type].format(_argument(at)) for at, each in enumerate(single, 1))
        lines.append(f"local {', '.join(each.name for each in single)} = {values}")
    if len(single) < len(arguments):
        lines.append(f"local at_list = {len(single) + 1}")
    for each in arguments[len(single) :]:
        if each.type == "entries":
            lines.append(f"local {each.name} = at_list")
            continue
        item = ARGUMENT_TYPES[each.type].format(_argument("at_list + i"))
        lines.append(f"local {each.name} = {{}}")
        lines.append(f"for i = 1, tonumber({_argument('at_list')}) do {each.name}[i] = {item} end")
        lines.append(f"at_list = at_list + 1 + #{each.name}")
    return "".join(f"{line}\n" for line in lines)


def _carry_out(kinds: tuple[Declared, ...]) -> str:
    """Return the Lua function that calls ``entry.<kind>`` with the fields of each entry, from a position on."""
    lines = ["local entry = {}", "local function carry_out(at)", f"while at <= #{ARGUMENTS} do"]
    lines.append(f"local kind = {_argument('at')}")
    word = "if"
    for kind in kinds:
        fields = ", ".join(
            ARGUMENT_TYPES[field.type].format(_argument(f"at + {place}")) for place, field in enumerate(kind.fields, 1)
        )
        lines.append(f"{word} kind == '{kind.name}' then")
        lines.append(f"entry.{kind.name}({fields}) at = at + {len(kind.fields) + 1}")
        word = "elseif"
    lines += ["else error('undeclared entry: ' .. tostring(kind)) end", "end", "end"]
    return "".join(f"{line}\n" for line in lines)


def _argument(at: int | str) -> str:
    return f"{ARGUMENTS}[{at}]"
