"""A file in a `data:` address is read alike at every door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.uploads import Upload
from http_gateway.flowise.bodies import GivenUpload, upload_of
from http_gateway.openai.messages import ChatMessage, conversation_of
from mcp_bridge.files import uploads_of


def over_mcp(address: str) -> Upload:
    return asyncio.run(uploads_of([address], None))[0]


def as_flowise(address: str) -> Upload:
    given = GivenUpload(type="file", name="picture.png", mime="image/png", data=address)
    found = upload_of(given)
    assert found is not None
    return found


def as_openai(address: str) -> Upload:
    content = [{"type": "image_url", "image_url": {"url": address}}]
    return conversation_of([ChatMessage.model_validate({"role": "user", "content": content})]).uploads[0]


DOORS = pytest.mark.parametrize("read", [over_mcp, as_flowise, as_openai])


@DOORS
@pytest.mark.parametrize(
    "address",
    [
        "data:image/png;base64,AAE=",
        "DATA:Image/PNG;BASE64,AAE=",
        "data:image/png;name=cat.png;base64,AAE%3D",
        "data:image/png;base64,AA\r\nE=",
        "data:image/png,%00%01",
    ],
)
def test_every_spelling_holds_the_same_file(read: Callable[[str], Upload], address: str) -> None:
    upload = read(address)

    assert (upload.source, upload.type) == (b"\0\1", "image/png")


@DOORS
@pytest.mark.parametrize(
    "address",
    ["data:image/png;base64", "data:image/png;base64,?", "data:image/png;base64,AAE", "data:image/png;base64,é"],
)
def test_what_is_broken_is_refused_by_name(read: Callable[[str], Upload], address: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        read(address)

    assert refused.value.field_name.startswith(("uploads.", "messages."))


@DOORS
def test_no_more_is_decoded_than_a_file_may_have(
    read: Callable[[str], Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_flywheel.data_addresses._MOST_BASE64", 4)

    assert read("data:image/png;base64,AAAA").size == 3
    with pytest.raises(InvalidQuery, match="flows take no more"):
        read("data:image/png;base64,AAAAAAAA")
