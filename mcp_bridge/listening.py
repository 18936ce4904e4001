"""Tell clients what changed: resources they subscribed to, and tasks they follow.

In 2026-07-28 both come on the stream of a ``subscriptions/listen``; before, resources come one by one on the session.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from typing import Any, Literal

import anyio
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    NotificationParams,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, ConfigDict

from agentic_flywheel.errors import TooManyOpen
from mcp_bridge.bridge import Bridge
from mcp_bridge.calling import Context, call_of
from mcp_bridge.limits import Open
from mcp_bridge.owners import current_asker, current_grant
from mcp_bridge.resources import read
from mcp_bridge.task_shapes import detailed_task
from mcp_bridge.tasks import Tasks, require_extension
from mcp_bridge.watching import Watch

#: A subscription of the older kind ends after so many seconds: nothing tells when its client is gone.
LONGEST = 7200.0
#: Open streams and subscriptions of all clients together.
MOST_LISTENERS = 1024
#: Resources that one stream or session follows, and tasks of one stream.
MOST_NAMES = 20


class _TaskParams(NotificationParams):
    model_config = ConfigDict(extra="allow")


class _TaskNotification(BaseModel):
    """``notifications/tasks``: a whole task, as ``tasks/get`` would give it."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: _TaskParams


class Listeners:
    """The subscriptions of one server's clients."""

    def __init__(self, bridge: Bridge, tasks: Tasks) -> None:
        self._bridge = bridge
        self._tasks = tasks
        self._open = 0
        self._subscribed: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._watch = Watch(bridge)
        self._of_owners = Open("subscriptions", bridge.settings.mcp_open)

    async def listen(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream: say what will be told, then tell it until the client leaves or all tasks have ended."""
        if self._open >= MOST_LISTENERS:
            raise TooManyOpen("everybody", "streams", MOST_LISTENERS)
        wanted = params.notifications
        uris = tuple(dict.fromkeys(wanted.resource_subscriptions or ()))[:MOST_NAMES]
        task_ids = await self._own_tasks(ctx, (wanted.model_extra or {}).get("taskIds"))
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        self._open += 1
        try:
            await _acknowledge(ctx, wanted, uris, task_ids, meta)
            async with anyio.create_task_group() as group:
                for uri in uris:
                    group.start_soon(self._tell_resource, ctx, uri, meta)
                for task_id in task_ids:
                    group.start_soon(self._tell_task, ctx, task_id, meta)
                if uris or not task_ids:
                    await anyio.sleep_forever()
        finally:
            self._open -= 1
        return SubscriptionsListenResult(_meta=meta)

    async def _own_tasks(self, ctx: Context, asked: Any) -> tuple[str, ...]:
        if not asked:
            return ()
        require_extension(ctx)
        names = [each for each in asked if isinstance(each, str)][:MOST_NAMES] if isinstance(asked, list) else []
        return tuple([each for each in dict.fromkeys(names) if await self._tasks.source.find(ctx, each) is not None])

    async def _tell_resource(self, ctx: Context, uri: str, meta: dict[str, Any]) -> None:
        async for _ in self._watch.changes(current_asker(self._bridge.local), uri):
            told = ResourceUpdatedNotificationParams(uri=uri, _meta=meta)
            await ctx.session.send_notification(ResourceUpdatedNotification(params=told), ctx.request_id)

    async def _tell_task(self, ctx: Context, task_id: str, meta: dict[str, Any]) -> None:
        async for state in self._tasks.source.follow(ctx, task_id):
            task = {name: value for name, value in detailed_task(state).items() if name != "resultType"}
            told = _TaskNotification(params=_TaskParams.model_validate({**task, "_meta": meta}))
            await ctx.session.send_notification(told, ctx.request_id)  # type: ignore[arg-type]

    # Before 2026-07-28

    async def subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Begin to tell a session of a resource's changes."""
        uri, key = str(params.uri), (_session_of(ctx), str(params.uri))
        if await read(call_of(self._bridge, ctx), uri) is None:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        if key not in self._subscribed:
            self._require_room(key[0])
            room = ExitStack()
            room.enter_context(self._of_owners.one_more(current_asker(self._bridge.local).owner))
            task = asyncio.create_task(self._tell_session(ctx, uri))
            task.add_done_callback(lambda _: room.close())
            task.add_done_callback(lambda _: self._subscribed.pop(key, None))
            self._subscribed[key] = task
            self._bridge.keep(task, current_grant().token_id)
        return EmptyResult()

    def _require_room(self, session: str) -> None:
        """Raise TooManyOpen where one subscription more is too many: of this session, or of all."""
        if sum(each == session for each, _ in self._subscribed) >= MOST_NAMES:
            raise TooManyOpen("this session", "subscriptions", MOST_NAMES)
        if len(self._subscribed) >= MOST_LISTENERS:
            raise TooManyOpen("everybody", "subscriptions", MOST_LISTENERS)

    async def unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Tell a session no more of a resource."""
        task = self._subscribed.pop((_session_of(ctx), str(params.uri)), None)
        if task is not None:
            task.cancel()
        return EmptyResult()

    async def _tell_session(self, ctx: Context, uri: str) -> None:
        asker = current_asker(self._bridge.local)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                async for _ in self._watch.changes(asker, uri):
                    await ctx.session.send_resource_updated(uri)


def _session_of(ctx: Context) -> str:
    headers = getattr(ctx.request, "headers", None) or {}
    return str(headers.get("mcp-session-id", "stdio"))


async def _acknowledge(
    ctx: Context, wanted: SubscriptionFilter, uris: tuple[str, ...], task_ids: tuple[str, ...], meta: dict[str, Any]
) -> None:
    honoured: dict[str, Any] = {
        "toolsListChanged": wanted.tools_list_changed or None,
        "promptsListChanged": wanted.prompts_list_changed or None,
        "resourcesListChanged": wanted.resources_list_changed or None,
        "resourceSubscriptions": list(uris) or None,
        "taskIds": list(task_ids) or None,
    }
    told = SubscriptionFilter.model_validate({name: value for name, value in honoured.items() if value})
    params = SubscriptionsAcknowledgedNotificationParams(notifications=told, _meta=meta)
    await ctx.session.send_notification(SubscriptionsAcknowledgedNotification(params=params), ctx.request_id)
