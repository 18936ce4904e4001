"""The client and a Flowise that misbehaves in every way, over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from agentic_flywheel.backends.flowise import FlowiseBackend, FlowiseClient
from agentic_flywheel.backends.models import FlowAnswer, FlowCall, FlowNews, HumanInput
from agentic_flywheel.backends.post import new_session
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    FlowError,
    FlowFailed,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowTimeout,
    FlowUnauthorized,
    InvalidSetting,
    ProviderUnavailable,
    ServerUnreachable,
)
from agentic_flywheel.models import EventKind, Message
from agentic_flywheel.servers import FlowServer
from flowise.recordings import RECORDINGS, replaying
from flowise_sandbox import Behaviour, Fault, RateLimit, SandboxFlow, Style
from flowise_sandbox.server import Sandbox

KEY = SecretStr("management-key")
DIALECTS = [
    Style.CHAT,
    Style.DOCUMENTS,
    Style.TOOLS,
    Style.CREW,
    Style.LLM,
    Style.AGENT,
    Style.MAKER,
    Style.FINDER,
    Style.CODE,
]

Maker = Callable[..., Flow]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(api_key=KEY.get_secret_value()) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[FlowiseClient]:
    async with FlowiseClient(sandbox.url) as opened:
        yield opened


@pytest.fixture
def new_flow(sandbox: Sandbox) -> Maker:
    def make(style: Style = Style.CHAT, **behaviour: Any) -> Flow:
        made = sandbox.add(SandboxFlow(id=str(uuid.uuid4()), name=style, style=style), Behaviour(**behaviour))
        return Flow(key=f"{style}-flow", id=made.id, domain="tests")

    return make


def call_of(flow: Flow, *, stream: bool = False, **fields: Any) -> FlowCall:
    question = fields.pop("question", "How does the lighthouse signal ships at night?")
    return FlowCall(flow=flow, question=question, stream=stream, **fields)


def text_of(news: list[FlowNews]) -> str:
    """Return the text of the tokens that were told."""
    return "".join(str(each.data["text"]) for each in news if each.kind is EventKind.TOKEN)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_call_that_concerns_no_flow_names_none() -> None:
    async with FlowiseClient("http://127.0.0.1:9") as client:
        with pytest.raises(ServerUnreachable) as refused:
            await client.ping()

    assert refused.value.message.startswith("The server could not be reached: ")
    assert FlowTimeout("*", 2).message == "The server had not answered within 2 s"


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_error_quotes_no_secret_of_a_configuration(streamed: bool) -> None:
    said = "Error in LLM node: 401 the token hunter2-sentinel of somewhere-else is not known"

    async def refuse(_: web.Request) -> web.StreamResponse:
        if not streamed:
            return web.json_response({"message": said}, status=500)
        text = f"message:\ndata:{json.dumps({'event': 'error', 'data': said})}\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/{path:.*}", refuse)
    flow = Flow(key="f", id="one", domain="tests", config={"headers": {"X-Token": ["hunter2-sentinel"]}})
    async with TestServer(app) as server, FlowiseClient(str(server.make_url("/"))) as client:
        with pytest.raises(FlowError, match=r"the token \*\*\* of \*\*\* is not known"):
            await client.predict(call_of(flow, stream=streamed, config={"apiKey": "somewhere-else"}))


# Addresses with a login


@pytest.mark.parametrize("owned", [True, False], ids=["its own session", "a given session"])
async def test_a_user_and_a_password_in_the_address_are_sent_as_basic(owned: bool) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.headers.get("Authorization", "")))
        return web.json_response({"isStreaming": False, "text": "ok"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    flow = Flow(key="f", id="one", domain="tests")
    async with TestServer(app) as server, new_session() as session:
        url = str(server.make_url("/")).replace("://", "://me%40home:p%3Aw@")
        async with FlowiseClient(url, session=None if owned else session) as client:
            await client.predict(call_of(flow))
            await client.find_answer(flow, "x")

    assert {method for method, _ in seen} == {"GET", "POST"}
    assert {told for _, told in seen} == {"Basic " + base64.b64encode(b"me@home:p:w").decode()}


@pytest.mark.parametrize(("login", "key", "why"), [("u:p@", "key", "a user and a password"), ("", "a\nb", "character")])
async def test_a_key_that_cannot_be_sent_is_refused_by_name(login: str, key: str, why: str, sandbox: Sandbox) -> None:
    url = sandbox.url.replace("://", f"://{login}")
    async with FlowiseClient(url) as client:
        with pytest.raises(FlowUnauthorized, match=why):
            await client.chatflows.one(Flow(key="f", id="one", domain="tests"), api_key=SecretStr(key))


# Answers


@pytest.mark.parametrize("style", [*DIALECTS, Style.FUNCTION, Style.SCRIPT])
async def test_a_stream_and_a_plain_call_give_the_same_answer(
    style: Style, client: FlowiseClient, new_flow: Maker
) -> None:
    flow = new_flow(style, follow_ups=True)
    news: list[FlowNews] = []

    plain = await client.predict(call_of(flow, chat_id="a"))
    streamed = await client.predict(call_of(flow, chat_id="b", stream=True), on_news=news.append)

    assert "lighthouse" in plain.text
    assert streamed.text == plain.text
    assert text_of(news) == (streamed.text if style.streams else "")
    untimed = {"started": None, "elapsed": None}
    for name in ("sources", "usage", "tools", "follow_ups", "warnings"):
        assert getattr(streamed, name) == getattr(plain, name)
    assert plain.follow_ups
    assert [str(each).replace("chatId=b", "chatId=a") for each in streamed.artifacts] == list(map(str, plain.artifacts))
    assert [step.model_copy(update=untimed) for step in streamed.steps] == [
        step.model_copy(update=untimed) for step in plain.steps
    ]


async def test_a_tool_that_fails_is_told_of_where_the_flow_answers_nevertheless(
    client: FlowiseClient, new_flow: Maker
) -> None:
    answer = await client.predict(call_of(new_flow(Style.TOOLS, fault=Fault.TOOL)))

    (used,) = answer.tools
    assert (used.name, used.error) == ("plot", "NodeVM Execution Error: Error: out of stock")
    with pytest.raises(FlowFailed, match="out of stock"):
        await client.predict(call_of(new_flow(Style.AGENT, fault=Fault.TOOL), stream=True))


async def test_an_object_of_a_custom_function_is_data(client: FlowiseClient, new_flow: Maker) -> None:
    answer = await client.predict(call_of(new_flow(Style.OBJECT)))

    assert answer.text == ""
    assert answer.data is not None
    assert set(answer.data) == {"answer", "length"}


async def test_tokens_arrive_while_the_flow_still_speaks(client: FlowiseClient, new_flow: Maker) -> None:
    first = asyncio.Event()
    flow = new_flow(Style.LLM, latency=0.05, token_delay=0.01)

    def note(news: FlowNews) -> None:
        if news.kind is EventKind.TOKEN:
            first.set()

    asking = asyncio.create_task(client.predict(call_of(flow, stream=True), on_news=note))
    await asyncio.wait_for(first.wait(), timeout=3)
    assert not asking.done()
    answer = await asking

    assert answer.first_token is not None
    assert 0.05 <= answer.first_token.total_seconds() < answer.elapsed.total_seconds()


async def test_a_stopped_flow_is_resumed_by_a_decision(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(Style.APPROVAL)
    stopped = await client.predict(call_of(flow, session_id="s", stream=True))
    resumed = await client.predict(FlowCall(flow=flow, session_id="s", human_input=HumanInput(type="proceed")))

    assert stopped.action is not None
    assert resumed.text == "approved"
    assert resumed.action is None


async def test_a_conversation_is_remembered_by_session_or_by_history(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(Style.CHAT)
    alone = await client.predict(call_of(flow))
    await client.predict(call_of(flow, session_id="s", chat_id="1", question="Who built it?"))
    remembered = await client.predict(call_of(flow, session_id="s", chat_id="2"))
    told = await client.predict(call_of(flow, history=(Message(role="userMessage", content="Who built it?"),)))

    assert remembered.text == told.text == f"Following up on “Who built it?”: {alone.text}"


# Failures

FAULTS: list[tuple[Fault, type[FlowError]]] = [
    (Fault.ERROR, FlowFailed),
    (Fault.UNAUTHORIZED, FlowUnauthorized),
    (Fault.PROVIDER_KEY, FlowUnauthorized),
    (Fault.PROVIDER_LIMIT, ProviderUnavailable),
    (Fault.PROVIDER_DOWN, ProviderUnavailable),
    (Fault.PROVIDER_CUT, ProviderUnavailable),
    (Fault.DROP, ServerUnreachable),
    (Fault.HANG, FlowTimeout),
    (Fault.PAGE, FlowProtocolError),
    (Fault.GATEWAY, ServerUnreachable),
    (Fault.EMPTY, FlowFailed),
]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("style", [Style.CHAT, Style.LLM])
@pytest.mark.parametrize(("fault", "expected"), FAULTS)
async def test_a_fault_gets_its_name(
    fault: Fault, expected: type[FlowError], style: Style, stream: bool, client: FlowiseClient, new_flow: Maker
) -> None:
    flow = new_flow(style, fault=fault, token_delay=0.0005, heartbeat=0.02)

    silence = 0.15 if fault is Fault.HANG else 5

    with pytest.raises(FlowError) as caught:
        await asyncio.wait_for(client.predict(call_of(flow, stream=stream), timeout=silence), timeout=10)

    assert type(caught.value) is expected
    assert caught.value.flow == flow.key


async def test_a_broken_stream_has_passed_its_tokens_on(client: FlowiseClient, new_flow: Maker) -> None:
    news: list[FlowNews] = []

    with pytest.raises(ServerUnreachable, match="before the answer was whole"):
        await client.predict(call_of(new_flow(fault=Fault.DROP), stream=True), on_news=news.append)

    assert text_of(news)


async def test_heartbeats_do_not_make_a_call_longer_than_it_may_be(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(Style.LLM, latency=30, heartbeat=0.02)

    with pytest.raises(FlowTimeout, match=r"had not answered within 0\.2 s"):
        await asyncio.wait_for(client.predict(call_of(flow, stream=True), timeout=0.2), timeout=5)


async def test_a_flow_that_thinks_under_heartbeats_is_not_silent(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(Style.LLM, latency=1, heartbeat=0.05)

    assert (await client.predict(call_of(flow, stream=True), idle_timeout=0.5)).text


@pytest.mark.parametrize("style", [Style.LLM, Style.FUNCTION])
async def test_a_flow_may_think_for_its_whole_time_before_it_answers(
    client: FlowiseClient, new_flow: Maker, style: Style
) -> None:
    flow = new_flow(style, latency=0.5)

    assert (await client.predict(call_of(flow), idle_timeout=0.1)).text


async def test_a_stream_that_falls_silent_is_cut(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(Style.LLM, latency=30)

    with pytest.raises(FlowTimeout, match=r"fell silent amid its answer, for 0\.2 s"):
        await asyncio.wait_for(client.predict(call_of(flow, stream=True), idle_timeout=0.2), timeout=5)


async def test_a_slow_stream_that_keeps_speaking_is_not_cut(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(Style.LLM, token_delay=0.02)

    answer = await client.predict(call_of(flow, stream=True), idle_timeout=0.5)

    assert answer.elapsed.total_seconds() > 0.5


async def test_a_flow_that_drips_a_token_at_a_time_is_cut_by_its_timeout(
    client: FlowiseClient, new_flow: Maker
) -> None:
    flow = new_flow(Style.LLM, token_delay=0.1).model_copy(update={"timeout": timedelta(milliseconds=300)})

    with pytest.raises(FlowTimeout, match=r"had not answered within 0\.3 s"):
        await asyncio.wait_for(client.predict(call_of(flow, stream=True)), timeout=3)
    with pytest.raises(FlowTimeout):
        await asyncio.wait_for(client.predict(call_of(flow), timeout=-1), timeout=3)


async def test_the_flows_own_timeout_is_the_default(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(latency=30).model_copy(update={"timeout": timedelta(milliseconds=100)})

    with pytest.raises(FlowTimeout):
        await asyncio.wait_for(client.predict(call_of(flow)), timeout=3)


async def test_a_rate_limit_says_when_to_come_back(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(rate_limit=RateLimit(calls=1, seconds=30))
    await client.predict(call_of(flow))

    with pytest.raises(FlowRateLimited) as caught:
        await client.predict(call_of(flow, stream=True))

    assert 29 <= caught.value.retry_after <= 30


async def test_a_key_opens_its_own_flow_only(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(key="flow-key")

    answer = await client.predict(call_of(flow), api_key=SecretStr("flow-key"))
    with pytest.raises(FlowUnauthorized) as caught:
        await client.predict(call_of(flow), api_key=KEY)

    assert answer.text
    assert KEY.get_secret_value() not in str(caught.value.describe())


async def test_no_server_is_unreachable_at_once(unused_tcp_port: int) -> None:
    flow = Flow(key="f", id=str(uuid.uuid4()), domain="tests")

    async with FlowiseClient(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(ServerUnreachable, match=r"Connection refused \("):
            await asyncio.wait_for(client.predict(call_of(flow)), timeout=3)
        with pytest.raises(ServerUnreachable):
            await client.ping()


async def test_a_server_that_speaks_no_http_is_named(unused_tcp_port: int) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", unused_tcp_port)
    async with server, FlowiseClient(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises((FlowProtocolError, ServerUnreachable)):
            await asyncio.wait_for(client.version(), timeout=3)


@pytest.mark.parametrize("address", ["", "127.0.0.1:3000", "ftp://flowise", "http://", "http://host:port"])
def test_an_unusable_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidSetting):
        FlowiseClient(address)


async def test_an_address_may_end_as_users_write_it(sandbox: Sandbox) -> None:
    for ending in ("", "/", "/api/v1", "/api/v1/"):
        async with FlowiseClient(sandbox.url + ending) as client:
            assert await client.version() == "3.1.4"


async def test_a_wrong_path_is_no_answer(sandbox: Sandbox, new_flow: Maker) -> None:
    async with FlowiseClient(f"{sandbox.url}/elsewhere") as client:
        with pytest.raises(FlowProtocolError, match="text/html"):
            await client.predict(call_of(new_flow()))
        with pytest.raises(FlowProtocolError, match="pong"):
            await client.ping()


async def test_an_answer_without_bound_is_cut(
    client: FlowiseClient, new_flow: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_flywheel.backends.connection.MAX_ANSWER", 100)

    with pytest.raises(FlowProtocolError, match="larger"):
        await client.predict(call_of(new_flow()))


# Late answers, cancellation, concurrency


@pytest.mark.parametrize("style", DIALECTS)
async def test_the_answer_of_a_call_that_was_given_up_is_found_later(
    style: Style, client: FlowiseClient, new_flow: Maker
) -> None:
    flow = new_flow(style, latency=0.4)
    with pytest.raises(FlowTimeout):
        await client.predict(call_of(flow, chat_id="attempt-1", stream=True), timeout=0.05)
    assert await client.find_answer(flow, "attempt-1", api_key=KEY) is None

    found: list[FlowAnswer] = []
    async with asyncio.timeout(30):
        while not found:
            late = await client.find_answer(flow, "attempt-1", api_key=KEY)
            found += [late] if late else []
            await asyncio.sleep(0.02)

    assert "lighthouse" in found[0].text
    assert found[0].elapsed.total_seconds() >= 0.4
    with pytest.raises(FlowUnauthorized):
        await client.find_answer(flow, "attempt-1")


async def test_looking_for_a_late_answer_is_bounded_too() -> None:
    async with replaying(RECORDINGS["err_unknown_flow_stream"]) as silent, FlowiseClient(silent.url) as client:
        with pytest.raises(FlowTimeout):
            await client.find_answer(Flow(key="f", id="f", domain="tests"), "c", timeout=0.1)


async def test_a_chat_can_be_forgotten(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow()
    await client.predict(call_of(flow, chat_id="c"))

    assert await client.forget(flow, "c", api_key=KEY) == 2
    assert await client.find_answer(flow, "c", api_key=KEY) is None


async def test_what_is_forgotten_leaves_no_execution_either() -> None:
    # As Flowise 3.1.4 does it: deleting by chat leaves the executions, which hold the question, too.
    messages = [{"chatId": chat, "sessionId": "s", "executionId": f"e-{chat}"} for chat in ("c", "c", "d")]
    executions = {"e-c", "e-d", "e-other"}

    async def chats(request: web.Request) -> web.Response:
        wanted = [each for each in messages if request.query.items() <= each.items()]
        if request.method == "GET":
            return web.json_response(wanted)
        assert request.query.keys() & {"chatId", "sessionId"}
        messages[:] = [each for each in messages if each not in wanted]
        if "sessionId" in request.query:
            executions.difference_update(each["executionId"] for each in wanted)
        return web.json_response({"raw": [], "affected": len(wanted)})

    app = web.Application()
    app.router.add_route("*", "/api/v1/chatmessage/one", chats)
    flow = Flow(key="f", id="one", domain="tests")
    async with TestServer(app) as server, FlowiseClient(str(server.make_url("/"))) as client:
        assert [await client.forget(flow, chat) for chat in ("c", "d", "never")] == [3, 0, 0]

    assert (messages, executions) == ([], {"e-other"})


async def test_an_abort_ends_a_run(client: FlowiseClient, sandbox: Sandbox, new_flow: Maker) -> None:
    flow = new_flow(Style.LLM, latency=30)
    asking = asyncio.create_task(client.predict(call_of(flow, chat_id="c", stream=True)))
    await until(lambda: sandbox.counts.flows[flow.id] == 1)

    await client.abort(flow, "c")

    with pytest.raises(FlowFailed, match="aborted"):
        await asyncio.wait_for(asking, timeout=3)


async def test_cancelling_closes_the_connection(sandbox: Sandbox, new_flow: Maker) -> None:
    flow = new_flow(latency=30)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        client = FlowiseClient(sandbox.url, session=session)
        asking = asyncio.create_task(client.predict(call_of(flow, stream=True)))
        await until(lambda: sandbox.counts.flows[flow.id] == 1)

        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert not connector._acquired
        assert not any(connector._conns.values())
        await client.close()
        assert not session.closed


async def test_a_finished_stream_leaves_its_connection_for_the_next(sandbox: Sandbox, new_flow: Maker) -> None:
    flow = new_flow(Style.LLM)
    async with new_session() as session:
        client = FlowiseClient(sandbox.url, session=session)
        await client.predict(call_of(flow, stream=True))
        connector = session.connector
        assert connector is not None
        (kept,) = [protocol for (protocol, _) in next(iter(connector._conns.values()))]

        await client.predict(call_of(flow, stream=True))

        assert [protocol for (protocol, _) in next(iter(connector._conns.values()))] == [kept]


async def test_fifty_calls_at_once(client: FlowiseClient, sandbox: Sandbox, new_flow: Maker) -> None:
    flows = [new_flow(style, latency=0.05) for style in DIALECTS]
    calls = [
        call_of(
            flows[number % 5], question=f"What about harbour{number}?", chat_id=f"c{number}", stream=number % 2 == 0
        )
        for number in range(50)
    ]

    answers = await asyncio.gather(*(client.predict(call) for call in calls))

    assert all(f"harbour{number}" in answer.text for number, answer in enumerate(answers))
    assert [answer.chat_id for answer in answers] == [f"c{number}" for number in range(50)]
    assert sandbox.counts.total == 50
    assert sandbox.counts.repeated == 0


async def test_a_second_stream_on_one_chat_leaves_the_first_to_its_timeout(
    client: FlowiseClient, sandbox: Sandbox, new_flow: Maker
) -> None:
    flow = new_flow(Style.LLM, latency=0.2)
    first = asyncio.create_task(client.predict(call_of(flow, chat_id="same", stream=True), timeout=0.6))
    await until(lambda: sandbox.counts.flows[flow.id] == 1)

    second = await client.predict(call_of(flow, chat_id="same", stream=True))

    assert second.text
    with pytest.raises(FlowTimeout):
        await asyncio.wait_for(first, timeout=3)


# Streaming probe


async def test_whether_a_flow_streams_is_asked_once(sandbox: Sandbox, client: FlowiseClient, new_flow: Maker) -> None:
    streams, cannot = new_flow(Style.LLM), new_flow(Style.FUNCTION)

    assert set(await asyncio.gather(*(client.chatflows.can_stream(streams) for _ in range(20)))) == {True}
    assert not await client.chatflows.can_stream(cannot)

    del sandbox.installation.flows[streams.id]
    assert await client.chatflows.can_stream(streams)


async def test_a_flow_that_appears_later_is_found(sandbox: Sandbox, client: FlowiseClient) -> None:
    flow = Flow(key="f", id=str(uuid.uuid4()), domain="tests")
    with pytest.raises(FlowNotFound):
        await client.chatflows.can_stream(flow)

    sandbox.add(SandboxFlow(id=flow.id))

    assert await client.chatflows.can_stream(flow)


async def test_a_flow_that_is_deleted_while_it_is_remembered_is_found_missing_amid_its_call(
    sandbox: Sandbox, client: FlowiseClient, new_flow: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_flywheel.backends.flowise.client._HEAD_WITHIN", 0.05)
    flow = new_flow()
    assert await client.chatflows.can_stream(flow)
    del sandbox.installation.flows[flow.id]

    with pytest.raises(FlowNotFound):
        await client.predict(call_of(flow, stream=True), timeout=60)

    with pytest.raises(FlowNotFound):  # what was remembered is forgotten
        await client.chatflows.can_stream(flow)


async def test_a_flow_that_is_there_may_begin_late(
    sandbox: Sandbox, client: FlowiseClient, new_flow: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_flywheel.backends.flowise.client._HEAD_WITHIN", 0.05)
    slow = new_flow(latency=0.5)

    assert (await client.predict(call_of(slow, stream=True))).text


async def test_one_callers_cancellation_leaves_the_probe_to_the_others(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow()
    impatient = asyncio.create_task(client.chatflows.can_stream(flow))
    patient = asyncio.create_task(client.chatflows.can_stream(flow))
    await asyncio.sleep(0)
    impatient.cancel()

    assert await patient


async def test_what_is_told_of_overrides_is_what_the_flow_allows_now(
    sandbox: Sandbox, new_flow: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("agentic_flywheel.backends.remembered.time", SimpleNamespace(monotonic=lambda: clock.now))
    flow = new_flow()
    looks = 0

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        return await fetch(*given, **named)

    async def told(key: SecretStr | None = KEY) -> tuple[str, ...]:
        return (await backend.prepare(call_of(flow, config={"temperature": 0.1}), api_key=key)).warnings

    backend = FlowiseBackend(FlowServer(address=sandbox.url))
    fetch = backend.client.chatflows.one
    monkeypatch.setattr(backend.client.chatflows, "one", counted)
    try:
        closed = [await told() for _ in range(20)]
        sandbox.behave(flow.id, Behaviour(overrides=True))
        clock.now += 2.1
        opened = await told()
        sandbox.behave(flow.id, Behaviour())
        clock.now += 30.1
        closed_again = await told()
        unknown = [await told(None), await told(SecretStr("wrong"))]
    finally:
        await backend.close()

    assert {texts[0].partition(":")[0] for texts in (*closed, closed_again)} == {"Flowise ignored temperature"}
    assert opened == ()
    assert looks == 1 + 1 + 1 + 2  # calls that come together share a look
    assert [each.partition(": ")[2] for (each,) in unknown] == [
        "it says so to an API key only.",
        "Flowise did not tell the flow's settings.",
    ]


# Flows, feedback, servers


async def test_flows_are_listed_with_what_their_owners_allow(client: FlowiseClient, new_flow: Maker) -> None:
    flow = new_flow(Style.LLM, overrides=True, key="k", rate_limit=RateLimit(calls=3, seconds=10))

    listed = await client.chatflows.all(api_key=KEY)
    one = await client.chatflows.one(flow, api_key=KEY)

    assert one in listed
    assert {"technical-analysis", "creative-orientation", "document-qa"} <= {each.name for each in listed}
    assert (one.kind, one.keyed, one.overrides) == ("AGENTFLOW", True, True)
    assert "temperature" in one.overridable
    assert one.rate is not None
    assert one.rate.calls == 3
    assert await client.chatflows.of_key(SecretStr("k")) == (one,)


async def test_feedback_is_given_and_revised(client: FlowiseClient, sandbox: Sandbox, new_flow: Maker) -> None:
    flow = new_flow()
    answer = await client.predict(call_of(flow, chat_id="c"))
    assert answer.message_id

    given = await client.verdicts.give(
        flow, chat_id="c", message_id=answer.message_id, rating="THUMBS_UP", content="good", api_key=KEY
    )
    await client.verdicts.revise(flow, given.id, rating="THUMBS_DOWN", content="meh", api_key=KEY)

    (kept,) = sandbox.installation.chats.feedback_of(flow.id)
    assert (kept["id"], kept["rating"], kept["content"]) == (given.id, "THUMBS_DOWN", "meh")


async def test_a_flow_may_live_on_another_server(sandbox: Sandbox, new_flow: Maker, unused_tcp_port: int) -> None:
    flow = new_flow().model_copy(update={"server": sandbox.url})

    async with FlowiseClient(f"http://127.0.0.1:{unused_tcp_port}") as client:
        assert (await client.predict(call_of(flow))).text
