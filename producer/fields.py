"""The fields of a query as keyword arguments, so that a type checker knows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypedDict

from pydantic import AwareDatetime, JsonValue

from agentic_flywheel.given import FormScalar
from agentic_flywheel.models import CachePolicy, Message, Priority
from agentic_flywheel.uploads import Upload


class QueryFields(TypedDict, total=False):
    """The fields of ``Query`` beside its question, with the same types, and ``timeout`` in place of ``deadline``.

    What each of them means stands at ``agentic_flywheel.models.Query``.
    """

    session_id: str | None
    #: Whom the owner asks for.
    user: str | None
    flow: str | None
    domain: str | None
    intent: str | None
    profile: str | None
    context: str | None
    context_type: Literal["technical", "cultural", "strategic", "general"] | None
    config: dict[str, JsonValue]
    form: dict[str, FormScalar]
    #: Files of this machine, as paths; addresses of images, as texts.
    uploads: Sequence[Upload | Path | str]
    history: tuple[Message, ...]
    cache: CachePolicy
    #: Also by its name.
    priority: Priority | Literal["high", "normal", "low"]
    deadline: AwareDatetime | None
    client: str
    metadata: dict[str, JsonValue]
    #: Seconds, or a timedelta, from now until the deadline. It stands before ``deadline`` where both are given.
    timeout: float | timedelta | None
