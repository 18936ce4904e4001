"""Write Python's side of the scripts from their heads: a function for each script, and a class for each reply.

There are two kinds. Those of the queries are sent by a ``Batch``, which decodes what comes back. Those of the transport
are calls that the worker's link sends from the hub's thread; their replies are bytes.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from agentic_flywheel.broker.declaration import Declared, Field, Script, scripts_in

PACKAGE = Path(__file__).parent
#: The generated modules, by the folder of their scripts below ``lua/``.
MODULES = {"": PACKAGE / "scripts.py", "transport": PACKAGE / "transport_scripts.py"}

_ARGUMENTS = {
    "text": "str",
    "whole": "int",
    "number": "float",
    "flag": "bool",
    "texts": "Sequence[str]",
    "wholes": "Sequence[int]",
    "numbers": "Sequence[float]",
}
#: The type of a reply's field, and what makes it of what a batch, or a link, returns.
_FIELDS = {
    "text": ("str", "{0}", "{0}.decode()"),
    "whole": ("int", "int({0})", "int({0})"),
    "texts": ("tuple[str, ...]", "tuple({0})", "tuple(each.decode() for each in {0})"),
    "blobs": ("tuple[bytes, ...]", "tuple({0})", "tuple({0})"),
}
_QUERIES = '''"""Python's side of the scripts, made by ``generate.py`` from their heads. Change those, and run it again.

Each function runs one script and returns what it replied, a closed type. All raise BrokerUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.declaration import Replied, Script, UndeclaredReply
'''
_TRANSPORT = '''"""Python's side of the transport's scripts, made by ``generate.py`` from their heads.

Each function returns the call of one script, which a ``BrokerLink`` runs; the reply is a closed type.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NewType

from agentic_flywheel.broker.calls import ScriptCall
from agentic_flywheel.broker.declaration import Replied, Script, UndeclaredReply
'''


def module(folder: str) -> str:
    """Return the source of a generated module. Needs ruff, which sets it out as it does all our sources."""
    write, head = (_transport, _TRANSPORT) if folder else (_queries, _QUERIES)
    made = head + "".join(part for script in scripts_in(folder) for part in write(script))
    ruff = (sys.executable, "-m", "ruff", "format", "--stdin-filename", str(MODULES[folder]), "-")
    return subprocess.run(ruff, input=made, capture_output=True, text=True, check=True).stdout


def _queries(script: Script) -> Iterator[str]:
    yield from _beginning(script)
    union = _union(script)
    parameters = ", ".join(f"{each.name}: {_ARGUMENTS[each.type]}" for each in script.arguments)
    yield f"\n\nasync def {script.name}(batch: Batch, *, {parameters}) -> {union}:\n"
    yield _docstring(script)
    sent = ", ".join(map(_sent, script.arguments))
    yield f"    reply = await batch.run(_{script.name.upper()}, {sent})\n"
    yield from _match(script, 1, '"{0}"')


def _transport(script: Script) -> Iterator[str]:
    yield from _beginning(script)
    union, entry = _union(script), f"{_title(script.name)}Entry"
    if script.entries:
        yield f'\n\n{entry} = NewType("{entry}", tuple[str | int, ...])\n'
    for kind in script.entries:
        parameters = ", ".join(f"{each.name}: {_ARGUMENTS[each.type]}" for each in kind.fields)
        names = ", ".join(each.name for each in kind.fields)
        yield f"\n\ndef {script.name}_{kind.name}(*, {parameters}) -> {entry}:\n"
        yield f'    """Return the entry: {kind.meaning}."""\n    return {entry}(("{kind.name}", {names}))\n'
    types = {**_ARGUMENTS, "entries": f"Iterable[{entry}]"}
    parameters = ", ".join(f"{each.name}: {types[each.type]}" for each in script.arguments)
    yield f"\n\ndef {script.name}(*, {parameters}) -> ScriptCall[{union}]:\n"
    yield _docstring(script)
    sent = ", ".join(map(_sent, script.arguments))
    sent += "," if len(script.arguments) == 1 and "*" not in sent else ""
    yield f"    return ScriptCall(_{script.name.upper()}, ({sent}), _read_{script.name})\n"
    yield f"\n\ndef _read_{script.name}(reply: Any) -> {union}:\n"
    yield from _match(script, 2, 'b"{0}"')


def _beginning(script: Script) -> Iterator[str]:
    for reply in script.replies:
        yield _reply_class(script, reply)
    classes = [_class_name(script, reply) for reply in script.replies]
    yield f"\n\n{_union(script)} = {' | '.join(classes)}\n"
    yield f'\n_{script.name.upper()} = Script("{script.path}")\n'


def _docstring(script: Script) -> str:
    text = textwrap.fill(f'"""{script.summary}', 116, initial_indent="    ", subsequent_indent="    ")
    described = [each for each in script.arguments if each.meaning]
    if described:
        text += "\n\n" + "".join(f"    ``{each.name}``: {each.meaning}.\n" for each in described) + "    "
    return f'{text}"""\n'


def _match(script: Script, way: int, quoted: str) -> Iterator[str]:
    """Yield the lines that make a closed type of a reply. ``way``: which of the expressions of a field's type do it."""
    yield "    match reply:\n"
    for reply in script.replies:
        patterns = [quoted.format(reply.name), *(each.name for each in reply.fields)]
        given = ", ".join(_FIELDS[each.type][way].format(each.name) for each in reply.fields)
        yield f"        case [{', '.join(patterns)}]:\n            return {_class_name(script, reply)}({given})\n"
    yield f'        case _:\n            raise UndeclaredReply("{script.name}", reply)\n'


def _reply_class(script: Script, reply: Declared) -> str:
    # Plain classes: fifty dataclasses would take 50 ms of every command's start.
    meaning = reply.meaning or f"``{script.name}`` replied ``{reply.name}``"
    lines = [f"class {_class_name(script, reply)}(Replied):", f'    """{meaning[:1].upper()}{meaning[1:]}."""', ""]
    slots = "".join(f'"{name}", ' for name in sorted(each.name for each in reply.fields))
    lines.append(f"    __slots__ = ({slots})")
    if reply.fields:
        names = ", ".join(each.name for each in reply.fields)
        given = ", ".join(f"{each.name}: {_FIELDS[each.type][0]}" for each in reply.fields)
        own = ", ".join(f"self.{each.name}" for each in reply.fields)
        lines += ["", f"    def __init__(self, {given}) -> None:", f"        {own} = {names}"]
    return "\n\n\n" + "\n".join(lines) + "\n"


def _sent(argument: Field) -> str:
    if argument.type == "entries":
        return f"*chain.from_iterable({argument.name})"
    if argument.is_list:
        return f"len({argument.name}), *{argument.name}"
    return f"int({argument.name})" if argument.type == "flag" else argument.name


def _class_name(script: Script, reply: Declared) -> str:
    return f"{_title(script.name)}{_title(reply.name)}"


def _union(script: Script) -> str:
    return f"{_title(script.name)}Reply"


def _title(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
