"""Sentinels as Celery's own connections reach them."""

from __future__ import annotations

import redis
from redis.sentinel import MasterNotFoundError

from agentic_flywheel.broker.clients import names_none


class Sentinels(redis.Sentinel):
    """Sentinels whose silence is one short sentence: redis-py tells all that it knows of each client."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            raise MasterNotFoundError(names_none(service_name)) from None
        return found
