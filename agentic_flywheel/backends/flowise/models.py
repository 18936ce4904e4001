"""What Flowise says of itself and its flows, in our own words."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import AwareDatetime

from agentic_flywheel.backends.flowise.about import FlowPurpose
from agentic_flywheel.catalog import FormField
from agentic_flywheel.models import Model

Rating = Literal["THUMBS_UP", "THUMBS_DOWN"]


class ServerRate(Model):
    """The rate limit that a flow's owner set in Flowise: so many calls within the period."""

    calls: int
    period: timedelta


#: Why a flow that starts like this cannot answer questions.
_STARTS = {
    "webhookTrigger": "it is started by a webhook: no question can start it",
    "scheduleInput": "it is started by a schedule: no question can start it",
}


class Chatflow(Model):
    """A flow as Flowise lists it."""

    id: str
    name: str = ""
    kind: str = "CHATFLOW"
    deployed: bool = False
    public: bool = False
    #: Whether calls need the key that the flow is bound to.
    keyed: bool = False
    #: Whether the owner enabled overriding at all; if not, Flowise silently ignores ``overrideConfig``.
    overrides: bool = False
    #: The settings that may be overridden; ``vars`` where some of the ``variables`` may.
    overridable: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    #: What starts it: chatInput, formInput, webhookTrigger or scheduleInput.
    start: str = "chatInput"
    #: The form's fields, where it is a form.
    form: tuple[FormField, ...] = ()
    #: Whether it can stop to ask a person.
    asks_person: bool = False
    rate: ServerRate | None = None
    updated: AwareDatetime | None = None
    #: Words by which its owner sorts it; empty where there are none.
    category: str = ""
    about: FlowPurpose = FlowPurpose()

    @property
    def unusable(self) -> str:
        """Why it cannot answer questions that come from here; empty where it can."""
        return _STARTS.get(self.start, "")


class UploadsAccepted(Model):
    """Which uploads a flow makes use of; Flowise takes any other without a word, and does nothing with it."""

    #: MIME types of images, and the most bytes of one.
    images: frozenset[str] = frozenset()
    image_bytes: int = 0
    #: Whether audio is turned into the question.
    speech: bool = False


class Feedback(Model):
    """A user's verdict on one answer, as Flowise keeps it."""

    id: str
    chat_id: str = ""
    message_id: str = ""
    rating: Rating
    content: str = ""
    created: AwareDatetime | None = None
