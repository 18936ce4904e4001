"""Ask a Flowise server which flows it has, and name what keeps it from telling."""

from __future__ import annotations

import asyncio

from pydantic import SecretStr

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.flowise.models import Chatflow
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    FlowError,
    FlowNotFound,
    FlowProtocolError,
    FlowRefused,
    FlowUnauthorized,
    InvalidSetting,
    ServerUnavailable,
    ServerUnreachable,
)
from agentic_flywheel.registry.importing import Listed, is_slug

#: Flows of which it is asked at once whether they stream.
_AT_ONCE = 8


async def flows_of(url: str, api_key: SecretStr | None) -> list[Listed]:
    """Return all flows of a server. Raises ServerUnavailable; InvalidSetting where address or key are not right."""
    shown = without_secrets(url)
    try:
        async with FlowiseClient(url) as client:
            found = await client.chatflows.all(api_key=api_key)
            room = asyncio.Semaphore(_AT_ONCE)
            return list(await asyncio.gather(*(_listed(client, each, room) for each in found)))
    except FlowUnauthorized:
        why = f"the Flowise at {shown} shows its flows only with an API key that may view chatflows"
        raise InvalidSetting(
            "FLOWISE_API_KEY", f"{why}, and {'refuses this one' if api_key else 'none is set'}"
        ) from None
    except (FlowProtocolError, FlowNotFound, FlowRefused) as other:
        reason = f"{shown} does not answer as Flowise does: {other.message}"
        raise InvalidSetting("FLOWISE_BASE_URL", reason) from None
    except FlowError as away:
        reason = away.reason if isinstance(away, ServerUnreachable) else away.message
        raise ServerUnavailable(shown, reason) from None


async def _listed(client: FlowiseClient, flow: Chatflow, room: asyncio.Semaphore) -> Listed:
    if not is_slug(flow.id):
        return Listed(flow)
    async with room:
        try:
            return Listed(flow, await client.chatflows.can_stream(Flow(key="listed", id=flow.id, domain="listed")))
        except FlowError:
            return Listed(flow)
