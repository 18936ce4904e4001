"""Read traces, scores and datasets back from Langfuse with the SDK's async client.

Uses the v2 endpoint of observations and the v3 endpoint of scores: others do not show what arrived seconds ago.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
from langfuse.api import AsyncLangfuseAPI, DatasetItem
from langfuse.api.core.api_error import ApiError
from pydantic import ValidationError

from agentic_flywheel.broker.scores import RATING, Score
from agentic_flywheel.models import Cost, Usage
from agentic_flywheel.tracing.archive import ArchiveAway, Wish, latest, nanoseconds
from agentic_flywheel.tracing.observation import Observation, trace_id

#: Groups of fields that are asked for: all that a tree shows.
_FIELDS = "core,basic,time,io,metadata,model,usage,trace_context"
#: Names of metadata whose whole value is asked for; of others Langfuse returns 200 characters.
_WHOLE = "reasoning,reason,config_used,scores,key"
_TIMEOUT = 5
_PAGE = 500
_MAX_PAGES = 4
_SCORES_PAGE = 100
_DATASET_PAGE = 100


class LangfuseArchive:
    """Reads from Langfuse. A trace appears there some seconds after it was sent."""

    name = "Langfuse"

    def __init__(self, address: str, public_key: str, secret_key: str) -> None:
        self._address, self._public_key, self._secret_key = address, public_key, secret_key

    async def trace(self, query_id: str) -> tuple[list[Observation], list[Score]]:
        wanted = trace_id(query_id)
        async with self._client() as client:
            found, cursor = [], None
            for _ in range(_MAX_PAGES):
                page = await client.observations.get_many(
                    trace_id=wanted, fields=_FIELDS, expand_metadata=_WHOLE, limit=_PAGE, cursor=cursor
                )
                found += page.data
                cursor = page.meta.cursor
                if not cursor:
                    break
            scores = await client.scores.get_many(trace_id=wanted, fields="details,subject", limit=_SCORES_PAGE)
        return [observation_of(query_id, each) for each in found], [_score_of(query_id, each) for each in scores.data]

    async def search(self, wish: Wish) -> list[Observation]:
        conditions = conditions_of(wish)
        async with self._client() as client:
            if wish.by_score:
                conditions.append(_condition("stringOptions", "traceId", "any of", await _rated(client, wish)))
            # One request has only conditions that must all hold, so question and answer are searched one by one.
            sides = ("input", "output") if wish.text else ("",)
            found = []
            for side in sides:
                text = [_condition("string", side, "matches", wish.text)] if side else []
                page = await client.observations.get_many(
                    filter=json.dumps(conditions + text), fields=_FIELDS, limit=wish.limit
                )
                found += page.data
        roots = [observation_of(_query_of(each), each) for each in found]
        asker = wish.asker
        return latest([each for each in roots if asker is None or asker.may_see_named(each.user)], wish.limit)

    async def walk(self, wish: Wish) -> AsyncIterator[Observation]:
        """Yield the roots of all traces that fulfil the conditions, the latest first; the limit is ignored.

        Raises ArchiveAway.
        """
        async with self._client() as client:
            conditions, cursor = conditions_of(wish), None
            if wish.by_score:
                conditions.append(_condition("stringOptions", "traceId", "any of", await _rated(client, wish)))
            while True:
                page = await client.observations.get_many(
                    filter=json.dumps(conditions), fields=_FIELDS, limit=_PAGE, cursor=cursor
                )
                for each in page.data:
                    yield observation_of(_query_of(each), each)
                cursor = page.meta.cursor
                if not cursor:
                    return

    async def dataset(self, name: str) -> AsyncIterator[DatasetItem]:
        """Yield the items of a dataset. Raises ArchiveAway."""
        async with self._client() as client:
            number = 1
            while True:
                page = await client.dataset_items.list(dataset_name=name, page=number, limit=_DATASET_PAGE)
                for each in page.data:
                    yield each
                if number >= page.meta.total_pages:
                    return
                number += 1

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AsyncLangfuseAPI]:
        async with httpx.AsyncClient(timeout=_TIMEOUT) as connection:
            client = AsyncLangfuseAPI(
                base_url=self._address,
                username=self._public_key,
                password=self._secret_key,
                x_langfuse_public_key=self._public_key,
                httpx_client=connection,
            )
            try:
                yield client
            except ApiError as refused:
                raise ArchiveAway(self.name, f"status {refused.status_code}") from None
            except (httpx.HTTPError, httpx.InvalidURL) as away:
                raise ArchiveAway(self.name, type(away).__name__) from None
            except (ValidationError, ValueError):
                raise ArchiveAway(self.name, "its answer is not what the SDK expects") from None


def conditions_of(wish: Wish) -> list[dict[str, Any]]:
    """Return the conditions as Langfuse's filter; those of text and score are left out."""
    given = [_condition("boolean", "isRootObservation", "=", True)]
    if wish.flow is not None:
        given.append({**_condition("stringObject", "metadata", "=", wish.flow), "key": "flow"})
    if wish.session is not None:
        given.append(_condition("string", "sessionId", "=", wish.session))
    if wish.asker is not None:
        # An owner's name begins those of its users; that of another owner may begin likewise, and is left out.
        operator = "=" if wish.asker.user else "starts with"
        given.append(_condition("string", "userId", operator, wish.asker.name))
    if wish.user_id is not None:
        given.append(_condition("string", "userId", "=", wish.user_id))
    if wish.since is not None:
        given.append(_condition("datetime", "startTime", ">=", wish.since.isoformat()))
    if wish.until is not None:
        given.append(_condition("datetime", "startTime", "<", wish.until.isoformat()))
    return given


