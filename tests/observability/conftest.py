"""A house whose workers trace to one Langfuse server, and a producer that does so too."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from langfuse_server import PUBLIC_KEY, SECRET_KEY, LangfuseServer, Span
from pipeline.house import House
from processes import Process, wait_for
from pydantic import SecretStr

from agentic_flywheel.settings import Settings
from producer import AsyncProducer

#: Longer than any process keeps what it could send.
QUIET = 0.35


@dataclass(frozen=True)
class Observed:
    """The house and what it told the server."""

    house: House
    server: LangfuseServer

    @property
    def settings(self) -> Settings:
        keys = {"langfuse_base_url": self.server.url, "langfuse_public_key": PUBLIC_KEY}
        return self.house.settings.model_copy(update={**keys, "langfuse_secret_key": SecretStr(SECRET_KEY)})

    def expendable(self) -> Process:
        """Return a worker beside which there is another one."""
        alive = [worker for worker in self.house.workers if worker.alive]
        return alive[-1] if len(alive) > 1 else self.house.worker(**self.server.environment)

    def trace(self, query_id: str) -> list[Span]:
        """Return a query's spans, the root first, once it has its root and all that was on the way has arrived."""
        wait_for(lambda: any(each.parent is None for each in self.server.trace(query_id)), what=f"root of {query_id}")
        count = -1
        while count != len(self.server.spans):
            count = len(self.server.spans)
            time.sleep(QUIET)
        return sorted(self.server.trace(query_id), key=lambda span: (span.parent is not None, span.start))

    def names(self, query_id: str) -> list[str]:
        """Return the names of a query's steps, in the order of their beginning."""
        return [span.name for span in self.trace(query_id)[1:]]

    def check(self, *query_ids: str) -> None:
        """Every query has exactly one root; no span has lost its parent, came twice or is malformed."""
        roots = [span.trace_id for span in self.server.roots()]
        assert sorted(each for each in roots if each in query_ids) == sorted(query_ids)
        assert self.server.orphans() == []
        assert self.server.duplicates == []
        assert self.server.problems == []


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with LangfuseServer() as server:
        house = House(tmp_path_factory.mktemp("observed"))
        observed = Observed(house, server)
        try:
            first, second = (house.worker(wait=False, **server.environment) for _ in range(2))
            house.ready(first)
            house.ready(second)
            yield observed
        finally:
            house.stop()


@pytest.fixture
def observed(standing: Observed) -> Observed:
    standing.house.reset()
    standing.server.mend()
    return standing


@pytest.fixture
async def producer(observed: Observed) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(observed.settings, owner="ada") as producer:
        yield producer
