"""Pass on to Flowise what people think of its answers, so that its own users see it too."""

from __future__ import annotations

from pydantic import SecretStr
from yarl import URL

from agentic_flywheel.backends.connection import Connection, ExpectedForm
from agentic_flywheel.backends.flowise.addresses import flow_address, server_root
from agentic_flywheel.backends.flowise.listing import read_feedback
from agentic_flywheel.backends.flowise.models import Feedback, Rating
from agentic_flywheel.catalog import Flow


class Verdicts:
    """The feedback on the answers of a server's flows."""

    def __init__(self, base: URL, connection: Connection) -> None:
        self._base, self._connection = base, connection

    async def give(
        self,
        flow: Flow,
        *,
        chat_id: str,
        message_id: str,
        rating: Rating,
        content: str = "",
        api_key: SecretStr | None = None,
    ) -> Feedback:
        """Leave a verdict on one answer."""
        told = {"chatflowid": flow.id, "chatId": chat_id, "messageId": message_id, "rating": rating}
        if content:
            told["content"] = content
        # Without a key only the flow's own address takes it.
        url = server_root(self._base, flow) / "feedback" if api_key else flow_address(self._base, flow, "feedback")
        found = await self._connection.fetch_json("POST", url, flow, api_key, body=told)
        with ExpectedForm(flow.key):
            return read_feedback(found)

    async def revise(
        self, flow: Flow, feedback_id: str, *, rating: Rating, content: str = "", api_key: SecretStr | None = None
    ) -> None:
        """Change an earlier verdict."""
        url = server_root(self._base, flow) / "feedback" / feedback_id
        await self._connection.fetch_json("PUT", url, flow, api_key, body={"rating": rating, "content": content})
