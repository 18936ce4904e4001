"""Whose root is owed by whom: noted when a query ends, crossed out when it has left, taken over from the dead."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from pathlib import Path

import pytest
from langfuse_server import LangfuseServer
from processes import wait_for
from redis.asyncio import Redis

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.transitions import Transitions
from agentic_flywheel.broker.upkeep import Upkeep
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing import Tracer
from tracing.catalogs import CATALOG
from tracing.lua import put_record
from tracing.records import record
from workers.roots import OwedRoots


async def test_a_cancelled_query_is_owed_by_one_worker_only(batch: Batch, redis_client: Redis) -> None:
    await put_record(redis_client, "q", state="running", owner="ada")
    one, other = (Upkeep(batch, Settings(), worker=name, traces=True) for name in ("one", "other"))
    transitions = Transitions(batch, Settings())
    await transitions.cancel(["q"], asker=Asker("ada"), reason="tired of it")
    await transitions.cancel(["q"], asker=Asker("ada"), reason="again")

    found = [await upkeep.sweep(CATALOG, ()) for upkeep in (one, other, one)]

    assert [each.ended for each in found] == [("q",), (), ()]
    assert await redis_client.smembers(wire.roots_key("one")) == {"q"}


async def test_what_a_dead_worker_owed_is_taken_over_once(batch: Batch, redis_client: Redis) -> None:
    one, other = (Upkeep(batch, Settings(), worker=name, traces=True) for name in ("one", "other"))
    await one.sweep(CATALOG, ())
    await redis_client.sadd(wire.roots_key("one"), "a", "b")
    while_it_lives = await other.sweep(CATALOG, ())
    await redis_client.delete(wire.alive_key("one"))

    after = await other.sweep(CATALOG, ())

    assert while_it_lives.ended == ()
    assert set(after.ended) == {"a", "b"}
    assert (await other.sweep(CATALOG, ())).ended == ()
    assert await redis_client.smembers(wire.roots_key("other")) == {"a", "b"}
    assert await redis_client.smembers(wire.WORKERS) == {"other"}


async def test_who_traces_nothing_owes_nothing(batch: Batch, redis_client: Redis) -> None:
    await put_record(redis_client, "q", state="running", owner="ada")
    transitions = Transitions(batch, Settings())
    await transitions.cancel(["q"], asker=Asker("ada"), reason="tired of it")

    upkeep = Upkeep(batch, Settings(), worker="one", traces=False)
    assert (await upkeep.sweep(CATALOG, ())).ended == ("q",)
    assert not await redis_client.keys(f"{wire.PREFIX}roots:*")


def leaving(tmp_path: Path, server: LangfuseServer, **settings: object) -> tuple[Tracer, list[str]]:
    left: list[str] = []
    given = {"langfuse_base_url": server.url, "langfuse_public_key": "pk-lf-test", "langfuse_secret_key": "sk-lf-test"}
    return Tracer.from_settings(Settings(home=tmp_path, **{**given, **settings}), on_left=left.extend), left  # type: ignore[arg-type]


def test_a_root_has_left_when_it_is_sent_and_a_step_is_none(tmp_path: Path, server: LangfuseServer) -> None:
    tracer, left = leaving(tmp_path, server)
    ended = record()
    tracer.trace(ended.query_id).observe("step", start=1, end=2)
    tracer.trace(ended.query_id).root(ended)

    wait_for(lambda: left, what="the root has left")
    tracer.close()

    assert left == [ended.query_id]
    assert len(server.roots()) == 1


@pytest.mark.parametrize("settings", [{"tracing_enabled": False}, {"langfuse_sample_rate": 0.0}])
def test_a_root_that_is_never_sent_has_left_at_once(
    tmp_path: Path, server: LangfuseServer, settings: dict[str, object]
) -> None:
    tracer, left = leaving(tmp_path, server, **settings)
    ended = record()
    tracer.trace(ended.query_id).root(ended)
    tracer.close()

    assert left == [ended.query_id]


def test_a_root_that_is_dropped_has_left(tmp_path: Path, server: LangfuseServer) -> None:
    server.fail("status", status=401)
    tracer, left = leaving(tmp_path, server, trace_queue_bytes=10_000)
    refused, without_room = record(), record(question="x" * 20_000)
    tracer.trace(refused.query_id).root(refused)
    tracer.trace(without_room.query_id).root(without_room)

    wait_for(lambda: len(left) == 2, what="both have left")
    tracer.close()

    assert left == [without_room.query_id, refused.query_id]


def test_a_root_that_cannot_be_sent_yet_stays(tmp_path: Path, server: LangfuseServer) -> None:
    server.fail("hanging")
    tracer, left = leaving(tmp_path, server)
    tracer.trace("0" * 32).root(record(query_id="0" * 32))
    wait_for(lambda: server.requests.total() > 0, what="it is on its way")
    tracer.close(0.1)

    assert left == []


async def test_roots_that_are_sent_meanwhile_do_not_hinder_their_removal(batch: Batch, redis_client: Redis) -> None:
    """Another thread may have its turn whenever Python collects garbage."""
    owed = OwedRoots()
    key = wire.roots_key(owed.worker)
    await redis_client.sadd(key, "first", "other")

    def send(*_: object) -> None:
        owed.left(["other"])

    owed.left(["first"])
    thresholds = gc.get_threshold()
    gc.callbacks.append(send)
    gc.set_threshold(1)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(owed.settle(batch), 0.2)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(send)
    await owed.settle(batch)

    assert not await redis_client.exists(key)
