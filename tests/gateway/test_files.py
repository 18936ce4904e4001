"""Files over HTTP: they are received as they come, within bounds, and go with the question."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil
import pytest
from bridge_house import SLOW

from agentic_flywheel.uploads import MOST_UPLOADS
from gateway.house import GatewayHouse, gateway_client
from http_gateway.multipart import close_given_up

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


async def test_a_file_goes_with_the_question(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    gateway_house.build(SLOW, style="llm", images=True, files=["text/plain"])
    told = await alice.post(
        "/v1/queries",
        params={"wait": 30},
        data={"query": '{"question": "What is in it?", "flow": "slow"}', "session_id": "with-files"},
        files=[("files", ("picture.png", PICTURE, "image/png")), ("files", ("notes.txt", b"hello", "text/plain"))],
    )
    asked = (await alice.get(told.json()["links"]["self"])).json()["query"]
    (sent,) = gateway_house.sent("What is in it?")

    assert told.status_code == 200, told.text
    assert [(each["name"], each["size"]) for each in asked["uploads"]] == [
        ("picture.png", len(PICTURE)),
        ("notes.txt", 5),
    ]
    assert asked["session_id"] == "with-files"
    assert sorted(each["name"] for each in sent["uploads"]) == ["notes.txt", "picture.png"]


async def test_a_part_of_its_own_may_be_json_and_no_field_is_given_twice(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    fields = {"question": "With parts?", "flow": "slow", "metadata": '{"case": 7}', "history": "[]"}
    told = await alice.post("/v1/queries", params={"wait": 30}, files=_parts(fields))
    kept = (await alice.get(told.json()["links"]["self"])).json()["query"]
    refused = [
        await alice.post("/v1/queries", files=[*_parts({"question": "one", **more}), *_parts({"question": "two"})])
        for more in ({}, {"query": '{"question": "three"}'})
    ]
    in_both = await alice.post("/v1/queries", files=_parts({"query": '{"question": "a"}', "question": "b"}))
    # A browser sends a field for files in which none was chosen.
    parts = ['name="question"\r\n\r\nNo file?', 'name="flow"\r\n\r\nslow', 'name="files"; filename=""\r\n\r\n']
    body = "".join(f"--parts\r\nContent-Disposition: form-data; {each}\r\n" for each in parts) + "--parts--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=parts"}
    empty = await alice.post("/v1/queries", params={"wait": 30}, content=body, headers=kind)
    wrong = await alice.post("/v1/queries", files=_parts({"question": "x", "form": "employee=Kari"}))

    assert (told.status_code, kept["metadata"]) == (200, {"case": 7}), told.text
    assert [each.json()["error"]["error"].rpartition(": ")[2] for each in refused] == ["it is given twice"] * 2
    assert "question: it is given twice: in `query`, and in a part of its own" in in_both.text
    assert "form: it should be JSON" in wrong.text
    assert (empty.status_code, empty.json().get("state")) == (200, "succeeded"), empty.text


def _parts(fields: dict[str, str]) -> list[tuple[str, tuple[None, str]]]:
    return [(name, (None, text)) for name, text in fields.items()]


async def test_the_same_file_under_a_key_is_the_same_query(alice: httpx2.AsyncClient) -> None:
    told = [
        await alice.post(
            "/v1/queries",
            headers={"Idempotency-Key": "with-file"},
            data={"question": "Once"},
            files={"file": ("a.txt", content)},
        )
        for content in (b"one", b"one", b"two")
    ]

    assert told[0].json()["query_id"] == told[1].json()["query_id"]
    assert told[2].json()["error"]["error_type"] == "IdempotencyConflict"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "ends before"),
        (b"no form at all", "no form"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "no name"),
        (b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\nx', "ends before"),
        (b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\n\xff\r\n--b--\r\n', "UTF-8"),
        (b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n[\r\n--b--\r\n', "JSON"),
        (b'--b\r\nContent-Disposition: form-data; name="f"; filename="../x.png"\r\n\r\nx\r\n--b--\r\n', "folder"),
        (b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.exe"\r\n\r\nx\r\n--b--\r\n', "end in"),
        (b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.png"\r\n\r\n\r\n--b--\r\n', "empty"),
        (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.png"\r\n\r\nx\r\n' * (MOST_UPLOADS + 1)
            + b"--b--\r\n",
            "at most 10 files",
        ),
        (
            b"".join(b'--b\r\nContent-Disposition: form-data; name="q%d"\r\n\r\nx\r\n' % n for n in range(101)),
            "more than 100 parts",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="q"\r\n\r\n' + b"x" * 2**21 + b"\r\n--b--\r\n",
            "bytes together",
        ),
        (b"--b\r\n" + b"X: y\r\n" * 50 + b"\r\nx\r\n--b--\r\n", "no form"),
    ],
)
async def test_a_form_that_is_none_is_refused(alice: httpx2.AsyncClient, body: bytes, reason: str) -> None:
    told = await alice.post("/v1/queries", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})

    assert told.status_code == 422, told.text
    assert reason in told.json()["detail"]


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 300])
async def test_a_form_without_a_usable_boundary_is_refused(alice: httpx2.AsyncClient, kind: str) -> None:
    told = await alice.post("/v1/queries", content=b"x", headers={"Content-Type": kind})

    assert told.status_code == 422


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process's files")
async def test_a_file_that_the_disk_does_not_take_is_refused_until_there_is_room(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    pid = gateway_house.doors[0].pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    files = {"file": ("large.txt", b"x" * 8_000_000, "text/plain")}
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4_000_000, hard))
    try:
        native = await alice.post("/v1/queries", data={"question": "How full?"}, files=files)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    again = await alice.post("/v1/queries", data={"question": "How full?"}, files=files)

    error = native.json()["error"]
    assert (native.status_code, error["error_type"], again.status_code) == (503, "UploadNotKept", 202)
    assert error["error"] == "There is no room for the file now; try again in 60 s"
    assert native.headers["retry-after"] == "60"


def test_a_file_that_the_disk_does_not_take_can_be_given_up() -> None:
    """Small pieces wait in a buffer, which closing writes: the error of that took the place of the refusal."""
    file = Path("/dev/full").open("wb")  # noqa: SIM115 - closing it is what is tested
    file.write(b"x")

    close_given_up(file)

    assert file.closed


async def test_a_large_file_is_never_held_whole(alice: httpx2.AsyncClient, gateway_house: GatewayHouse) -> None:
    process = psutil.Process(gateway_house.doors[0].pid)
    before, highest = process.memory_info().rss, 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal highest
        yield b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\nHow large?\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.txt"\r\n\r\n'
        for _ in range(9 * 16):
            yield b"x" * 65_536
            highest = max(highest, process.memory_info().rss)
        yield b"\r\n--b--\r\n"

    told = await alice.post("/v1/queries", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})

    assert told.status_code == 202, told.text
    assert highest - before < 5 * 2**20


async def test_a_file_beyond_the_limit_is_refused(alice: httpx2.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.txt"\r\n\r\n'
        for _ in range(12 * 16):
            yield b"x" * 65_536

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    told = await alice.post("/v1/queries", content=body(), headers=headers)

    assert (told.status_code, told.json()["error"]["error_type"]) == (422, "InvalidQuery")
    assert "more than 10,485,760 bytes" in told.json()["detail"]


async def test_a_killed_gateway_leaves_nothing_of_a_form_on_the_disk(
    gateway_house: GatewayHouse, tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    url = gateway_house.gateway(TMPDIR=str(folder))
    gateway = gateway_house.doors[-1]
    process = psutil.Process(gateway.pid)
    before = process.num_fds()

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.txt"\r\n\r\n'
        for _ in range(64):
            yield b"x" * 65_536
        # The connection and the file.
        while process.num_fds() < before + 2:
            await asyncio.sleep(0.01)
        gateway.kill()
        yield b"x"

    async with asyncio.timeout(30), gateway_client(url, None) as http:
        with pytest.raises(httpx2.HTTPError):
            await http.post("/v1/queries", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"})

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("filename*=UTF-8''na%C3%AFve%20file.txt", "naïve file.txt"),
        ("filename*=iso-8859-1'en'%A3.txt", "£.txt"),
        ("filename=\"plain.txt\"; filename*=UTF-8''other.txt", "plain.txt"),
    ],
)
async def test_a_file_has_the_name_that_its_part_gives_in_either_form(
    alice: httpx2.AsyncClient, named: str, name: str
) -> None:
    parts = ['name="question"\r\n\r\nWhat is it called?', f'name="file"; {named}\r\n\r\nhello']
    body = "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    asked = await alice.post("/v1/queries", content=body.encode(), headers=headers)
    found = (await alice.get(asked.json()["links"]["self"])).json()["query"]

    assert [each["name"] for each in found["uploads"]] == [name]


async def test_a_file_that_is_not_the_callers_is_not_worth_a_repetition(alice: httpx2.AsyncClient) -> None:
    uploads = [{"type": "file:full", "name": "a.txt", "data": f"flywheel-upload:{'0' * 64}:5"}]
    told = await alice.post("/api/v1/prediction/slow", json={"question": "What is in it?", "uploads": uploads})

    assert (told.status_code, told.json()["details"]["error_type"]) == (422, "UploadLost")
    assert "retry-after" not in told.headers


async def test_a_session_in_the_configuration_is_refused_before_the_queue(alice: httpx2.AsyncClient) -> None:
    body = {"question": "Whose?", "flow": "slow", "config": {"sessionId": "another"}}
    told = await alice.post("/v1/queries", json=body)

    assert (told.status_code, told.json()["error"]["details"]["field_name"]) == (422, "config")


async def test_a_client_that_asks_for_a_websocket_is_served_without_advice(
    alice: httpx2.AsyncClient, gateway_house: GatewayHouse
) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    told = await alice.get("/healthz", headers=headers)

    assert told.status_code == 200
    assert "pip install" not in gateway_house.doors[0].log
