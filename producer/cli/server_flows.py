"""Ask a server which flows it has, and name what keeps it from telling."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import SecretStr

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.backends import ListedFlow
from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.flowise.models import Chatflow
from agentic_flywheel.backends.opened import open_backend
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
from agentic_flywheel.servers import BackendName, FlowServer

#: What each kind of server is called in a sentence.
_KINDS: dict[BackendName, str] = {
    "flowise": "the Flowise",
    "openai": "the OpenAI-compatible server",
    "http": "the service",
}
#: Flows of which it is asked at once whether they stream.
_AT_ONCE = 8


async def flows_of(server: FlowServer, api_key: SecretStr | None) -> list[Listed]:
    """Return all flows of a Flowise. Raises ServerUnavailable; InvalidSetting where address or key are not right."""
    with _named(server, api_key):
        async with FlowiseClient(server.address, headers=server.headers, ca_file=server.ca_file) as client:
            found = await client.chatflows.all(api_key=api_key)
            room = asyncio.Semaphore(_AT_ONCE)
            return list(await asyncio.gather(*(_listed(client, each, room) for each in found)))


async def models_of(server: FlowServer, api_key: SecretStr | None) -> tuple[ListedFlow, ...]:
    """Return what a server of another kind lists. Raises as ``flows_of``."""
    with _named(server, api_key):
        backend = open_backend(server)
        try:
            return await backend.list_flows(api_key=api_key)
        finally:
            await backend.close()


async def gone_of(server: FlowServer, flows: Sequence[Flow]) -> list[Flow]:
    """Return those of these flows of which their Flowise says that it does not know them.

    A list alone does not say so: a key sees the flows of its workspace.
    """
    async with FlowiseClient(server.address, headers=server.headers, ca_file=server.ca_file) as client:
        room = asyncio.Semaphore(_AT_ONCE)
        asked = await asyncio.gather(*(_is_gone(client, each, room) for each in flows))
    return [flow for flow, is_gone in zip(flows, asked, strict=True) if is_gone]


@contextmanager
def _named(server: FlowServer, api_key: SecretStr | None) -> Iterator[None]:
    """Name what keeps a server from telling its flows."""
    shown, kind = without_secrets(server.address), _KINDS.get(server.backend, "the server")
    setting = server.api_key_env or ("FLOWISE_API_KEY, or --key," if server.backend == "flowise" else "--key")
    try:
        yield
    except FlowUnauthorized:
        right = " that may view chatflows" if server.backend == "flowise" else ""
        why = f"{kind} at {shown} shows its flows only with an API key{right}"
        raise InvalidSetting(setting, f"{why}, and {'refuses this one' if api_key else 'none is set'}") from None
    except (FlowProtocolError, FlowNotFound, FlowRefused) as other:
        reason = f"{shown} does not answer as {kind.removeprefix('the ')} does: {other.message}"
        raise InvalidSetting("FLOWISE_BASE_URL" if server.backend == "flowise" else "address", reason) from None
    except FlowError as away:
        reason = away.reason if isinstance(away, ServerUnreachable) else away.message
        raise ServerUnavailable(shown, reason) from None


async def _is_gone(client: FlowiseClient, flow: Flow, room: asyncio.Semaphore) -> bool:
    async with room:
        try:
            await client.chatflows.can_stream(flow)
        except FlowNotFound:
            return True
        except FlowError:
            pass
    return False


async def _listed(client: FlowiseClient, flow: Chatflow, room: asyncio.Semaphore) -> Listed:
    if not is_slug(flow.id):
        return Listed(flow)
    async with room:
        try:
            return Listed(flow, await client.chatflows.can_stream(Flow(key="listed", id=flow.id, domain="listed")))
        except FlowError:
            return Listed(flow)
