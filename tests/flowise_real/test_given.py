"""What goes in, to a real Flowise: a form with its fields, a file as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from agentic_flywheel.broker import wire
from agentic_flywheel.errors import FlowRefused, InvalidQuery
from flowise_real.conftest import RealHouse
from flowise_real.flows import letters
from producer import AsyncProducer


async def test_a_form_reaches_the_flow_with_its_fields(producer: AsyncProducer) -> None:
    name = letters()

    answers = [
        await producer.ask(form={"name": name, "kind": "meal"}, flow=flow, wait=60) for flow in ("form", "form-unsaid")
    ]

    assert [answer.text.strip() for answer in answers] == [f"{name} has meal"] * 2


async def test_a_form_that_is_not_the_flows_never_reaches_it(producer: AsyncProducer, house: RealHouse) -> None:
    wrong = letters()

    with pytest.raises(InvalidQuery, match="kind"):
        await producer.ask(form={"name": wrong, "kind": "toy"}, flow="form", wait=60)
    with pytest.raises(InvalidQuery, match="begins with a form"):
        await producer.ask(wrong, flow="form", wait=60)
    # Where the registry does not say which form it is, the worker asks the server.
    with pytest.raises(FlowRefused, match="colour"):
        await producer.ask(form={"name": wrong, "kind": "meal", "colour": "red"}, flow="form-unsaid", wait=60)

    assert not [each for each in house.flowise.messages(house.flows["form"]) if wrong in str(each)]


async def test_an_image_reaches_the_model_as_it_is_and_nothing_is_left_of_it(
    producer: AsyncProducer, house: RealHouse, tmp_path: Path
) -> None:
    question, image = letters(), tmp_path / "kitten.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(300_001))

    answer = await producer.ask(question, flow="seeing", uploads=[image], wait=60)

    assert answer.text.split() == [question, hashlib.sha256(image.read_bytes()).hexdigest()]
    assert list(house.client.scan_iter(wire.blob_key("*"))) == []
