"""What a backend must do, and what it may be unable to do: all that the rest of the system knows of a flow's server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

from pydantic import SecretStr

from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews
from agentic_flywheel.catalog import Flow, FormField
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import Model


@dataclass(frozen=True)
class Abilities:
    """What can be done with a flow. What cannot is done here instead, or refused before the flow is called."""

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


class FlowReport(Model):
    """What a server says of one flow of the registry."""

    flow: str
    #: Its name there, where that could be read.
    name: str = ""
    key: Literal["not needed", "accepted", "missing", "refused", "not known"] = "not known"
    streams: bool | None = None
    #: What its owner lets be overridden; None: not known.
    overridable: tuple[str, ...] | None = None
    #: Overrides of the registry that the server silently ignores.
    ignored: tuple[str, ...] = ()
    #: The form with which it begins there.
    form: tuple[FormField, ...] = ()
    #: Where a person sees it in a browser, and may change it and talk to it; None where there is no such page.
    editor_url: str | None = None
    chat_url: str | None = None
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class FlowBackend(Protocol):
    """One server of flows. Every method is bounded in time and size, and raises a FlowError for every failure.

    ``api_key``: the key of the flow or its server. No error contains it; of answers and news, those in which
    the flow itself quotes it. A backend inherits this class, and writes what it cannot leave as it is.
    """

    @abstractmethod
    def abilities(self, flow: Flow) -> Abilities:
        """Return what can be done with a flow. Asks nobody."""

    async def prepare(self, call: FlowCall, *, api_key: SecretStr | None = None) -> FlowCall:
        """Return a call as its flow takes it, with what is to be said of its configuration.

        It is asked before ``find``, and long before ``ask``. Raises FlowRefused where the flow would not take it.
        """
        return call

    @abstractmethod
    async def ask(
        self,
        call: FlowCall,
        *,
        api_key: SecretStr | None = None,
        on_news: Callable[[FlowNews], None] | None = None,
    ) -> FlowAnswer:
        """Ask the flow once, within its ``timeout`` and ``idle_timeout``, and return its answer.

        ``on_news`` is called with what is told meanwhile. Where the caller is cancelled the connection is closed.
        Raises UploadRefused too, where the server cannot read a file.
        """

    async def find(self, flow: Flow, chat_id: str, *, api_key: SecretStr | None = None) -> FlowAnswer | None:
        """Return the answer that a call of this ``chat_id`` got after its caller had gone; None where there is none.

        It is asked only of flows with ``late_answers``.
        """
        return None

    async def abort(self, flow: Flow, chat_id: str, *, stopped: bool = False, api_key: SecretStr | None = None) -> None:
        """Ask for the end of a call for which nobody waits any more, as well as the server can do that.

        ``stopped``: whether it is one that stopped to ask a person.
        """
        return None

    @abstractmethod
    async def probe(self, flow: Flow | None = None, *, api_key: SecretStr | None = None) -> Probe:
        """Ask whether the server, and this flow on it, is there. Runs no flow."""

    async def examine(self, flow: Flow, *, api_key: SecretStr | None = None) -> FlowReport:
        """Return what the server says of a flow, and of what the registry says of it. Runs no flow. Raises nothing."""
        streams = self.abilities(flow).stream
        try:
            await self.probe(flow, api_key=api_key)
        except FlywheelError as error:
            return FlowReport(flow=flow.key, streams=streams, problems=(error.message,))
        return FlowReport(flow=flow.key, streams=streams)

    async def list_flows(self, *, api_key: SecretStr | None = None) -> tuple[ListedFlow, ...]:
        """Return the flows that the key may see; none where the server does not tell."""
        return ()

    @abstractmethod
    async def close(self) -> None:
        """Close what was opened, as soon as the calls under way have ended.

        A query that came when its flow's server was another one may use it afterwards: what that opens is closed again.
        """
