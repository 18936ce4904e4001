"""Names in paths: a slash that is part of one is sent as `%2F`, and does not end it.

A server decodes a path before it looks for a route, so the session `a/turns` would be read as the turns of `a`.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote

from fastapi import Path
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

from agentic_flywheel.models import Identifier

#: A name in a path, whose route has it as `{…:name}` or `{…:part}`.
NameInPath = Annotated[Identifier, Path(description="A slash in it is sent as `%2F`.")]
#: An encoded slash, and the sign that would write one.
_KEPT = re.compile(rb"%(?=2[fF5])")


def routed_path(scope: Scope) -> str:
    """Return the path by which the route of a request is found: decoded, but for `%2F` and `%25`.

    Two slashes at its beginning are one: the address that a client was given ends with the other.
    """
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    if raw is not None and _KEPT.search(raw):
        path = unquote(_KEPT.sub(b"%25", raw).decode("ascii"))
    return f"/{path.lstrip('/')}" if path.startswith("//") else path


class _Name(Convertor[str]):
    """`{…:name}`: one name. Its slashes may stand there as they are where no other route is meant."""

    regex = ".+"

    def convert(self, value: str) -> str:
        return unquote(value)


class _Part(_Name):
    """`{…:part}`: the same up to the next slash."""

    regex = "[^/]+"


register_url_convertor("name", _Name())
register_url_convertor("part", _Part())
