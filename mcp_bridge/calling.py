"""Do a tool's work for a client: check the arguments, name the failures, look for the stack where it moved."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mcp.server.context import ServerRequestContext
from pydantic import ValidationError

from agentic_flywheel.errors import BrokerRefused, BrokerUnavailable, CallFailed, ErrorInfo, FlywheelError, InvalidQuery
from mcp_bridge.bridge import Bridge
from mcp_bridge.discretion import told
from mcp_bridge.failure import refused_arguments
from mcp_bridge.owners import current_asker, current_grant
from mcp_bridge.tool import Call, Tool
from mcp_bridge.views import QueryEnded

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
Done = TypeVar("Done")


def call_of(bridge: Bridge, ctx: Context) -> Call:
    """Return the call that a request makes: its asker's producer, and where its progress goes."""
    asked = ctx.meta is not None and ctx.meta.get("progress_token") is not None
    grant = current_grant()
    producer = bridge.producer(current_asker(bridge.local), grant.limits)
    return Call(bridge, producer, ctx.session.report_progress if asked else None, grant)


async def perform(
    tool: Tool, work: Callable[[Call, Any], Awaitable[Done]], bridge: Bridge, ctx: Context, arguments: Any
) -> Done | ErrorInfo:
    """Do a tool's work with a client's arguments. Returns the error instead where it cannot be done."""
    try:
        given = tool.arguments.model_validate(arguments or {})
    except ValidationError as refused:
        return refused_arguments(refused).describe()
    except InvalidQuery as refused:
        return refused.describe()
    try:
        try:
            return await work(call_of(bridge, ctx), given)
        except (BrokerUnavailable, BrokerRefused):
            # Nothing was accepted there. The stack may have been started, or come back, somewhere else.
            if not await bridge.moved():
                raise
        return await work(call_of(bridge, ctx), given)
    except QueryEnded as ended:
        return ended.info
    except FlywheelError as error:
        return told(error)
    except Exception:
        failed = CallFailed(tool.name).describe()
        logger.exception("tool %s failed, error_id %s", tool.name, failed.error_id)
        return failed
