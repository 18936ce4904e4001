"""The leases of delivered messages: renew our own, return messages whose worker has stopped renewing."""

from __future__ import annotations

import logging
from typing import assert_never

from redis.exceptions import ResponseError

from agentic_flywheel.broker import transport_scripts
from workers.engine.envelope import MessageUnreadable, open_message, open_record, redelivery
from workers.engine.ledger import Ledger
from workers.engine.link import BrokerLink
from workers.engine.settler import Settler
from workers.engine.unreadable import reason_of, unreadable_messages

logger = logging.getLogger(__name__)

#: Most leases that are renewed, or found expired, in one round trip.
LEASES = 1000


class DeliveryLeases:
    """Renews and judges leases over one link."""

    def __init__(self, link: BrokerLink, settler: Settler, ledger: Ledger) -> None:
        self._link, self._settler, self._ledger = link, settler, ledger

    def renew(self, tags: list[str]) -> None:
        """Stamp the leases of messages that are still being worked on.

        Raises redis-py's ConnectionError or TimeoutError when the broker does not answer.
        """
        for start in range(0, len(tags), LEASES):
            reply = self._link.run(transport_scripts.stamp(tags=tags[start : start + LEASES]))
            match reply:
                case ResponseError():
                    logger.error("the broker refuses to renew leases: %s", reply)
                case transport_scripts.StampStamped():
                    pass
                case _:
                    assert_never(reply)

    def return_expired(self, age: float) -> None:
        """Return the messages whose lease was not renewed for ``age`` seconds to their queues.

        Raises redis-py's ConnectionError or TimeoutError when the broker does not answer.
        """
        if self._settler.is_pausing or not self._link.steady:
            self.renew(["-"])  # any call will do: the link notes when the broker answered last
            return
        expired = self._link.run(transport_scripts.expired(age=age, limit=LEASES))
        match expired:
            case ResponseError():
                logger.info("the broker refuses to look for messages of lost workers: %s", expired)
            case transport_scripts.ExpiredFound():
                # The broker may have hung during this very call, and leases expired meanwhile.
                if self._link.steady and expired.tags:
                    self._return_all(expired)
            case _:
                assert_never(expired)

    def _return_all(self, expired: transport_scripts.ExpiredFound) -> None:
        for tag, seen, record in zip(expired.tags, expired.seen, expired.records, strict=True):
            self._return(tag.decode(errors="replace"), seen, record)
        logger.warning("%d messages of lost workers go back to their queues", len(expired.tags))
        self._settler.settle()

    def _return(self, tag: str, seen: str, record: bytes) -> None:
        queue = "(unknown)"
        try:
            queue, raw = open_record(record)
            payload = redelivery(open_message(raw))
        except MessageUnreadable as unreadable:
            unreadable_messages.set_aside(tag, queue, unreadable.reason, unreadable.whose)
        except Exception as error:  # one message must not keep the others from going back
            unreadable_messages.set_aside(tag, queue, reason_of(error), None)
        else:
            self._ledger.give_back(tag, queue, payload, seen=seen)
