"""Read and write JSON as kombu does, but faster where a text has no values of kombu's own types.

Kombu marks values for which JSON has no type, such as datetimes. To find them, its reader calls a Python function for
every object of a text.
"""

from __future__ import annotations

import json
from typing import Any

from kombu.utils.json import JSONEncoder, loads
from pydantic_core import from_json

#: The key by which kombu marks an object that stands for a value of another type.
MARKER = b"__type__"

#: Names of the tasks whose arguments are data of users: in them, an object with kombu's mark is only an object.
untyped_tasks: set[str] = set()

_encode = JSONEncoder().encode


def read(text: bytes, *, typed: bool = True) -> Any:
    """Return the value of a JSON text. Raises ValueError, also for a text that is nested too deeply.

    An object with kombu's mark that kombu cannot convert stays an object: users may write one into their data. Without
    ``typed``, every object stays one.
    """
    is_marked = typed and MARKER in text
    if is_marked:
        try:
            return loads(text)
        except Exception:  # each of kombu's types is converted by a constructor that raises what it likes
            pass
    try:
        return from_json(text)
    except ValueError:
        if is_marked:
            raise
    try:
        # Python's reader accepts a little more, such as lone surrogates.
        return loads(text) if typed else json.loads(text)
    except RecursionError as deep:
        raise ValueError("the text is nested too deeply") from deep


def write(value: Any) -> str:
    """Return the JSON text of a value. Raises TypeError or ValueError."""
    return str(_encode(value))
