"""Ask a client's user in the middle of a plain call, where a query asks one and the client can ask its user.

A query asks where its flow asks a person, and where its route is unsure and the user is to choose the flow.

A client of 2025-11-25, or before, is sent a request while its call is open. One of 2026-07-28 is given what to ask as
the result of its call, and calls again with the answers and the query's id; only the query's asker can decide.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolRequestParams, ElicitRequest, InputRequiredResult
from pydantic import ValidationError

from agentic_flywheel.models import Model
from mcp_bridge.asking import SHORT_WAIT, follow
from mcp_bridge.calling import Context
from mcp_bridge.following import LONGEST_PAUSE
from mcp_bridge.task_shapes import MODERN
from mcp_bridge.tasks import TaskSource, ask_client
from mcp_bridge.tool import Call, Tool
from mcp_bridge.views import QueryHead, QueryView

#: Seconds for which an open call waits for its client's user; then it returns what is asked, and the query waits on.
PATIENCE = 600.0
#: Seconds between two looks whether somebody has decided elsewhere.
_LOOK_EVERY = 1.0


class Elicitation:
    """Asks the users of those clients that can ask them. ``source`` knows what a query asks, and takes the answers."""

    def __init__(self, source: TaskSource) -> None:
        self._source = source

    def around(
        self, tool: Tool, ctx: Context, params: CallToolRequestParams
    ) -> Callable[[Call, Any], Awaitable[Model | InputRequiredResult]]:
        """Return the work of a tool, which goes on with what the client's user decides or chooses."""

        async def work(call: Call, given: Any) -> Model | InputRequiredResult:
            asks_again = ctx.protocol_version == MODERN
            found: Model
            if asks_again and params.request_state is not None and _tells_of_query(tool):
                found = await self._go_on(ctx, call, given, params.request_state, _as_sent(params))
            else:
                found = await tool.run(call, given)
            answered = set(params.input_responses or {})
            while isinstance(found, QueryView) and (requests := await self._requests(ctx, found)):
                if answered & requests.keys():  # the user has not decided
                    break
                if asks_again:
                    return InputRequiredResult(input_requests=requests, request_state=found.query_id)
                answers = await self._answers(ctx, call, found.query_id, requests)
                if answers is None:
                    break
                answered |= requests.keys()
                found = await self._go_on(ctx, call, given, found.query_id, answers)
            return found

        return work

    async def _requests(self, ctx: Context, found: QueryView) -> dict[str, ElicitRequest]:
        """Return what a person is to be asked for a query; nothing where its client cannot ask, or has asked."""
        asks = found.asks or found.kind == "clarify"
        state = await self._source.find(ctx, found.query_id) if asks else None
        return state.requests if state is not None else {}

    async def _go_on(
        self, ctx: Context, call: Call, given: Any, query_id: str, answers: Mapping[str, Any]
    ) -> QueryView:
        await self._source.answer(ctx, query_id, answers)
        return await follow(call, query_id, getattr(given, "wait_s", SHORT_WAIT))

    async def _answers(
        self, ctx: Context, call: Call, query_id: str, requests: Mapping[str, ElicitRequest]
    ) -> dict[str, Any] | None:
        """Return what a client's user answers, nothing where somebody has decided elsewhere meanwhile.

        None where the client cannot ask after all, or does not answer in time.
        """
        asking = asyncio.create_task(ask_client(ctx, requests))
        began = told = time.monotonic()
        try:
            while not (await asyncio.wait([asking], timeout=_LOOK_EVERY))[0]:
                now = time.monotonic()
                if now - began > PATIENCE:
                    return None
                state = await self._source.find(ctx, query_id)
                if state is None or requests.keys() - state.requests.keys():
                    return {}
                if call.progress is not None and now - told >= LONGEST_PAUSE - _LOOK_EVERY:
                    told = now
                    await call.progress(call.elapsed, None, "the user is asked")
            return asking.result()
        except (MCPError, ValidationError):
            return None
        finally:
            asking.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.gather(asking, return_exceptions=True)


def _tells_of_query(tool: Tool) -> bool:
    return any(issubclass(each, QueryHead) for each in tool.results)


def _as_sent(params: CallToolRequestParams) -> dict[str, Any]:
    given = params.input_responses or {}
    return {key: each.model_dump(by_alias=True, mode="json", exclude_none=True) for key, each in given.items()}
