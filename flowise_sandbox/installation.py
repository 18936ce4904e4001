"""The state of one Flowise installation: flows, their behaviour, messages, and runs under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from flowise_sandbox.behaviour import Behaviour, Conduct
from flowise_sandbox.chats import Chats
from flowise_sandbox.counts import Counts
from flowise_sandbox.flows import BUNDLED, MODELS, SandboxFlow
from flowise_sandbox.script import FlowRun


@dataclass(eq=False)
class Live:
    """A run under way. It can be interrupted or superseded."""

    run: FlowRun
    interrupt: asyncio.Event = field(default_factory=asyncio.Event)
    #: Whether a later stream uses the same chat. Flowise then sends nothing more on this one.
    superseded: bool = False

    async def pause(self, seconds: float, *, interruptible: bool) -> None:
        if not interruptible:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self.interrupt.wait()
        except TimeoutError:
            pass


class Installation:
    """The state behind the server. ``api_key`` is needed for the management API; None: nobody needs a key."""

    def __init__(
        self, flows: Iterable[SandboxFlow] = (), *, behaviour: Behaviour | None = None, api_key: str | None = None
    ) -> None:
        self.api_key = api_key
        #: Behaviour of flows for which none is set.
        self.default = behaviour or Behaviour()
        self._given_flows = (*BUNDLED, *MODELS, *flows)
        self.closing = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Drop all state but the flows that were given at the start."""
        self.flows: dict[str, SandboxFlow] = {}
        #: What only chat completions have.
        self.models: dict[str, SandboxFlow] = {}
        for flow in self._given_flows:
            self.add(flow)
        self.chats = Chats()
        self.counts = Counts()
        self._conducts: dict[str, Conduct] = {}
        self._live: dict[tuple[str, str], list[Live]] = {}

    def add(self, flow: SandboxFlow) -> None:
        """Serve one more flow, or another one under its id."""
        (self.models if flow.model else self.flows)[flow.id] = flow

    def behave(self, flow_id: str, behaviour: Behaviour) -> None:
        """Set a flow's behaviour and count its calls from zero."""
        self._conducts[flow_id] = Conduct(behaviour)

    def behave_by_default(self, behaviour: Behaviour) -> None:
        """Set the behaviour of every flow for which none was set."""
        kept = {flow_id: conduct for flow_id, conduct in self._conducts.items() if conduct.behaviour != self.default}
        self.default = behaviour
        self._conducts = kept

    def conduct(self, flow_id: str) -> Conduct:
        found = self._conducts.get(flow_id)
        if found is None:
            found = self._conducts[flow_id] = Conduct(self.default)
        return found

    def is_key(self, given: str | None) -> bool:
        """Return whether a key is accepted by the management API."""
        return self.api_key is None or given == self.api_key or (given is not None and given in self.flow_keys)

    @property
    def flow_keys(self) -> dict[str, str]:
        """The ids of flows that need a key, by key."""
        bound = ((self.conduct(flow_id).behaviour.key, flow_id) for flow_id in self.flows)
        return {key: flow_id for key, flow_id in bound if key}

    # What is under way

    def begin(self, run: FlowRun, *, streamed: bool) -> Live:
        live = Live(run)
        others = self._live.setdefault((run.flow.id, run.chat_id), [])
        if streamed:
            for other in others:
                other.superseded = True
        others.append(live)
        return live

    def end(self, live: Live) -> None:
        place = (live.run.flow.id, live.run.chat_id)
        others = self._live.get(place, [])
        if live in others:
            others.remove(live)
        if not others:
            self._live.pop(place, None)

    def abort(self, flow_id: str, chat_id: str) -> None:
        self.counts.aborted.append(chat_id)
        for live in self._live.get((flow_id, chat_id), ()):
            live.run.aborted = True
            live.interrupt.set()
