"""Files over MCP: in the call, by their address, or below a folder that the operator has named; never elsewhere."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
from bridge_house import SLOW, BridgeHouse, error_of
from mcp import Client
from mcp.client.stdio import stdio_client

from agentic_flywheel.broker import wire
from agentic_flywheel.catalog import Catalog, Flow, FormField
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.uploads import pieces_of
from mcp_bridge.__main__ import main
from mcp_bridge.bridge import Bridge
from mcp_bridge.files import INLINE_BYTES, uploads_of
from mcp_bridge.flow_tools import flow_tools
from mcp_bridge.server import build_server
from mcp_bridge.tool import ASKS
from mcp_bridge.toolsets import ALL_TOOLS

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
FLOWS = {"plain": (), "expenses": (FormField(name="amount"),)}
IN_BASE64 = base64.b64encode(PNG).decode()


@pytest.fixture
def house(bridge_house: BridgeHouse) -> BridgeHouse:
    bridge_house.build(SLOW, style="chat", images=True)
    return bridge_house


def asked(*uploads: str) -> dict[str, Any]:
    question = f"What does it show? {uuid.uuid4().hex}"
    return {"question": question, "flow_override": "slow", "uploads": list(uploads)}


def as_sent(name: str, content: bytes) -> dict[str, Any]:
    """Return what the sandbox tells of a file that it was sent."""
    data = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"type": "file", "name": name, "mime": "image/png", "data": data}


async def test_files_in_the_call_and_addresses_reach_the_flow_and_nothing_of_them_stays(
    alice: Client, house: BridgeHouse
) -> None:
    address = "https://example.test/kitten.png"
    call = asked(f"data:image/png;name=my%20kitten.png;base64,{IN_BASE64}", address)

    told = await alice.call_tool("flowise_query", call)

    (sent,) = house.sent(call["question"])
    assert sent["uploads"][0] == as_sent("my kitten.png", PNG)
    assert (sent["uploads"][1]["type"], sent["uploads"][1]["data"]) == ("url", address)
    assert (told.structured_content or {})["done"]
    assert house.client.keys(wire.blob_key("*")) == []


async def test_a_file_that_is_not_accepted_is_refused_as_everywhere(alice: Client, house: BridgeHouse) -> None:
    refusals = {
        "data:application/zip;name=a.zip;base64,AAAA": ("uploads.0.name", "flows take files that end in"),
        "data:image/png;name=a.png;base64,": ("uploads.0", "a.png is empty"),
        "data:image/png;name=a.png;base64,=A": ("uploads.0", "no base64"),
        "ftp://example.test/a.png": ("uploads.0", "started with --files"),
        "/etc/hostname": ("uploads.0", "started with --files"),
        "file:///etc/hostname": ("uploads.0", "started with --files"),
        "https://me:secret@example.test/a.png": ("uploads.0.url", "it holds a login"),
    }
    for given, (name, reason) in refusals.items():
        error = error_of(await alice.call_tool("flowise_query", asked(given)))
        assert error["error_type"] == "InvalidQuery"
        assert error["details"]["field_name"] == name
        assert reason in error["details"]["reason"]

    blind = {**asked(f"data:image/png;base64,{IN_BASE64}"), "flow_override": "broken"}
    unable = error_of(await alice.call_tool("flowise_query", blind))
    assert unable["error_type"] == "FilesRefused"


@pytest.mark.parametrize(
    ("given", "name", "content"),
    [
        ("data:text/csv,a%2Cb%0A1%2C2", "file-1.csv", b"a,b\n1,2"),
        ("data:;name=a.txt,one", "a.txt", b"one"),
        ("DATA:Image/PNG;BASE64,AAAA", "file-1.png", b"\0\0\0"),
        ("data:audio/webm;codecs=opus;base64,AA%3D%3D", "file-1.webm", b"\0"),
        ('data:application/pdf;name="report";base64,AA\nAA', "report.pdf", b"\0\0\0"),
        ("data:application/octet-stream;filename=r%C3%A9sum%C3%A9.pdf;base64,AAAA", "r\u00e9sum\u00e9.pdf", b"\0\0\0"),
    ],
)
async def test_clients_write_data_addresses_in_their_ways(given: str, name: str, content: bytes) -> None:
    (upload,) = await uploads_of([given], None)

    assert (upload.name, upload.source) == (name, content)


async def test_files_in_one_call_have_a_bound_together() -> None:
    half = f"data:text/plain,{'x' * (INLINE_BYTES // 2)}"

    assert len(await uploads_of([half, half], None)) == 2
    with pytest.raises(InvalidQuery, match=r"2,500,001 bytes together, at most 2,500,000"):
        await uploads_of([half, half, "data:text/plain,x"], None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "kitten.png").write_bytes(PNG)
    (shared / "sub").mkdir()
    (shared / "sub" / "a b.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    (shared / "link.png").symlink_to(tmp_path / "secret.png")
    (shared / "out").symlink_to(tmp_path)
    (shared / "sub" / "5f2b").write_bytes(PNG)
    (shared / "cat.png").symlink_to("sub/5f2b")
    return shared


async def test_below_the_folder_that_is_named_a_file_may_be_named_in_any_way(folder: Path) -> None:
    whole = str(folder / "kitten.png")
    given = ["kitten.png", whole, (folder / "sub" / "a b.png").as_uri(), "sub/../kitten.png", "cat.png"]

    found = await uploads_of(given, folder)

    assert [each.name for each in found] == ["kitten.png", "kitten.png", "a b.png", "kitten.png", "cat.png"]
    assert {each.digest for each in found} == {hashlib.sha256(PNG).hexdigest()}


@pytest.mark.parametrize(
    "given",
    [
        "../secret.png",
        "link.png",
        "out/secret.png",
        "/etc/hostname",
        "missing.png",
        "a\0.png",
        "file://host/kitten.png",
    ],
)
async def test_nothing_outside_of_it_is_read_nor_is_it_told_whether_it_is_there(folder: Path, given: str) -> None:
    with pytest.raises(InvalidQuery, match=f"there is no such file below {folder}$"):
        await uploads_of([given], folder)


@pytest.mark.parametrize("given", ["kitten.png", "sub/a b.png"])
@pytest.mark.parametrize("put", ["link", "pipe"])
async def test_what_is_put_in_a_files_place_after_it_was_looked_at_is_not_read(
    folder: Path, given: str, put: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, place = Path.resolve, folder / Path(given).parts[0]

    def looked_at(path: Path, strict: bool = False) -> Path:
        found = look(path, strict)
        shutil.move(place, folder.parent / "moved")
        if put == "link":
            place.symlink_to(folder.parent / "moved")
        else:
            os.mkfifo(place)
        return found

    monkeypatch.setattr(Path, "resolve", looked_at)
    with pytest.raises(InvalidQuery, match="cannot be read"):
        await uploads_of([given], folder)


async def test_a_file_is_still_below_the_folder_when_it_is_sent(folder: Path) -> None:
    (upload,) = await uploads_of(["sub/a b.png"], folder)
    assert upload.source is not None
    (folder / "sub").rename(folder.parent / "elsewhere")
    (folder / "sub").symlink_to(folder.parent / "elsewhere")

    with pytest.raises(InvalidQuery, match="cannot be read"):
        list(pieces_of(upload.source))


def test_over_http_no_folder_can_be_shared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--http", "0", "--files", str(folder)]) == 2
    assert main(["--files", str(folder / "missing")]) == 2
    assert main(["--files", ""]) == 2

    said = capsys.readouterr().err
    assert "over HTTP no client may name files" in said
    assert "is no folder" in said
    assert "it is empty" in said


async def test_over_stdio_a_path_is_read_and_no_byte_of_a_file_is_logged_or_kept(
    house: BridgeHouse, folder: Path
) -> None:
    by_path, inline = asked("kitten.png"), asked(f"data:image/png;base64,{IN_BASE64}")
    log = folder / "log"
    with log.open("w") as said:
        flywheel = house.stdio("--files", str(folder), "--log-level", "DEBUG")
        async with Client(stdio_client(flywheel, errlog=said)) as client:
            for call in (by_path, inline):
                await client.call_tool("flowise_query", call)

    (first,), (second,) = house.sent(by_path["question"]), house.sent(inline["question"])
    assert first["uploads"] == [as_sent("kitten.png", PNG)]
    assert second["uploads"] == [as_sent("file-1.png", PNG)]
    assert "DEBUG" in log.read_text()
    traces = house.folder / "home" / "traces"
    written = [log, *house.folder.glob("*.log"), *(each for each in traces.rglob("*") if each.is_file())]
    assert [each for each in written if IN_BASE64[:24] in each.read_text(errors="replace")] == []
    kept = [key for key in house.client.keys("*") if IN_BASE64[:24] in repr(house.client.dump(key))]
    assert kept == []


async def test_the_files_of_a_batch_go_with_each_of_its_questions(alice: Client, house: BridgeHouse) -> None:
    one, other = asked(f"data:image/png;name=a.png;base64,{IN_BASE64}"), asked()
    batch = {**one, "questions": [one.pop("question"), other["question"]]}
    del batch["question"]

    view = (await alice.call_tool("flowise_batch", batch)).structured_content or {}
    refused = await alice.call_tool("flowise_batch", {"questions": ["x", "y"], "uploads": ["data:image/png;base64,?"]})

    assert (view["succeeded"], view["done"]) == (2, True)
    for question in batch["questions"]:
        (sent,) = house.sent(question)
        assert sent["uploads"] == [as_sent("a.png", PNG)]
    assert error_of(refused)["details"]["field_name"] == "uploads.0"
    assert house.client.keys(wire.blob_key("*")) == []


async def test_the_tool_of_a_flow_takes_files(house: BridgeHouse) -> None:
    call = asked(f"data:image/png;name=a.png;base64,{IN_BASE64}")
    del call["flow_override"]

    async with Client(build_server(Bridge(house.settings, tools="flow-tools"))) as client:
        told = await client.call_tool("ask_slow", call)

    (sent,) = house.sent(call["question"])
    assert sent["uploads"] == [as_sent("a.png", PNG)]
    assert (told.structured_content or {})["done"]


def test_every_tool_that_asks_takes_files() -> None:
    catalog = Catalog(flows={name: Flow(key=name, id=name, domain="d", form=form) for name, form in FLOWS.items()})
    asks = [tool for tool in (*ALL_TOOLS, *flow_tools(catalog).values()) if tool.hints is ASKS]

    assert len(asks) == 6
    assert [tool.name for tool in asks if "uploads" not in tool.arguments.model_fields] == []
