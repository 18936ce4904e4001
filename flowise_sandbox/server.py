"""Serve an installation over HTTP, within a program or as a process of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from aiohttp import web

from flowise_sandbox.behaviour import Behaviour
from flowise_sandbox.completions import Completions
from flowise_sandbox.control import Control
from flowise_sandbox.counts import Counts
from flowise_sandbox.fallback import Fallback
from flowise_sandbox.flows import SandboxFlow
from flowise_sandbox.installation import Installation
from flowise_sandbox.listing import Listing
from flowise_sandbox.messages import Messages
from flowise_sandbox.predictions import Predictions
from flowise_sandbox.uploads import Uploads
from flowise_sandbox.verdicts import FeedbackCalls
from flowise_sandbox.widget import WidgetCalls

#: Flowise's own values: seconds for which an idle connection stays open, and bytes of the largest body.
KEEPALIVE = 5.0
MAX_BODY = 50 * 1024 * 1024
#: Seconds for which calls under way may go on when the server closes.
SHUTDOWN = 0.3
#: What is answered. Fallback is last, because it answers every path that the others do not.
_CALLS = (
    Predictions,
    Completions,
    Control,
    Listing,
    Messages,
    FeedbackCalls,
    Uploads,
    WidgetCalls,
    Fallback,
)


class Sandbox:
    """A Flowise for experiments, whose flows answer chat completions too: at ``/v1``, as models of their ids.

    ``async with Sandbox() as sandbox`` serves it at ``sandbox.url``.
    """

    def __init__(
        self,
        flows: Iterable[SandboxFlow] = (),
        *,
        behaviour: Behaviour | None = None,
        api_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.installation = Installation(flows, behaviour=behaviour, api_key=api_key)
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to serve. Raises OSError where the port is taken."""
        app = web.Application(client_max_size=MAX_BODY)
        for calls in _CALLS:
            calls(self.installation).add_to(app)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=SHUTDOWN)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=4096).start()
        except OSError:
            await self.close()
            raise
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop serving and end the calls under way."""
        self.installation.closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def counts(self) -> Counts:
        return self.installation.counts

    def behave(self, flow_id: str, behaviour: Behaviour) -> None:
        """Set a flow's behaviour from its next call on."""
        self.installation.behave(flow_id, behaviour)

    def add(self, flow: SandboxFlow, behaviour: Behaviour | None = None) -> SandboxFlow:
        """Serve one more flow and return it."""
        self.installation.add(flow)
        if behaviour is not None:
            self.installation.behave(flow.id, behaviour)
        return flow
