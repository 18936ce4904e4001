"""Uploads: their bytes travel beside the queue, reach the flow as they were, and are gone when no query needs them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import resource
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from processes import wait_for
from pydantic import ValidationError

from agentic_flywheel.backends.bodies import FlowUpload, with_uploads
from agentic_flywheel.broker import wire
from agentic_flywheel.broker.control import pause, resume
from agentic_flywheel.broker.large_files import LargeFiles
from agentic_flywheel.errors import (
    FilesRefused,
    FlywheelError,
    InvalidQuery,
    InvalidSetting,
    OwnerLimitReached,
    UploadLost,
    UploadNotKept,
    UploadRefused,
    UploadsFull,
)
from agentic_flywheel.figures.health import read_health
from agentic_flywheel.given import WITHOUT_WORDS
from agentic_flywheel.models import Query, State, read_query
from agentic_flywheel.uploads import Upload
from pipeline.house import House
from producer import AsyncProducer, Producer, Submission
from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.failures import exit_of
from producer.replay import Replay
from producer.replay.reads import Problem, item_of

SEEING, READING = (f"00000000-0000-4000-8000-00000000000{n}" for n in "cd")

#: A flow of whose files no other test asks.
PROSE = "00000000-0000-4000-8000-000000000007"


@pytest.fixture
def house(house: House) -> House:
    house.build(SEEING, style="chat", images=True, speech=True)
    house.build(READING, style="llm", files=["text/plain", "text/csv"])
    return house


@pytest.fixture
async def producer(house: House) -> AsyncIterator[AsyncProducer]:
    async with AsyncProducer(house.settings) as producer:
        yield producer


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "kitten.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(700_001))
    return path


def question() -> str:
    return f"What is in it? {uuid.uuid4().hex}"


def blobs_of(house: House) -> list[str]:
    return [str(key) for key in house.client.keys(f"{wire.blob_key('*')}")] + list(
        map(str, house.client.zrange(wire.BLOBS, 0, -1))
    )


async def failure_of(producer: AsyncProducer, text: str, **fields: Any) -> FlywheelError:
    with pytest.raises(FlywheelError) as failed:
        await producer.ask(text, **fields, wait=20)
    return failed.value


async def test_an_image_reaches_its_flow_as_it_was_and_nothing_of_it_stays(
    producer: AsyncProducer, house: House, image: Path
) -> None:
    asked = question()

    answer = await producer.ask(asked, flow="seeing", uploads=[image], wait=20)

    (sent,) = house.sent(asked)
    content = image.read_bytes()
    assert sent["uploads"] == [
        {
            "type": "file",
            "name": "kitten.png",
            "mime": "image/png",
            "data": {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        }
    ]
    assert answer.text
    assert blobs_of(house) == []


async def test_bytes_are_in_no_message_record_event_and_trace(
    producer: AsyncProducer, house: House, tmp_path: Path
) -> None:
    marker = "Heliotrope" * 100
    note = tmp_path / "note.txt"
    note.write_text(marker)
    await pause(producer.batch, flow="reading")
    try:
        submission = await producer.submit(question(), flow="reading", uploads=[note])
        reason = ("HGET", wire.record_key(submission.query_id), "reason")
        await asyncio.to_thread(wait_for, lambda: raw(house, *reason) == "paused", what="pause")
        holding = [key for key in map(str, house.client.keys("*")) if "SGVsaW90cm9wZ" in dumped(house, key)]
        named = [key for key in map(str, house.client.keys("*")) if "Heliotrope" in dumped(house, key)]
    finally:
        await resume(producer.batch, flow="reading")
    await producer.wait(submission.query_id, 20)

    assert [key.partition(":")[2].partition(":")[0] for key in holding] == ["blob"]
    assert named == []
    assert blobs_of(house) == []
    assert marker[:20] not in (house.folder / "w0.log").read_text()


def dumped(house: House, key: str) -> str:
    commands = {"string": "GET", "hash": "HGETALL", "list": "LRANGE", "zset": "ZRANGE", "set": "SMEMBERS"}
    kind = str(raw(house, "TYPE", key))
    whole = {"list": (0, -1), "zset": (0, -1), "stream": ("-", "+")}
    return str(raw(house, commands.get(kind, "XRANGE"), key, *whole.get(kind, ()))) if kind != "none" else ""


def raw(house: House, *command: Any) -> Any:
    return house.client.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ['a"b.txt', "a%22b.txt", 'a"; x="b.txt', "a;b=%0D%0A.txt"])
async def test_a_document_of_an_odd_name_is_read(producer: AsyncProducer, house: House, name: str) -> None:
    asked = question()

    await producer.ask(asked, flow="reading", uploads=[Upload.of(b"content", name)], wait=20)

    (sent,) = house.sent(asked)
    assert [(each["name"], each["data"]) for each in sent["uploads"]] == [(name.replace('"', "%22"), "content")]


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "folder"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "endless.png"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    given = Path("/dev/zero") if kind == "device" else path

    with pytest.raises(InvalidQuery, match="not a regular file"):
        Upload.of(given, "endless.png")


def test_a_file_that_is_larger_than_any_is_read_no_further(tmp_path: Path) -> None:
    path = tmp_path / "endless.png"
    with path.open("wb") as file:
        file.truncate(2**33)

    with pytest.raises(InvalidQuery, match=r"more than 37,748,736 bytes"):
        Upload.of(path)


@pytest.mark.parametrize("url", ["https://ada:pw@host.example/a.png", "https://token@host.example/a.png"])
async def test_an_address_with_a_login_is_refused_and_not_told(producer: AsyncProducer, url: str) -> None:
    with pytest.raises(InvalidQuery, match="holds a login") as refused:
        await producer.submit(question(), flow="seeing", uploads=[url])

    assert "ada" not in str(refused.value)
    assert "token" not in str(refused.value)


@pytest.mark.parametrize("control", ["\r", "\n", "\t", "\r\nX-Evil: 1\r\n\r\n", "\x00", "\x1f", "\x85"])
async def test_a_name_with_control_characters_is_refused(producer: AsyncProducer, house: House, control: str) -> None:
    with pytest.raises((InvalidQuery, ValidationError), match=r"control character\) at position 2"):
        await producer.submit(question(), flow="reading", uploads=[Upload.of(b"content", f"a{control}.txt")])


async def test_a_document_is_read_by_flowise_and_its_text_is_told(
    producer: AsyncProducer, house: House, tmp_path: Path
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Grüße\n" * 60_000)
    asked = question()

    await producer.ask(asked, flow="reading", uploads=[note], wait=20)

    (sent,) = house.sent(asked)
    (upload,) = sent["uploads"]
    assert (upload["type"], upload["name"], upload["data"]) == ("file:full", "note.txt", note.read_text())


async def test_an_address_is_passed_on_and_fetched_by_nobody(producer: AsyncProducer, house: House) -> None:
    asked, url = question(), "http://127.0.0.1:9/photo.jpg?size=1"

    await producer.ask(asked, flow="seeing", uploads=[url], wait=20)

    (sent,) = house.sent(asked)
    assert sent["uploads"] == [{"type": "url", "name": "photo.jpg", "mime": "image/jpeg", "data": url}]


async def test_the_same_question_with_the_same_file_is_answered_from_the_cache_without_sending_it(
    producer: AsyncProducer, house: House, image: Path, tmp_path: Path
) -> None:
    asked = question()
    first = await producer.ask(asked, flow="seeing", uploads=[image], wait=20)
    written = house.client.info("commandstats").get("cmdstat_rpush", {}).get("calls")
    again = await producer.ask(asked, flow="seeing", uploads=[image], wait=20)
    sent_again = house.client.info("commandstats").get("cmdstat_rpush", {}).get("calls")
    other_image = tmp_path / "other" / image.name
    other_image.parent.mkdir()
    other_image.write_bytes(b"\x89PNG other")
    other = await producer.ask(asked, flow="seeing", uploads=[other_image], wait=20)
    without = await producer.ask(asked, flow="seeing", wait=20)

    assert (first.cached, again.cached, other.cached, without.cached) == (False, True, False, False)
    assert written == sent_again
    assert blobs_of(house) == []


async def test_a_retry_sends_the_bytes_again(producer: AsyncProducer, house: House, image: Path) -> None:
    house.behave(SEEING, fault="drop", fault_first=1)
    asked = question()

    answer = await producer.ask(asked, flow="seeing", uploads=[image], wait=30)

    digests = {upload["data"]["sha256"] for call in house.sent(asked) for upload in call["uploads"]}
    assert len(house.sent(asked)) == 2
    assert digests == {hashlib.sha256(image.read_bytes()).hexdigest()}
    assert answer.attempts == 2
    assert blobs_of(house) == []


async def test_a_file_is_kept_until_the_last_query_that_needs_it_has_ended(
    producer: AsyncProducer, house: House, image: Path
) -> None:
    await pause(producer.batch, flow="seeing")
    try:
        one = await producer.submit(question(), flow="seeing", uploads=[image])
        two = await producer.submit(question(), flow="seeing", uploads=[image])
        kept = blobs_of(house)
        await producer.cancel(one.query_id)
        kept_for_two = blobs_of(house)
        await producer.cancel(two.query_id)
    finally:
        await resume(producer.batch, flow="seeing")

    assert len(kept) == 2  # its pieces, and its entry in the list
    assert kept_for_two == kept
    assert blobs_of(house) == []


async def test_what_is_refused_leaves_no_file_behind(house: House, image: Path) -> None:
    limited = house.settings.model_copy(update={"owner_under_way": 1, "owner_limits_local": True})
    async with AsyncProducer(limited, owner="busy") as producer:
        await pause(producer.batch, flow="seeing")
        try:
            first = await producer.submit(question(), flow="seeing")
            with pytest.raises(OwnerLimitReached):
                await producer.submit(question(), flow="seeing", uploads=[image])
            await producer.cancel(first.query_id)
        finally:
            await resume(producer.batch, flow="seeing")

    assert blobs_of(house) == []


@pytest.mark.parametrize("where", ["folder", "broker"])
@pytest.mark.parametrize("fault", ["changed", "gone", "given up"])
async def test_a_file_that_fails_leaves_nothing_of_itself_nor_of_those_before_it(
    house: House, image: Path, tmp_path: Path, where: str, fault: str
) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(os.urandom(2_000_000))
    uploads, before = [Upload.of(image), Upload.of(other)], large_files_of(house)
    if fault == "changed":
        other.write_bytes(os.urandom(2_000_000))
    elif fault == "gone":
        other.unlink()
    large = {"upload_bytes": 1_000_000, "uploads_url": f"file://{house.folder}/large"} if where == "folder" else {}
    async with AsyncProducer(house.settings.model_copy(update=large)) as producer:
        submission = asyncio.ensure_future(producer.submit(question(), flow="seeing", uploads=uploads))
        if fault == "given up":
            while not any("~" in kept for kept in blobs_of(house)):
                await asyncio.sleep(0)
            submission.cancel()
        with pytest.raises(asyncio.CancelledError if fault == "given up" else InvalidQuery):
            await submission
        await asyncio.sleep(0.1)

    assert blobs_of(house) == []
    await asyncio.to_thread(wait_for, lambda: large_files_of(house) == before, within=20, what="its deletion")


async def test_files_have_a_bounded_room(house: House, image: Path, tmp_path: Path) -> None:
    narrow = house.settings.model_copy(update={"uploads_bytes": 1_000_000})
    other = tmp_path / "other.png"
    other.write_bytes(os.urandom(300_000))
    async with AsyncProducer(narrow) as producer:
        await pause(producer.batch, flow="seeing")
        try:
            first = await producer.submit(question(), flow="seeing", uploads=[image])
            with pytest.raises(UploadsFull, match="of 1,000,000 bytes"):
                await producer.submit(question(), flow="seeing", uploads=[other])
            assert len(blobs_of(house)) == 2
            await producer.cancel(first.query_id)
        finally:
            await resume(producer.batch, flow="seeing")

    assert blobs_of(house) == []


REFUSED: list[tuple[str, bytes, str]] = [
    ("tool.exe", b"MZ", "flows take files that end in"),
    ("empty.png", b"", "is empty"),
    ("large.png", b"x" * 2000, "at most 1,000 are accepted"),
]


@pytest.mark.parametrize(("name", "content", "why"), REFUSED, ids=[name for name, _, _ in REFUSED])
async def test_an_unfit_file_is_refused_before_it_is_queued(
    house: House, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    async with AsyncProducer(house.settings.model_copy(update={"upload_bytes": 1000})) as producer:
        with pytest.raises(InvalidQuery) as refused:
            await producer.submit(question(), flow="seeing", uploads=[path])

    assert why in refused.value.message


@pytest.mark.parametrize(
    ("given", "name", "why"),
    [
        ("file:///etc/passwd.png", "uploads.1.url", "a file is given by its path"),
        ("ftp://x/a.png", "uploads.1.url", "begins with http:// or https://"),
        ("/etc/passwd", "uploads.1.url", "a file is given by its path"),
        ("", "uploads.1.url", "no address of an image"),
        ("https://x/a b.png", "uploads.1.url", "no white space"),
        ("https://x/a", "uploads.1.name", "flows take files that end in"),
        (b"a,b", "uploads.1", "bytes are given as Upload.of"),
        (Path("nowhere.png"), "uploads.1", "nowhere.png cannot be read"),
    ],
)
def test_a_text_is_an_address_of_an_image_or_refused(given: Any, name: str, why: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        read_query({"question": "What is in it?", "uploads": ["HTTPS://x/a.png", given]})

    assert refused.value.field_name == name
    assert why in refused.value.reason


def test_a_file_of_a_name_that_flows_take_none_of_is_refused_where_it_is_made() -> None:
    with pytest.raises(InvalidQuery, match=r"uploads\.name: it should be a file's name, without a folder"):
        Upload.of(b"a,b", name="../figures.csv")
    with pytest.raises(InvalidQuery, match="a file is given as a `Path`, or as bytes with a name"):
        Upload.of("figures.csv")  # type: ignore[arg-type]
    problem = item_of(1, {"question": "Whose?", "uploads": ["a.txt"]})
    assert isinstance(problem, Problem)
    assert problem.reason.startswith("uploads.0.url: it is no address of an image")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("HTTPS://x/a.png", "HTTPS://x/a.png"),
        ("ftp://x/a.png", "ftp://x/a.png"),
        ("data:text/plain,a", "data:text/plain,a"),
        ("", ""),
        ("a:b.txt", Path("a:b.txt")),
        ("./x.txt", Path("x.txt")),
    ],
)
def test_an_address_of_any_kind_is_not_looked_for_as_a_file(given: str, read: str | Path) -> None:
    assert options.upload_given(given) == read


async def test_a_file_that_is_not_there_is_refused(producer: AsyncProducer, tmp_path: Path) -> None:
    with pytest.raises(InvalidQuery, match="cannot be read"):
        await producer.submit(question(), flow="seeing", uploads=[tmp_path / "nowhere.png"])


async def test_a_file_that_flowise_cannot_read_is_to_blame_and_not_the_flow(
    producer: AsyncProducer, house: House
) -> None:
    house.build(READING, style="llm", files=["text/plain", "application/pdf"])
    asked = question()
    files = [Upload.of(b"no PDF", "report.pdf"), Upload.of(b"text", "a.txt")]

    alone = await failure_of(producer, asked, flow="reading", uploads=files[:1])
    together = await failure_of(producer, asked, flow="reading", uploads=files)

    assert (type(alone), exit_of(alone)) == (UploadRefused, Exit.UNUSABLE)
    assert "could not read report.pdf" in alone.message
    assert "Invalid PDF structure" in alone.message
    assert "could not read one of report.pdf, a.txt" in together.message
    assert house.calls(asked) == 0
    assert blobs_of(house) == []
    found = next(each for each in (await read_health(producer.batch, producer.catalog)).flows if each.flow == "reading")
    assert found.circuit == "closed"


def test_a_text_in_any_script_takes_no_more_room_than_its_utf8() -> None:
    text = "\u4e2d\u6587" * 10_000

    sent = with_uploads(b'{"question":"?"}', [FlowUpload("file:full", "a.txt", "text/plain", text)])

    assert sent.length < len(text.encode()) + 200


async def test_a_question_may_be_left_out_where_files_speak_for_it(producer: AsyncProducer) -> None:
    submission = await producer.submit(flow="seeing", uploads=[Upload.of(os.urandom(9), "spoken.webm")])
    await producer.wait(submission.query_id, 20)

    assert (await producer.status(submission.query_id)).query.question == WITHOUT_WORDS
    with pytest.raises(InvalidQuery, match="question"):
        await producer.submit(flow="seeing")


async def test_what_a_flow_makes_no_use_of_is_refused_before_it_is_called(
    producer: AsyncProducer, house: House, image: Path, tmp_path: Path
) -> None:
    large, song = tmp_path / "large.png", tmp_path / "song.mp3"
    large.write_bytes(b"x" * (5 * 2**20 + 1))
    song.write_bytes(b"x")
    asked = question()

    no_image = await failure_of(producer, asked, flow="reading", uploads=[image])
    too_large = await failure_of(producer, asked, flow="seeing", uploads=[large])
    no_speech = await failure_of(producer, asked, flow="seeing", uploads=[song])
    no_files = await failure_of(producer, asked, flow="seeing", uploads=[Upload.of(b"x", "a.csv")])
    wrong_file = await failure_of(producer, asked, flow="reading", uploads=[Upload.of(b"{}", "a.json")])

    assert [type(each) for each in (no_image, too_large, no_speech)] == [FilesRefused] * 3
    assert "no images" in no_image.message
    assert "images of 5,242,880" in too_large.message
    assert "audio/mpeg" in no_speech.message
    assert isinstance(no_files, FilesRefused)
    assert "File upload is not enabled" in no_files.message
    assert "not allowed" in wrong_file.message
    assert house.calls(asked) == 0
    assert blobs_of(house) == []


async def test_what_a_flows_owner_has_allowed_since_is_taken_at_once(
    producer: AsyncProducer, house: House, image: Path
) -> None:
    house.build(PROSE, style="chat")
    refused = await failure_of(producer, question(), flow="prose", uploads=[image])
    house.build(PROSE, style="chat", images=True)

    answer = await producer.ask(question(), flow="prose", uploads=[image], wait=20)

    assert isinstance(refused, FilesRefused)
    assert answer.text


async def test_a_query_that_is_asked_again_without_its_file_says_that_it_is_gone(
    producer: AsyncProducer, house: House, image: Path
) -> None:
    first = await producer.ask(question(), flow="seeing", uploads=[image], wait=20)
    record = await producer.status(first.query_id)

    with pytest.raises(UploadLost, match=r"kitten\.png"):
        await producer.submit(record.query, cache="bypass")
    with pytest.raises(UploadLost, match=r"kitten\.png"):
        await producer.reroute(first.query_id, "technical-analysis")


async def test_a_file_that_expires_while_its_query_waits_fails_it(house: House, image: Path) -> None:
    async with AsyncProducer(house.settings) as producer:
        await pause(producer.batch, flow="seeing")
        try:
            submission = await producer.submit(question(), flow="seeing", uploads=[image])
            for key in house.client.keys(wire.blob_key("*")):
                house.client.delete(key)
            house.client.delete(wire.BLOBS)
        finally:
            await resume(producer.batch, flow="seeing")
        with pytest.raises(UploadLost):
            await producer.wait(submission.query_id, 20)
        record = await producer.status(submission.query_id)
        again = await producer.ask(record.query.question, flow="seeing", uploads=[image], wait=20)

    assert record.state is State.FAILED
    # The flow and its circuit have nothing to do with it, and the failure is not remembered.
    assert again.text
    assert house.client.hgetall(wire.circuit_key("seeing")) == {}


async def test_one_asker_cannot_have_anothers_file_sent(house: House, image: Path) -> None:
    upload = Upload.of(image)
    async with (
        AsyncProducer(house.settings, owner="alice") as alice,
        AsyncProducer(house.settings, owner="mallory") as mallory,
    ):
        await pause(alice.batch, flow="seeing")
        try:
            hers = await alice.submit(question(), flow="seeing", uploads=[upload])
            stolen = Query.model_validate({"question": question(), "flow": "seeing", "uploads": [upload.model_dump()]})
            with pytest.raises(UploadLost):
                await mallory.submit(stolen)
            await alice.cancel(hers.query_id)
        finally:
            await resume(alice.batch, flow="seeing")


def test_a_plain_celery_client_gives_addresses_alone(house: House) -> None:
    app = Celery(broker=house.broker.url, backend=house.broker.url)
    asked = {"question": question(), "flow": "seeing"}
    try:
        answer = app.send_task(
            "flywheel.classify", args=[{**asked, "uploads": ["https://x.example/a.png"]}], queue="classify"
        ).get(timeout=20)
        file = Upload.of(b"x", "a.png").model_dump()
        with pytest.raises(Exception, match="addresses alone"):
            app.send_task("flywheel.classify", args=[{**asked, "uploads": [file]}], queue="classify").get(timeout=20)
    finally:
        app.close()

    assert answer["text"]


def test_many_files_at_once_leave_nothing_behind(house: House, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(files):
        path.write_bytes(os.urandom(100_000 + number))
    queries = [Query.model_validate({"question": question(), "flow": "seeing", "uploads": [path]}) for path in files]

    with Producer(house.settings) as producer:
        submissions = producer.submit_many(queries)
        assert all(isinstance(each, Submission) for each in submissions)
        for each in submissions:
            assert isinstance(each, Submission)
            producer.wait(each.query_id, 30)

    assert blobs_of(house) == []


def large_files_of(house: House) -> list[str]:
    return [path.name for path in (house.folder / "large").glob("*")]


async def test_a_large_file_is_in_a_folder_until_no_query_needs_it(house: House, image: Path) -> None:
    settings = house.settings.model_copy(
        update={"upload_bytes": 1000, "uploads_bytes": 1000, "uploads_url": f"file://{house.folder}/large"}
    )
    asked = question()
    async with AsyncProducer(settings) as producer:
        await pause(producer.batch, flow="seeing")
        try:
            submission = await producer.submit(asked, flow="seeing", uploads=[image])
            (name,) = large_files_of(house)
            in_redis = sum(int(house.client.memory_usage(key) or 0) for key in house.client.keys(wire.blob_key("*")))
        finally:
            await resume(producer.batch, flow="seeing")
        await producer.wait(submission.query_id, 20)

    (sent,) = house.sent(asked)
    assert sent["uploads"][0]["data"]["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert in_redis < 1000
    assert blobs_of(house) == []
    await asyncio.to_thread(wait_for, lambda: name not in large_files_of(house), within=20, what="its deletion")


async def test_a_large_file_that_its_folder_does_not_take_leaves_nothing_there(house: House, image: Path) -> None:
    image.write_bytes(image.read_bytes() + b"x" * 500_000)
    large = {"upload_bytes": 1000, "uploads_url": f"file://{house.folder}/large"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = large_files_of(house)
    async with AsyncProducer(house.settings.model_copy(update=large)) as producer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(UploadNotKept, match="where FLYWHEEL_UPLOADS_URL says: File too large"):
                await producer.submit(question(), flow="seeing", uploads=[image])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert large_files_of(house) == before
    assert blobs_of(house) == []


@pytest.mark.parametrize("kind", ["other", "shorter", "longer"])
@pytest.mark.parametrize("where", ["folder", "broker"])
async def test_a_file_that_was_changed_where_it_is_kept_is_not_answered(
    house: House, image: Path, kind: str, where: str
) -> None:
    large = {"upload_bytes": 1000, "uploads_url": f"file://{house.folder}/large"} if where == "folder" else {}
    content, asked = image.read_bytes(), question()
    changed = {"other": b"x" + content[1:], "shorter": content[:-300_000], "longer": content + b"x"}[kind]
    async with AsyncProducer(house.settings.model_copy(update=large)) as producer:
        await pause(producer.batch, flow="seeing")
        try:
            submission = await producer.submit(asked, flow="seeing", uploads=[image])
            (key,) = (str(each) for each in house.client.keys(wire.blob_key("*")))
            if where == "folder":
                (house.folder / "large" / str(house.client.lindex(key, 1))).write_bytes(changed)
            else:
                (size, *_) = house.client.lrange(key, 0, 0)
                house.client.delete(key)
                house.client.rpush(key, size, base64.b64encode(changed))
        finally:
            await resume(producer.batch, flow="seeing")
        with pytest.raises(UploadLost, match=r"kitten\.png"):
            await producer.wait(submission.query_id, 30)
        kept = blobs_of(house)
        # What is asked anew, with the file, has an answer of the file that was given.
        await producer.ask(asked, flow="seeing", uploads=[image], wait=20)

    assert kept == []
    sent = house.sent(asked)[-1]
    assert sent["uploads"][0]["data"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_large_files_are_their_owners_alone(tmp_path: Path) -> None:
    LargeFiles(f"file://{tmp_path}/large").write("one", [b"x"])

    folder = tmp_path / "large"
    assert [oct(each.stat().st_mode & 0o777) for each in (folder, folder / "one")] == ["0o700", "0o600"]


async def test_a_file_that_a_process_left_behind_is_cleared_away(house: House, tmp_path: Path) -> None:
    large = LargeFiles(f"file://{tmp_path}/large")
    async with AsyncProducer(house.settings) as producer:
        for name in ("orphan", "young", "needed"):
            large.write(name, [b"x"])
            os.utime(tmp_path / "large" / name, (0, 0) if name != "young" else None)
        needed = f"somebody {'0' * 64}"
        house.client.rpush(wire.blob_key(needed), "0", "needed")
        house.client.zadd(wire.BLOBS, {f"0 {needed}": 2e12})
        clearing = asyncio.create_task(large.keep_clearing(producer.batch))
        there = tmp_path / "large"
        await asyncio.to_thread(wait_for, lambda: not (there / "orphan").exists(), within=20, what="its deletion")
        clearing.cancel()
        house.client.delete(wire.blob_key(needed), wire.BLOBS)

    assert sorted(path.name for path in there.iterdir()) == ["needed", "young"]


@pytest.mark.parametrize(("url", "why"), [("s3://bucket/files", "s3fs"), ("nothing://x", "Protocol not known")])
async def test_a_folder_that_cannot_be_had_is_refused_with_the_reason(
    house: House, image: Path, url: str, why: str
) -> None:
    settings = house.settings.model_copy(update={"upload_bytes": 1000, "uploads_url": url})
    async with AsyncProducer(settings) as producer:
        with pytest.raises(InvalidSetting) as refused:
            await producer.submit(question(), flow="seeing", uploads=[image])

    assert why in refused.value.message


async def test_a_large_file_without_its_folder_is_lost(house: House, image: Path, tmp_path: Path) -> None:
    elsewhere = house.settings.model_copy(update={"upload_bytes": 1000, "uploads_url": f"file://{tmp_path}/elsewhere"})
    async with AsyncProducer(elsewhere) as producer:
        with pytest.raises(UploadLost):
            await producer.ask(question(), flow="seeing", uploads=[image], wait=20)


async def test_a_replay_says_which_files_are_gone_and_asks_the_rest(
    house: House, producer: AsyncProducer, image: Path, tmp_path: Path
) -> None:
    first = await producer.ask(question(), flow="seeing", uploads=[image], wait=20)
    record = await producer.status(first.query_id)
    lost = {"question": record.query.question, "flow": "seeing", "uploads": [record.query.uploads[0].model_dump()]}
    by_address = {"question": question(), "flow": "seeing", "uploads": ["https://example.test/a.png"]}
    filled_in = {"form": {"size": 3}, "flow": "reading"}

    replay = Replay([lost, by_address, filled_in], out=tmp_path / "run", settings=house.settings)
    outcomes = {result.item.number: result.outcome async for result in replay}

    assert outcomes[1].error_type == "UploadLost"
    assert "kitten.png" in (outcomes[1].error or "")
    assert outcomes[2].state is State.SUCCEEDED
    assert outcomes[3].error_type == "FormRefused"
