"""What a flow asks a person when it stops, and what the person decides."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import AwareDatetime, ConfigDict, Field

from agentic_flywheel.base import Model

Decision = Literal["proceed", "reject"]

#: Characters of what a person is asked, and of what a person says to it.
MAX_ASKED = 32_000
MAX_FEEDBACK = 8_000


class AskedPerson(Model):
    """What a flow asks a person, as a worker notes it."""

    flow: str
    #: Its id in Flowise at that time; '' where an older worker noted it.
    flow_id: str = ""
    domain: str
    #: The question, in the flow's words.
    text: Annotated[str, Field(max_length=MAX_ASKED)]
    #: The flow's words for each decision.
    choices: dict[Decision, str]
    #: The node that asks: its id, and how the flow's author named it.
    node: str | None = None
    title: str | None = None
    #: Whether the flow takes a text beside the decision.
    feedback: bool = True
    #: Flowise's ids of the exchange in which it was asked; the decision is told in the same chat.
    chat_id: str | None = None
    message_id: str | None = None


class StopShown(Model):
    """What whoever decides is told of a stop: in events, over HTTP and over MCP."""

    model_config = ConfigDict(extra="ignore")

    #: Its number, which a decision names.
    stop: int
    #: The flow that was asked, where the query was sent to several.
    part: str | None = None
    flow: str
    #: The question, in the flow's words.
    text: str
    choices: dict[Decision, str]
    #: Whether the flow takes a text beside the decision.
    takes_feedback: bool
    #: The node that asks, and how the flow's author named it.
    node: str | None = None
    title: str | None = None
    since: AwareDatetime
    #: When the query ends as expired, unless somebody has decided.
    until: AwareDatetime


class Stop(AskedPerson):
    """A flow that waits for a person."""

    #: Which of the query's stops this is, from 1.
    number: int
    #: The flow that was asked, where the query was sent to several; '' for the whole query.
    part: str = ""
    since: AwareDatetime
    #: When the query ends as expired, unless somebody has decided.
    until: AwareDatetime
    #: Whether a living worker's registry has the flow, so that a decision can be told; None: not looked up.
    served: bool | None = None

    def shown(self) -> StopShown:
        """Return what whoever decides is told of it."""
        return StopShown(
            stop=self.number,
            part=self.part or None,
            flow=self.flow,
            text=self.text.strip(),
            choices=self.choices,
            takes_feedback=self.feedback,
            node=self.node,
            title=self.title,
            since=self.since,
            until=self.until,
        )


class Decided(NamedTuple):
    """A person's decision, which the next call carries out."""

    number: int
    decision: Decision
    #: Since when the flow had waited for it, and when it was taken.
    since: datetime
    at: datetime
    asked: AskedPerson
    feedback: str