def _condition(kind: str, column: str, operator: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "column": column, "operator": operator, "value": value}


async def _rated(client: AsyncLangfuseAPI, wish: Wish) -> list[str]:
    found = await client.scores.get_many(
        name=RATING,
        data_type="NUMERIC",
        value_min=wish.min_score,
        value_max=wish.max_score,
        from_timestamp=wish.since,
        fields="subject",
        limit=_SCORES_PAGE,
    )
    subjects = [score.subject for score in found.data]
    return [subject.id for subject in subjects if subject is not None and subject.kind == "trace"]


def observation_of(query_id: str, found: Any) -> Observation:
    """Return our form of an observation from Langfuse. Its times are exact to the millisecond."""
    start = nanoseconds(found.start_time)
    usage = found.usage_details or {}
    return Observation(
        query_id=query_id,
        name=found.name or "",
        type=found.type.lower(),
        start=start,
        end=max(start, _time(found.end_time) or start),
        span_id=found.id,
        parent=found.parent_observation_id,
        is_root=bool(found.is_root_observation),
        input=found.input,
        output=found.output,
        metadata=found.metadata or None,
        model=found.model,
        usage=Usage(
            input_tokens=usage.get("input", 0),
            output_tokens=usage.get("output", 0),
            total_tokens=usage.get("total", 0),
            model=found.model,
            cost=_cost_of(found),
        )
        if usage
        else None,
        level=None if found.level is None or found.level.value == "DEFAULT" else found.level.value,
        message=found.status_message,
        first_token=_time(found.completion_start_time),
        session=found.session_id,
        user=found.user_id,
        tags=tuple(found.tags or ()),
    )


def _cost_of(found: Any) -> Cost | None:
    total = (found.cost_details or {}).get("total")
    return None if total is None else Cost(amount=Decimal(str(total)), currency="USD")


def _query_of(root: Any) -> str:
    named = (root.metadata or {}).get("query_id")
    return str(named or root.trace_id or "")


def _score_of(query_id: str, found: Any) -> Score:
    return Score(query_id=query_id, name=found.name, value=found.value, comment=found.comment or "", at=found.timestamp)


def _time(moment: datetime | None) -> int | None:
    return None if moment is None else nanoseconds(moment)
