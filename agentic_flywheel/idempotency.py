"""Idempotency keys: a caller who names a submission may repeat it, and it is accepted once.

The query's id is a hash of owner, user and key, so the key needs no store of its own: it lives as long as the query's
record.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import TypeAdapter, ValidationError

from agentic_flywheel.asker import Asker
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.given import Identifier, fault_of
from agentic_flywheel.ids import in_uuid4_layout
from agentic_flywheel.models import Query

_KEY: TypeAdapter[str] = TypeAdapter(Identifier)
#: Left out of the comparison: a deadline is made from a time-out anew each time, and any program may repeat.
_NOT_COMPARED = {"deadline", "client"}


def read_key(key: object) -> str:
    """Return an idempotency key: 1 to 200 visible characters. Raises InvalidQuery."""
    try:
        return _KEY.validate_python(key, strict=True)
    except ValidationError as refused:
        raise InvalidQuery("idempotency_key", fault_of(refused)[1]) from None


def query_id_of(asker: Asker, key: str) -> str:
    """Return the id of the query that this asker submits under this key, in the layout of every query id.

    Its first eight digits are no producer's: who waits for it listens to their channel alone.
    """
    return in_uuid4_layout(hashlib.sha256(json.dumps([*filter(None, asker), key]).encode()).hexdigest())


def content_digest(query: Query) -> str:
    """Return what is equal for equal queries: all fields but the deadline and the client."""
    content = query.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_COMPARED)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
