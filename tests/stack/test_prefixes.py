"""Two installations on one server and database, each below a prefix of its own: docs/redis.md."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bridge_house import client_of
from celery import Celery, chord
from pipeline.house import APPROVAL, BACKUP, NARROW, House
from pipeline.test_uploads import SEEING
from processes import REPOSITORY, Process, wait_for
from stack.test_brokers import everybody_reaches

from agentic_flywheel.broker import prefixes, rights, wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.broker.declaration import Script, scripts_in
from agentic_flywheel.broker.key_types import read_keys
from agentic_flywheel.broker.scanning import keys_of
from agentic_flywheel.broker.wrappers import MODULES
from agentic_flywheel.errors import BrokerRightsMissing, InvalidSetting, UnknownQuery
from agentic_flywheel.models import State
from agentic_flywheel.settings import Settings, load_settings
from producer import AsyncProducer

BLUE, GREEN = "blue:", "green:"
SCRIPTS = [script for folder in MODULES for script in scripts_in(folder)]
#: Commands that the check of rights asks for and nothing of ours sends; and what has a test of its own.
NOT_SENT = {"BRPOP", "XINFO", "XREAD", "SCAN"}
#: What docs/redis.md prints for a user of one of two installations, with database 0.
RULES = "~blue:* &blue:* &blue:/0.celery.pidbox &blue:/0.celeryev/* +@all -@dangerous +info"


def grant(house: House, prefix: str) -> str:
    """Give a user the rights to one prefix. Returns the address with that user."""
    name = prefix.rstrip(":")
    rules = RULES.replace(BLUE, prefix).split()
    house.client.execute_command("ACL", "SETUSER", name, "reset", "on", ">secret", *rules)  # type: ignore[no-untyped-call]
    return f"redis://{name}:secret@127.0.0.1:{house.broker.port}/0"


def refused(house: House) -> set[tuple[str, str]]:
    """Return what the server has refused its users, but for what `doctor` does without."""
    return {(str(each["reason"]), str(each["object"])) for each in house.client.acl_log()} - {("command", "config|get")}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.stop()


class Installation:
    """One of the installations in a house: its own user of the broker, its own worker."""

    def __init__(self, house: House, prefix: str) -> None:
        self.house, self.url, self.prefix = house, grant(house, prefix), prefix
        self.settings = house.settings.model_copy(update={"redis_url": self.url, "key_prefix": prefix})

    @property
    def env(self) -> dict[str, str]:
        """What its processes find in their environment."""
        return {
            "REDIS_URL": self.url,
            "FLYWHEEL_KEY_PREFIX": self.prefix,
            "FLYWHEEL_REGISTRY": str(self.house.registry),
            "FLYWHEEL_HOME": str(self.house.folder / "home"),
            "FLOWISE_BASE_URL": self.house.flowise_url,
            "PATH": os.environ["PATH"],
        }

    async def command(self, *arguments: str, check: bool = True) -> list[dict[str, Any]]:
        """Return the objects that a command of ``flywheel`` prints."""
        command = [str(Path(sys.executable).with_name("flywheel")), *arguments, "--json"]
        done = await asyncio.create_subprocess_exec(*command, env=self.env, stdout=subprocess.PIPE)
        out, _ = await asyncio.wait_for(done.communicate(), 60)
        assert done.returncode == 0 or not check, out
        return [json.loads(line) for line in out.splitlines()]


async def everything_is_used(blue: Installation) -> None:
    """Queries of every kind and commands of every kind do their work."""
    house, picture = blue.house, blue.house.folder / "a picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n picture")
    house.build(SEEING, style="chat", images=True)
    house.build(APPROVAL, style="approval")
    async with AsyncProducer(blue.settings, user="ann") as producer, asyncio.timeout(60):
        answers = [
            await producer.ask("Which clause covers liability?", session_id="talk", wait=20),
            await producer.ask("And who signs?", session_id="talk", wait=20),
            await producer.ask("Which index does this join need? Which clause of the contract covers it?", wait=20),
            await producer.ask("What does it say?", flow="seeing", uploads=[picture], wait=20),
            await producer.ask("Why is it so?", flow="shaky", wait=20),
            await producer.ask("Paint a python", flow="prose", wait=20),
        ]
        identical = await asyncio.gather(*(producer.ask("Same?", flow="narrow", wait=20) for _ in range(5)))
        house.behave(BACKUP, fault="error_500")
        failed = (await producer.submit("What fails?", flow="backup")).query_id
        await _until(producer, failed, State.FAILED)
        asked = (await producer.submit("May this be paid?", flow="approval")).query_id
        await _until(producer, asked, State.INPUT_REQUIRED)
        await producer.resume(asked, "proceed")
        await producer.wait(asked, timeout=20)
        house.behave(NARROW, latency=30)
        running = (await producer.submit("What is cut?", flow="narrow")).query_id
        await _until(producer, running, State.RUNNING)
        await producer.cancel(running)
        await producer.score(answers[0].query_id, 8)
        await producer.reroute(answers[0].query_id, "prose")
        assert len(await producer.history("talk")) >= 2
    house.reset()
    assert all(each.text for each in (*answers, *identical))
    for together in (
        ("status", "health", "usage", "cache stats", "dead-letters list", "learn", "sessions list --user ann"),
        ("pause --flow prose", "dead-letters retry --all", "replay records --dry-run"),
        ("resume --flow prose", "cache clear", "forget --owner local --user ann"),
    ):
        await asyncio.gather(*(blue.command(*each.split(), check=False) for each in together))


@pytest.mark.timeout(240)
async def test_every_process_stays_below_the_prefix_of_its_installation(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = grant(house, BLUE)
    house.client.acl_log_reset()

    await everybody_reaches(house, url, monkeypatch, prefix=BLUE)
    await everything_is_used(Installation(house, BLUE))

    assert refused(house) == set()  # the user may touch nothing else, in no script either
    assert {str(key).partition(":")[0] for key in house.client.scan_iter()} == {"blue"}


@pytest.mark.timeout(180)
async def test_two_installations_on_one_server_see_nothing_of_each_other(house: House) -> None:
    blue, green = (Installation(house, prefix) for prefix in (BLUE, GREEN))
    house.client.acl_log_reset()
    house.build(APPROVAL, style="approval")
    for each in (blue, green):
        await asyncio.to_thread(house.worker, redis_url=each.url, FLYWHEEL_KEY_PREFIX=each.prefix)
    question = "How do I keep two python databases apart?"

    async with AsyncProducer(blue.settings) as one, AsyncProducer(green.settings) as other:
        answers = [await producer.ask(question, wait=30) for producer in (one, other)]
        again = await other.ask(question, wait=30)
        with pytest.raises(UnknownQuery):
            await other.status(answers[0].query_id)
        seen = [{each.query_id for each in await producer.recent()} for producer in (one, other)]
        # In both, queries that wait: for a person, and for a paused domain.
        waiting = []
        for producer in (one, other):
            asked = await producer.submit("May this be paid?", flow="approval")
            await blue.command("pause", "--domain", "creative")
            await green.command("pause", "--domain", "creative")
            paused = await producer.submit("Write a poem about two gardens", domain="creative", session_id="garden")
            waiting.append((asked.query_id, paused.query_id))
        await _until(one, waiting[0][0], State.INPUT_REQUIRED)
        await _until(other, waiting[1][0], State.INPUT_REQUIRED)
        await blue.command("cancel", "--all")
        cancelled = [(await one.status(each)).state for each in waiting[0]]
        kept = [(await other.status(each)).state for each in waiting[1]]
        usage = [await each.command("usage", "--by", "flow") for each in (blue, green)]
        audited = [await audit(each.settings) for each in (blue, green)]
        await blue.command("forget", "--owner", "local")
        with pytest.raises(UnknownQuery):
            await one.status(answers[0].query_id)
        left = await other.status(answers[1].query_id)
        await green.command("resume", "--domain", "creative")
        poem = await other.wait(waiting[1][1], timeout=30)
        await other.resume(waiting[1][0], "proceed")
        paid = await other.wait(waiting[1][0], timeout=30)

    assert [answers[0].cached, answers[1].cached, again.cached] == [False, False, True]
    assert answers[0].query_id in seen[0] - seen[1]
    assert answers[1].query_id in seen[1] - seen[0]
    assert cancelled == [State.CANCELLED, State.CANCELLED]
    assert State.CANCELLED not in kept
    assert left.state == State.SUCCEEDED
    assert poem.text
    assert paid.text
    assert usage[0] != usage[1]
    assert [each.offenders for each in audited] == [(), ()]
    assert refused(house) == set()
    assert {str(key).partition(":")[0] for key in house.client.scan_iter()} == {"blue", "green"}


@pytest.mark.timeout(120)
async def test_the_gateway_and_a_plain_celery_client_reach_a_prefixed_installation(house: House) -> None:
    blue = Installation(house, BLUE)
    house.client.acl_log_reset()
    await asyncio.to_thread(house.worker, redis_url=blue.url, FLYWHEEL_KEY_PREFIX=BLUE)
    question = "Write a poem about two gardens"
    command = [sys.executable, "-m", "http_gateway", "--port", "0", "--log-level", "INFO"]
    gateway = Process(command, log=house.folder / "gateway.log", env=blue.env)
    try:
        told = await asyncio.to_thread(
            wait_for, lambda: re.search(r"serves (\S+)", gateway.log), within=60, what="the gateway serves"
        )
        async with httpx2.AsyncClient(base_url=told[1], timeout=40) as http:
            answered = (await http.post("/v1/queries?wait=30", json={"question": question})).json()
        async with client_of(f"{told[1]}/mcp") as bridge:
            by_tool = await bridge.call_tool("flowise_query", {"question": question})
    finally:
        gateway.terminate(within=20)

    theirs = [sys.executable, "-m", "celery", "-A", "pipeline.their_app", "worker", "--pool", "solo", "-l", "INFO"]
    env = {"THEIR_BROKER": house.broker.url, "THEIR_PREFIX": BLUE}
    worker = Process(theirs, log=house.folder / "theirs.log", env=env)

    def by_celery() -> tuple[dict[str, Any], int]:
        with Celery(broker=blue.url, backend=blue.url, set_as_current=False) as app:
            app.conf.update(
                broker_transport_options={"global_keyprefix": BLUE},
                result_backend_transport_options={"global_keyprefix": BLUE},
            )
            asked = app.signature("flywheel.classify", args=[question], queue="classify", priority=6)
            both = chord([asked, asked.clone()], app.signature("their.gather", args=["notes"])).apply_async()
            return asked.apply_async().get(timeout=30), both.get(timeout=30)

    try:
        by_client, gathered = await asyncio.to_thread(by_celery)
    finally:
        worker.kill()

    text = answered["answer"]["text"]
    assert text
    assert by_tool.structured_content is not None
    assert (by_client["text"], by_client["cached"], gathered) == (text, True, 2)
    assert refused(house) == set()
    # The notes of the client's own task are its own.
    assert {str(key).partition(":")[0] for key in house.client.scan_iter()} == {"blue", "theirs"}


async def test_a_user_of_one_prefix_who_lacks_a_rule_is_told_which(house: House) -> None:
    url = grant(house, BLUE)
    await rights.check_broker(url, BLUE)  # raises where one is missing

    with pytest.raises(BrokerRightsMissing) as lacking:
        await rights.check_broker(url, GREEN)

    green = {rule.replace(BLUE, GREEN) for rule in RULES.split() if rule[0] in "~&"}
    assert set(lacking.value.rules) == green
    assert "~green:*" in lacking.value.message


async def test_keys_of_a_prefix_are_scanned_without_it(broker_url: str) -> None:
    own, plain = Batch(connect(broker_url, prefix=BLUE)), Batch(connect(broker_url))
    try:
        await plain.call("FLUSHDB")
        await plain.call("SET", wire.letter_key("plain"), "x")
        await own.call("SET", wire.letter_key("own"), "x")

        found = [key async for key in keys_of(own, wire.letter_key("*"))]
        everything = [key async for key in keys_of(plain, "*")]
        copied = await own.call("COPY", wire.letter_key("own"), wire.letter_key("copy"))
        there = await own.call("EXISTS", wire.letter_key("own"), wire.letter_key("copy"), wire.letter_key("plain"))
    finally:
        await own.close()
        await plain.close()

    assert found == [wire.letter_key("own")]
    assert sorted(everything) == [f"{BLUE}{wire.letter_key('own')}", wire.letter_key("plain")]
    assert (copied, there) == (1, 2)


async def test_an_installation_without_a_prefix_takes_no_list_of_another_for_its_queue(batch: Batch) -> None:
    ours, plain_clients = wire.domain_queue("technical"), "shop:orders"
    for key in (ours, plain_clients, f"{BLUE}{ours}", f"{BLUE}{wire.turns_key('a')}", f"{BLUE}celery-task-meta-1"):
        await batch.call("RPUSH", key, "x")

    found = await read_keys(batch.client)

    assert found.queues == [ours, plain_clients]


def test_the_prefix_goes_where_the_server_finds_keys(house: House) -> None:
    client: Any = house.client
    told = client.execute_command("COMMAND", "INFO", *sorted(rights.commands() - NOT_SENT))
    wrong = {}
    for about in told.values():
        name = about["name"].upper()
        first, last = about["first_key_pos"], about["last_key_pos"]
        words = ["1", "2", "3", "4"]
        end = len(words) if last == -1 else last
        keys = words[first - 1 : end] if first else []
        found = [word for word in prefixes.below(BLUE, (name, *words))[1:] if word.startswith(BLUE)]
        if found != [f"{BLUE}{key}" for key in keys]:
            wrong[name] = found

    assert len(told) > 80
    # The channel of a message is no key, and has the prefix.
    assert wrong == {"PUBLISH": [f"{BLUE}1"]}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.path)
async def test_a_script_below_no_prefix_is_the_same_and_below_one_can_be_read(batch: Batch, script: Script) -> None:
    assert script.source_below("") == script.source
    assert script.source_below(BLUE).replace(prefixes.lua_below(BLUE), "") == script.source
    assert await batch.call("SCRIPT", "LOAD", script.source_below(BLUE))


@pytest.mark.parametrize("prefix", ["blue", ":", "a:b:", "a*:", "flywheel:", "ä:", "a b:", "x" * 64 + ":"])
def test_what_is_no_prefix_is_refused_at_the_start(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_KEY_PREFIX", prefix)

    with pytest.raises(InvalidSetting, match="with a colon at the end, such as `blue:`"):
        load_settings()


@pytest.mark.parametrize("prefix", ["blue:", "shop-2.test_a:", ""])
def test_a_prefix_is_a_name_and_a_colon(prefix: str) -> None:
    assert Settings(key_prefix=prefix).key_prefix == prefix


def test_the_docs_print_the_rules_of_a_prefix() -> None:
    assert f">PASSWORD {RULES}\n" in (REPOSITORY / "docs" / "redis.md").read_text()


async def _until(producer: AsyncProducer, query_id: str, state: State) -> None:
    async with asyncio.timeout(20):
        while (await producer.status(query_id)).state != state:
            await asyncio.sleep(0.05)
