"""A person who is forgotten is in no key of the broker, in no file, and in no message that Flowise keeps."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from bridge_house import REGISTRY
from pipeline.house import House, at_work
from processes import wait_for

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.blobs import Blobs
from agentic_flywheel.broker.bundles import BundleItem, save_bundle
from agentic_flywheel.broker.control import pause
from agentic_flywheel.broker.forgetting import PersonQuery
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlywheelError, UnknownQuery
from agentic_flywheel.learning.lessons import load_lessons
from agentic_flywheel.models import State
from agentic_flywheel.uploads import Upload
from person.house import content, run_command
from producer import AsyncProducer
from producer.flowise_chats import chats_of, kept_elsewhere

#: Stands in every text and every name of the person, and of those who stay.
GONE, STAYS = "heliotrope", "chartreuse"
ANN = Asker("shop", f"ann-{GONE}")
OTHERS = [Asker("shop", f"bea-{STAYS}"), Asker("shop"), Asker("shop-two", f"ann-{STAYS}"), Asker("rival")]
SHARED = "Summarise what everybody asks."
_REGISTRY = f"""{REGISTRY}
  common:
    id: 00000000-0000-4000-8000-000000000003
    domain: common
    cache: shared
  late:
    id: 00000000-0000-4000-8000-000000000004
    domain: late
"""
BROKEN, COMMON = "00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000003"


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with at_work(House(tmp_path_factory.mktemp("forget"), registry=_REGISTRY, aof=True)) as house:
        yield house


@pytest.fixture
async def producer(forgetful: House) -> AsyncIterator[AsyncProducer]:
    forgetful.reset()
    forgetful.client.flushdb()
    async with AsyncProducer(forgetful.settings) as producer:
        yield producer


async def live(producer: AsyncProducer, asker: Asker, word: str, house: House) -> dict[str, str]:
    """Do everything of which something is kept. Returns the ids of the queries."""
    mine = producer.acting_for(*asker)
    session = f"s-{word}-{uuid.uuid4().hex[:6]}"
    await mine.use_profile(session, None)
    asked = await mine.ask(
        f"How do I use a python database for {word}?", session_id=session, metadata={"for": word}, wait=30
    )
    await mine.ask(f"And with docker, {word}?", session_id=session, wait=30)
    again = await mine.ask(f"How do I use a python database for {word}, again?", wait=30)
    await mine.score(asked.query_id, 2, comment=f"{word} is missing")
    rerouted = await mine.reroute(again.query_id, "creative-orientation")
    await mine.wait(rerouted.query_id, 30)
    house.behave(BROKEN, fault="error_500")
    failed = await mine.submit(f"Why is {word} broken?", flow="broken")
    with suppress(FlywheelError):
        await mine.wait(failed.query_id, 30)
    item = BundleItem(question=f"And {word}?", query_id=asked.query_id)
    await save_bundle(mine.batch, uuid.uuid4().hex, asker, [item], ttl=house.settings.result_ttl)
    shared = await mine.submit(f"{SHARED} {word}", flow="common")
    await mine.wait(shared.query_id, 30)
    return {"asked": asked.query_id, "failed": failed.query_id, "session": session, "shared": shared.query_id}


def forget(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *more: str,
    ends: int = 0,
    **environment: str,
) -> Any:
    for name, value in {
        "FLYWHEEL_REDIS_URL": house.broker.url,
        "FLYWHEEL_FLOWISE_BASE_URL": house.flowise_url,
        "FLYWHEEL_REGISTRY": str(house.registry),
        "FLYWHEEL_HOME": str(house.folder / "home"),
        **environment,
    }.items():
        monkeypatch.setenv(name, value)
    code, out, err = json.loads(run_command(["forget", *more, "--json"], monkeypatch, capsys))
    assert code == ends, out + err
    return json.loads(out)


def where_it_stands(house: House, word: str) -> list[str]:
    """Return every key and every file that holds a word, and Flowise's messages."""
    found = []
    for key in house.client.scan_iter(count=1000):
        told = f"{key} {content(house, key)}"
        if word in told:
            found.append(told[:300])
    files = [each for each in house.folder.rglob("*") if each.is_file()]
    return found + [str(each) for each in files if word.encode() in str(each).encode() + each.read_bytes()]


