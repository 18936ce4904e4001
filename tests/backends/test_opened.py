"""Backends are opened when a flow needs them, and closed when the registry names their server no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from tls import authority, tls_before

from agentic_flywheel.backends import FlowCall
from agentic_flywheel.backends.opened import Backends
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import ServerUnreachable
from agentic_flywheel.servers import FlowServer
from agentic_flywheel.settings import Settings

CHANGES = 200


class Counting:
    """A server that counts its open connections. Its answer to `slow` waits until it may come."""

    def __init__(self) -> None:
        self.address, self.may_come = "", asyncio.Event()
        self.runner = web.AppRunner(web.Application(), keepalive_timeout=60, shutdown_timeout=1)
        self.runner.app.router.add_post("/ask", self._answered)

    @property
    def connections(self) -> int:
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    async def _answered(self, request: web.Request) -> web.Response:
        question = (await request.json())["question"]
        if question == "slow":
            await self.may_come.wait()
        return web.json_response({"answer": f"{question}, {request.headers['X-Number']}"})


@pytest.fixture
async def counting() -> AsyncIterator[Counting]:
    server = Counting()
    await server.runner.setup()
    await web.TCPSite(server.runner, "127.0.0.1", 0).start()
    server.address = "http://{}:{}".format(*server.runner.addresses[0])
    yield server
    await server.runner.cleanup()


def catalog_of(address: str, number: int, *, ca_file: str | None = None) -> Catalog:
    """The registry after so many changes of what its server is sent."""
    served = FlowServer(address=address, backend="http", headers={"X-Number": str(number)}, ca_file=ca_file)
    told = {"request": {"path": "/ask", "body": {"question": "{{question}}"}}, "answer": {"text": "/answer"}}
    flow = Flow.model_validate({"key": "f", "id": "f", "domain": "d", "server": address, "backend": "http", **told})
    return Catalog(flows={"f": flow.model_copy(update={"served_by": served})})


async def asked(backends: Backends, catalog: Catalog, question: str) -> str:
    flow = catalog.flows["f"]
    call = FlowCall(flow=flow, question=question, chat_id="c", session_id="s", stream=False)
    return (await backends.of(flow).ask(call)).text


async def test_backends_of_a_registry_that_changes_close_when_their_last_call_has_ended(counting: Counting) -> None:
    catalogs = [catalog_of(counting.address, number) for number in range(CHANGES)]
    in_force = catalogs[0]
    backends = Backends(Settings(), lambda: in_force)
    slow = asyncio.create_task(asked(backends, in_force, "slow"))
    most = 0
    for number, in_force in enumerate(catalogs):
        assert await asked(backends, in_force, "q") == f"q, {number}"
        await asyncio.sleep(0)
        most = max(most, counting.connections)
    # A query that is tried again is asked where it was asked before.
    assert await asked(backends, catalogs[7], "again") == "again, 7"
    counting.may_come.set()

    assert await slow == "slow, 0"
    assert await asked(backends, in_force, "q") == f"q, {CHANGES - 1}"
    assert most <= 5
    async with asyncio.timeout(30):
        while counting.connections > 2:
            await asyncio.sleep(0.01)
    await backends.close()
    async with asyncio.timeout(30):
        while counting.connections:
            await asyncio.sleep(0.01)


async def test_a_file_of_authorities_that_has_changed_holds_for_the_next_call(
    counting: Counting, tmp_path: Path
) -> None:
    file = tmp_path / "house.pem"
    async with tls_before(urlsplit(counting.address).port or 0, tmp_path) as port:
        catalog = catalog_of(f"https://127.0.0.1:{port}", 1, ca_file=str(file))
        backends = Backends(Settings(), lambda: catalog)
        with pytest.raises(ServerUnreachable, match="cannot be read"):
            await asked(backends, catalog, "q")
        # An authority of another server.
        authority(tmp_path, "house")
        with pytest.raises(ServerUnreachable, match="its certificate is not accepted: unable to get"):
            await asked(backends, catalog, "q")
        file.write_text((tmp_path / "ca.pem").read_text())
        assert await asked(backends, catalog, "q") == "q, 1"
        opened = backends.of(catalog.flows["f"])
        assert backends.of(catalog.flows["f"]) is opened
        await backends.close()
