"""Whatever stands in a body, reading it gives a request or a refusal that names what is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentic_flywheel.errors import FlywheelError
from http_gateway.openai.parameters import PARAMETERS
from http_gateway.openai.requests import read_request

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "refusal", "input_audio"]) | ANYTHING},
    optional={
        "text": ANYTHING,
        "refusal": ANYTHING,
        "image_url": ANYTHING
        | st.fixed_dictionaries(
            {"url": st.sampled_from(["data:image/png;base64,AAAA", "https://x.example/a.png", "data:,", "http://["])}
        ),
    },
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]) | ANYTHING},
    optional={"content": st.text(max_size=40) | st.lists(PART, max_size=3) | ANYTHING, "tool_calls": ANYTHING},
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(PARAMETERS, ANYTHING),
        "model": st.sampled_from(["auto", "plain"]) | ANYTHING,
        "messages": st.lists(MESSAGE, max_size=4) | ANYTHING,
        "stream": st.booleans() | ANYTHING,
        "unheard": ANYTHING,
    },
)


def _read(raw: bytes) -> None:
    with suppress(FlywheelError):
        asked = read_request(raw)
        assert asked.conversation.question.strip()


@given(BODY | ANYTHING)
def test_a_json_body_is_read_or_refused(body: Any) -> None:
    _read(json.dumps(body).encode())


@given(st.lists(MESSAGE, min_size=1, max_size=4))
def test_messages_are_read_or_refused(messages: Any) -> None:
    _read(json.dumps({"model": "auto", "messages": messages}).encode())


@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused(raw: bytes) -> None:
    _read(raw)