def told_flowise(house: House, word: str) -> int:
    """Return how many messages with a word Flowise keeps."""
    flows = ["896f7eed-342e-4596-9429-6fb9b5fbd91b", "7d405a51-968d-4467-9ae6-d49bf182cdf9", COMMON]
    texts = []
    for flow in flows:
        with urllib.request.urlopen(f"{house.flowise_url}/api/v1/chatmessage/{flow}", timeout=30) as answer:
            texts += [each["content"] for each in json.load(answer)]
    return sum(word in text for text in texts)


@pytest.fixture(autouse=True)
def reset_cwd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


async def test_a_person_who_is_forgotten_is_nowhere_and_everybody_else_is_where_they_were(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house = forgetful
    mine = await live(producer, ANN, GONE, house)
    theirs = [await live(producer, asker, STAYS, house) for asker in OTHERS]
    ann, rival = producer.acting_for(*ANN), producer.acting_for("rival")
    # One that asked the same while it was under way has no answer of its own.
    house.behave(COMMON, latency=1.0)
    first = await ann.submit(f"{SHARED} Twice.", flow="common", session_id=f"twice-{GONE}")
    await asyncio.sleep(0.4)
    second = await rival.submit(f"{SHARED} Twice.", flow="common")
    shared = await rival.wait(second.query_id, 30)
    assert shared.attached_to == first.query_id
    # So it is left where the leader is cancelled amid its call, and the call ends all the same.
    house.client.set(wire.result_key(second.query_id), str(house.client.get(wire.result_key(first.query_id))), ex=3600)
    # Open ones: two that wait, one behind another turn, and one that runs.
    await pause(producer.batch, flow="late")
    for _ in range(2):
        await ann.submit(f"When is {GONE} late?", flow="late", session_id=f"later-{GONE}")
    house.behave(COMMON, latency=4.0)
    slow = await ann.submit(SHARED, flow="common", cache="refresh", metadata={"for": GONE}, session_id=f"slow-{GONE}")
    follower = await rival.submit(SHARED, flow="common")
    await asyncio.sleep(0.5)
    assert where_it_stands(house, GONE)
    wait_for(lambda: (house.folder / "home" / "traces").exists(), what="traces")
    before = where_it_stands(house, STAYS)

    found = await asyncio.to_thread(forget, house, monkeypatch, capsys, "--owner", "shop", "--user", str(ANN.user))

    assert where_it_stands(house, GONE) == []
    # Who asked the same has the answer still.
    assert (await rival.wait(follower.query_id, 30)).text
    assert (await rival.wait(second.query_id, 30)).text == shared.text
    assert told_flowise(house, GONE) == 0
    assert found["cancelled"] >= 2
    for kind in ("queries", "sessions", "kept answers", "lessons", "scores", "dead letters", "batches"):
        assert found["deleted"][kind] >= 1, kind
    assert found["deleted"]["messages in Flowise"] >= 4
    assert found["deleted"]["observations in trace files"] >= 4
    (stopped,) = [each for each in found["left"] if "calls of queries that failed or were stopped" in each]
    assert "the question and its files" in stopped
    assert any("Logs of workers, and Flower" in each for each in found["left"])
    for query_id in (mine["asked"], slow.query_id):
        with pytest.raises(UnknownQuery):
            await producer.acting_for("shop").status(query_id)
    after = where_it_stands(house, STAYS)
    assert len(after) >= len(before) * 0.95
    for asker, kept in zip(OTHERS, theirs, strict=True):
        other = producer.acting_for(*asker)
        assert (await other.wait(kept["asked"], 30)).text
        assert len(await other.history(kept["session"])) == 2
    assert any(STAYS in each.question for each in await load_lessons(producer.batch))
    again = await asyncio.to_thread(forget, house, monkeypatch, capsys, "--owner", "shop", "--user", str(ANN.user))
    assert again["deleted"] == {}


async def test_an_answer_that_everybody_may_have_names_nothing_of_who_was_given_it_first(
    producer: AsyncProducer,
) -> None:
    question = f"{SHARED} {uuid.uuid4().hex}"
    first = await producer.acting_for(*ANN).ask(question, flow="common", session_id=f"s-{GONE}", wait=30)

    for _ in range(2):  # by a worker, then at once
        rival = producer.acting_for("rival")
        again = await rival.ask(question, flow="common", wait=30)
        kept = await rival.status(again.query_id)
        assert again.cached
        for answer in (again, kept.answer):
            told = repr(answer)
            assert answer is not None
            assert not [each for each in (first.query_id, str(first.chat_id), GONE) if each in told]


async def test_an_owner_is_forgotten_with_all_users_and_no_owner_whose_name_begins_likewise(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for asker in (Asker("shop", "ann"), Asker("shop")):
        await live(producer, asker, GONE, forgetful)
    kept = await live(producer, Asker("shop-two", "ann"), STAYS, forgetful)

    await asyncio.to_thread(forget, forgetful, monkeypatch, capsys, "--owner", "shop")

    assert where_it_stands(forgetful, GONE) == []
    assert (await producer.acting_for("shop-two", "ann").wait(kept["asked"], 30)).text


async def test_one_session_is_forgotten_and_the_others_of_its_user_are_not(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = producer.acting_for("shop", "ann")
    for word in (GONE, STAYS):
        await ann.ask(f"How do I use a python database for {word}?", session_id=f"s-{word}", wait=30)

    await asyncio.to_thread(
        forget, forgetful, monkeypatch, capsys, "--owner", "shop", "--user", "ann", "--session", f"s-{GONE}"
    )

    assert where_it_stands(forgetful, GONE) == []
    assert len(await ann.history(f"s-{STAYS}")) == 1


async def test_what_flowise_writes_after_a_call_was_cancelled_is_deleted_too(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forgetful.behave(COMMON, latency=4.0)
    await producer.acting_for("shop", "ann").submit(f"Tell {GONE} a tale.", flow="common")
    wait_for(lambda: forgetful.calls(f"Tell {GONE} a tale.") == 1, what="the call")

    found = await asyncio.to_thread(forget, forgetful, monkeypatch, capsys, "--owner", "shop")

    assert (found["cancelled"], found["unfinished"]) == (1, False)
    assert found["deleted"]["messages in Flowise"] == 2
    await asyncio.sleep(4)
    assert told_flowise(forgetful, GONE) == 0


async def test_a_chat_that_flowise_may_write_later_is_named_with_the_command_that_deletes_it(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("producer.flowise_chats.LONGEST", 1.0)
    forgetful.behave(COMMON, latency=8.0)
    await producer.acting_for("shop", "ann").submit(f"Tell {GONE} a saga.", flow="common")
    wait_for(lambda: forgetful.calls(f"Tell {GONE} a saga.") == 1, what="the call")
    (sent,) = forgetful.sent(f"Tell {GONE} a saga.")

    found = await asyncio.to_thread(forget, forgetful, monkeypatch, capsys, "--owner", "shop", ends=1)

    (named,) = [each for each in found["left"] if "may still write" in each]
    assert "1 cancelled calls of the flow common" in named
    assert sent["chatId"] in named
    wait_for(lambda: told_flowise(forgetful, GONE) == 2, what="the late chat")
    environment = {**os.environ, "FLOWISE_BASE_URL": forgetful.flowise_url}
    command = named.partition("run: ")[2]
    await asyncio.to_thread(subprocess.run, ["bash", "-c", command], env=environment, check=True)
    assert told_flowise(forgetful, GONE) == 0


async def test_what_could_not_be_reached_is_said(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = await producer.acting_for("shop", "ann").ask("How do I use a python database?", wait=30)
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-x")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-x")

    found = await asyncio.to_thread(forget, forgetful, monkeypatch, capsys, "--owner", "shop")

    (langfuse,) = [each for each in found["left"] if each.startswith("Langfuse")]
    assert asked.query_id in langfuse
    assert "'shop'" in langfuse
    assert any("replays" in each for each in found["left"])


async def test_files_that_no_query_took_up_are_forgotten_with_their_asker(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs = Blobs(producer.batch, forgetful.settings)
    bea = OTHERS[0]
    for asker in (ANN, bea):
        await blobs.keep(asker, Upload.of(GONE.encode() * 1000, "note.txt"))

    told = await asyncio.to_thread(
        forget, forgetful, monkeypatch, capsys, "--owner", ANN.owner, "--user", str(ANN.user)
    )

    assert told["deleted"]["files"] == 1
    assert where_it_stands(forgetful, str(ANN.user)) == []
    await blobs.require(bea, [Upload.of(GONE.encode() * 1000, "note.txt")])


@pytest.mark.parametrize("trouble", ["gone", "silent", "refused", "unknown flow", "unset"])
async def test_chats_that_are_left_in_flowise_are_named_with_the_command_that_deletes_them(
    trouble: str,
    producer: AsyncProducer,
    forgetful: House,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    ann, word = producer.acting_for("shop", "ann"), f"{GONE}-{uuid.uuid4().hex}"
    asked = [await ann.ask(f"{word} {number}", flow="common", cache="bypass", wait=30) for number in range(20)]
    with closing(socket.create_server(("127.0.0.1", 0), backlog=50)) as silent:
        address = {"gone": "http://127.0.0.1:9", "silent": f"http://127.0.0.1:{silent.getsockname()[1]}", "unset": ""}
        if trouble == "refused":
            monkeypatch.setenv("FLOWISE_API_KEY", "wrong\nkey")
        if trouble == "unknown flow":
            (tmp_path / "registry.yaml").write_text(REGISTRY)
        began = time.monotonic()

        found = await asyncio.to_thread(
            forget,
            forgetful,
            monkeypatch,
            capsys,
            "--owner",
            "shop",
            ends=1,
            **({"FLYWHEEL_FLOWISE_BASE_URL": address[trouble]} if trouble in address else {}),
            **({"FLYWHEEL_REGISTRY": str(tmp_path / "registry.yaml")} if trouble == "unknown flow" else {}),
        )

    assert time.monotonic() - began < 20
    assert found["unfinished"]
    (named,) = [each for each in found["left"] if each.startswith("Flowise: 20 chats of the flow common")]
    assert all(str(answer.chat_id) in named for answer in asked)
    assert told_flowise(forgetful, word) == 40
    command = named.partition("run: ")[2].replace("ID-THAT-THE-FLOW-HAD", COMMON)
    environment = {**os.environ, "FLOWISE_BASE_URL": forgetful.flowise_url, "FLOWISE_API_KEY": "any"}
    await asyncio.to_thread(subprocess.run, ["bash", "-c", command], env=environment, check=True)
    assert told_flowise(forgetful, word) == 0


async def test_a_record_that_is_not_utf8_keeps_nobody_from_being_forgotten_and_is_named(
    producer: AsyncProducer, forgetful: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for owner in ("shop", "rival"):
        odd = await producer.acting_for(owner).ask(f"{GONE} odd", flow="common", wait=30)
        forgetful.client.hset(wire.record_key(odd.query_id), "query", b"\xff\xfe")
    unknown = await producer.acting_for("rival").ask(f"{STAYS} odd", flow="common", wait=30)
    key = wire.record_key(unknown.query_id)
    forgetful.client.hset(key, mapping={"owner": b"\xff", "asker": b"\xff"})
    await producer.acting_for("shop").ask(f"{GONE} even", flow="common", wait=30)

    found = await asyncio.to_thread(forget, forgetful, monkeypatch, capsys, "--owner", "shop")

    assert found["deleted"]["queries"] == 2
    assert [each for each in found["left"] if key in each]
    assert not [each for each in found["left"] if odd.query_id in each]
    assert forgetful.client.delete(key, wire.record_key(odd.query_id)) == 2


def test_of_a_flow_that_is_not_in_flowise_is_said_what_it_was_sent_and_no_chat_is_looked_for() -> None:
    flow = Flow(
        key="helper", id="helper", domain="d", backend="openai", model="m", server="https://me:pw@llm.example/v1"
    )
    chats = (("helper", "q-1"), ("helper", "q-2"), ("gone", "q-3"))
    query = PersonQuery("q", State.FAILED, "", "", "", chats, 0.0, True)
    catalog = Catalog(flows={"helper": flow})

    assert [(chat.flow_key, chat.chat_id) for chat in chats_of([query], catalog)] == [("gone", "q-3")]
    (said,) = kept_elsewhere([query], catalog)
    assert said.startswith("https://llm.example/v1: it was sent 2 calls of the flow helper.")
    assert "pw" not in said
