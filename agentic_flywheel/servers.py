"""Servers of flows, as a registry describes them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field

from agentic_flywheel.models import Model

#: The protocols that servers of flows speak; each has its package in ``agentic_flywheel.backends``.
BackendName = Literal["flowise", "openai", "http"]
*_OTHERS, _LAST = get_args(BackendName)
#: Their names, for people.
BACKENDS = f"{', '.join(_OTHERS)} or {_LAST}"
#: A name of an environment variable that holds a secret.
KeyVariable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,199}$")]


#: A variable in the value of a header.
VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=8_000)]


class FlowServer(Model):
    """A server of flows. What its flows share is said here once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Where it is, such as ``https://api.openai.com/v1``.
    address: Annotated[str, Field(pattern=r"^https?://")]
    backend: BackendName = "flowise"
    #: Name of the environment variable that holds the key of its flows, where a flow names no own one.
    api_key_env: KeyVariable | None = None
    #: Sent with every request. ``${NAME}`` in a value stands for what that environment variable holds: a secret.
    headers: dict[HeaderName, HeaderValue] = {}
    #: A file of certificates of authorities that are trusted beside the usual ones.
    ca_file: str | None = None
    #: Calls at once of all its flows together, over all workers; None: as many as it takes.
    concurrency: Annotated[int, Field(ge=1)] | None = None
