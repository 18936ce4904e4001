"""What a backend must do, and what it may be unable to do: all that the rest of the system knows of a flow's server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from pydantic import SecretStr

from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.catalog import Flow


@dataclass(frozen=True)
class Abilities:
    """What a backend can do with a flow. What it cannot is done here instead, or refused before the flow is called."""

    #: Tells its answer while it makes it.
    stream: bool = False
    #: Remembers a conversation by ``session_id``. Where not, the session's turns are sent as ``history``.
    session: bool = False
    #: Takes earlier messages with a question.
    history: bool = False
    #: Takes files, and addresses of files.
    uploads: bool = False
    #: Begins with a form.
    form: bool = False
    #: Stops to ask a person, and goes on with the decision.
    human_input: bool = False
    #: Takes a configuration with a question.
    overrides: bool = False
    #: Keeps an answer for which its caller did not wait: ``find`` may find it. Where not, a call that was cut is lost,
    #: and another attempt runs the flow, and pays for it, again.
    late_answers: bool = False
    #: Says which flows it has.
    listing: bool = False


@dataclass(frozen=True)
class Probe:
    """What a server said when it was asked whether it is there."""

    #: Its name and version in its own words, such as ``Flowise 3.1.4``; empty where it tells none.
    version: str
    elapsed: timedelta


@dataclass(frozen=True)
class ListedFlow:
    """One flow as its server lists it."""

    #: What the registry's flow is called there: a chatflow's id, a model's name.
    id: str
    name: str = ""
    #: Why it cannot answer questions that come from here; empty where it can.
    unusable: str = ""


class FlowBackend(Protocol):
    """One server of flows. Every method is bounded in time and size, and raises a FlowError for every failure.

    ``api_key``: the key of the flow or its server. No error, answer or news contains it.
    """

    def abilities(self, flow: Flow) -> Abilities:
        """Return what this kind of server can do with a flow."""
        ...

    async def ask(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_news: Callable[[FlowNews], None] | None = None,
    ) -> FlowAnswer:
        """Ask the flow once, within its ``timeout`` and ``idle_timeout``, and return its answer.

        ``on_news`` is called with what is told meanwhile. Where the caller is cancelled the connection is closed.
        """
        ...

    async def find(self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None) -> FlowAnswer | None:
        """Return the answer that a call of this ``chat_id`` got after its caller had gone; None where there is none."""
        ...

    async def abort(self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None) -> None:
        """Ask for the end of a call for which nobody waits any more, as well as the server can do that."""
        ...

    async def probe(self, flow: Flow | None = None, *, api_key: SecretStr | None = None) -> Probe:
        """Ask whether the server, and this flow on it, is there. Runs no flow."""
        ...

    async def list_flows(self, *, api_key: SecretStr | None = None) -> tuple[ListedFlow, ...]:
        """Return the flows that the key may see; none where the server does not tell."""
        ...

    async def close(self) -> None:
        """Close what was opened."""
        ...
