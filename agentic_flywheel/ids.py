"""Ids of queries, and the ids of traces that follow from them."""

from __future__ import annotations

import os
import re

#: Matches every id of a query: ours, and those that plain Celery clients choose. Keys and names of executions are built
#: from ids.
QUERY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def new_query_id(producer: str = "") -> str:
    """Return 32 lower-case hex digits in uuid4's layout, beginning with the ``producer``'s own eight digits.

    The id is the Celery task id, the record's key, the MCP task id and the Langfuse trace id. Its first eight digits
    name the channel on which the producer hears of its queries, so one subscription serves them all.
    """
    return producer + in_uuid4_layout(os.urandom(16).hex())[len(producer) :]


def in_uuid4_layout(digits: str) -> str:
    """Return 32 of these hex digits with the version (4) and variant (10) bits of RFC 9562."""
    return f"{digits[:12]}4{digits[13:16]}{_VARIANT[digits[16]]}{digits[17:32]}"


def trace_id_of(query_id: str) -> str:
    """Return the trace id of a query: its id, without the dashes that a plain Celery client puts in."""
    return query_id.replace("-", "")
