"""Read `data:` addresses (RFC 2397), in which clients of every kind write a file into their request."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.uploads import LARGEST, ending_of, type_of

_SCHEME = "data:"
#: Characters of base64 that a file of the largest size takes.
_MOST_BASE64 = -(-LARGEST // 3) * 4


class DataAddress(NamedTuple):
    """What a `data:` address holds."""

    #: The MIME type, in lower case; '' where it names none.
    type: str
    #: The name, which clients write as a parameter; '' where there is none.
    name: str
    content: bytes

    def file_name(self, unnamed: str) -> str:
        """Return a name for the file whose ending says its type. ``unnamed``: its name without ending, where it has
        none."""
        ending = ending_of(self.type)
        if ending is None or type_of(self.name) is not None:
            return self.name
        return f"{self.name or unnamed}.{ending}"


def is_data_address(text: str) -> bool:
    """Return whether a text is meant as a `data:` address."""
    return text[: len(_SCHEME)].lower() == _SCHEME


def read_data_address(text: str, field: str) -> DataAddress:
    """Return what a `data:` address holds. Raises InvalidQuery, which names the field."""
    head, comma, content = text.partition(",")
    if not (comma and is_data_address(head)):
        raise InvalidQuery(field, "it should be a file as `data:TYPE;base64,CONTENT`")
    kind, *parameters = head[len(_SCHEME) :].split(";")
    named = (each.partition("=") for each in parameters)
    name = next((unquote(value).strip('"') for key, _, value in named if key.lower() in ("name", "filename")), "")
    plain = unquote_to_bytes(content) if "%" in content else content.encode("utf-8", "replace")
    if not parameters or parameters[-1].strip().lower() != "base64":
        return DataAddress(kind.strip().lower(), name, plain)
    plain = b"".join(plain.split())
    if len(plain) > _MOST_BASE64:
        raise InvalidQuery(field, f"it has more than {LARGEST:,} bytes; flows take no more")
    try:
        return DataAddress(kind.strip().lower(), name, base64.b64decode(plain, validate=True))
    except binascii.Error:
        raise InvalidQuery(field, "its content is no base64") from None
