"""What every backend promises, as tests. A backend's own file gives its dialect and inherits them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import operator
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
from pydantic import SecretStr

from agentic_flywheel.backends import FlowAnswer, FlowBackend, FlowCall, FlowNews
from agentic_flywheel.backends.bodies import FlowUpload
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import (
    AnswerTooLong,
    FlowError,
    FlowNotFound,
    FlowProtocolError,
    FlowRateLimited,
    FlowRefused,
    FlowTimeout,
    FlowUnauthorized,
    ServerUnreachable,
)
from agentic_flywheel.models import EventKind, Message
from backends.beside import ASKED, STATUSES, in_a_hurry, may_be_said, may_fail
from backends.scenes import Scene, SceneServer, serving

Kind = TypeVar("Kind", bound=FlowError)

MB = 1 << 20
#: No error, answer or news may hold it.
KEY = "letmein-4711"
PAGE = b"<!DOCTYPE html><html><body><h1>Welcome to nginx!</h1></body></html>"
#: Bodies that are no answer in most dialects.
NOISE = (
    b"",
    f"{KEY} is no key".encode(),
    b"null",
    b"[]",
    b"0",
    b'"text"',
    b"{}",
    b'{"a":',
    b"\xff\xfe\x00",
    b"[" * 50_000,
    b"\n\n\n",
    b"data: \n\n",
)


#: What a call may have beside its question, by the ability that it needs, and what then has to be in a request.
TAKEN: dict[str, tuple[dict[str, Any], bytes]] = {
    "session": ({"session_id": "s-4711"}, b"s-4711"),
    "history": (
        {"history": (Message(role="userMessage", content="And yet?"), Message(role="apiMessage", content="It moves."))},
        b"It moves.",
    ),
    "uploads": (
        {"uploads": (FlowUpload("url", "cat.png", "image/png", "https://pictures.example/cat.png"),)},
        b"pictures.example/cat.png",
    ),
    "form": ({"form": {"colour": "teal"}, "question": ""}, b"teal"),
    "overrides": ({"config": {"temperature": 0.25}}, b"0.25"),
}


def over_http(body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    """Return an answer as it goes over the wire; ``length``: what it says of itself."""
    told = (b"Content-Type: application/json", b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join((b"HTTP/1.1 200 OK", *told, *lines, b"", body))


def hostile(body: bytes) -> dict[str, tuple[Iterable[bytes], type[FlowError]]]:
    """Return what a broken or hostile server sends in place of this body, and the error that it is."""
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    lines, half = itertools.repeat(b"X-More: 1\r\n" * 1_000), body[:-2]
    return {
        "head without end": (itertools.chain([b"HTTP/1.1 200 OK\r\n"], lines), FlowProtocolError),
        "line without end": (itertools.repeat(b"HTTP/1.1 200 O" + b"K" * 65_536), FlowProtocolError),
        "heads without end": (itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), FlowProtocolError),
        "too long a length": ([over_http(half, length=len(body))], ServerUnreachable),
        "too short a length": ([over_http(body, length=len(half))], FlowProtocolError),
        "length below zero": ([over_http(body, length=-1)], FlowProtocolError),
        "two lengths": ([over_http(body, b"Content-Length: 1")], FlowProtocolError),
        "length and chunks": ([over_http(body, b"Transfer-Encoding: chunked")], FlowProtocolError),
        "chunk of no size": ([chunked, b"size\r\n" + body], FlowProtocolError),
        "chunk of any size": ([chunked, b"f" * 40 + b"\r\n" + body], FlowProtocolError),
        "chunk that is cut": ([chunked, b"%x\r\n" % len(body) + half], ServerUnreachable),
        "chunks without end": ([chunked, b"%x\r\n" % len(half) + half + b"\r\n"], ServerUnreachable),
        "trailer without end": (
            itertools.chain([chunked, b"%x\r\n" % len(half) + half + b"\r\n0\r\n"], lines),
            FlowError,
        ),
        "nothing packed": ([over_http(b"\xff" * 100, b"Content-Encoding: gzip")], FlowProtocolError),
        "not modified": ([b"HTTP/1.1 304 Not Modified\r\n\r\n"], FlowProtocolError),
        "packed in a way of its own": ([over_http(body, b"Content-Encoding: br")], FlowProtocolError),
        "no head": ([body], FlowProtocolError),
        "another protocol": ([b"HTTP/1.1 101 Switched\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + body], FlowError),
        "no content": ([b"HTTP/1.1 204 None\r\n\r\n"], FlowError),
        "no status": ([b"HTTP/1.1 0 OK\r\n\r\n" + body], FlowProtocolError),
    }


#: Values that no answer has in place of another.
ODD: tuple[Any, ...] = (None, -1.5, 1e300, "x", "\n\ud800\x1b[31m" * 1_000, [], {})


def distorted(parts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the parts with one value of their JSON in another form: each value in turn, in each form."""
    whole = list(parts)
    for at, part in enumerate(whole):
        begins = next((place for place, byte in enumerate(part) if byte in b'{["'), len(part))
        try:
            document, _ = json.JSONDecoder().raw_decode(part[begins:].decode())
        except ValueError:
            continue
        for place, odd in itertools.product(_places(document), ODD):
            changed = json.loads(json.dumps({"": document}))
            holder = functools.reduce(operator.getitem, ("", *place)[:-1], changed)
            holder[("", *place)[-1]] = odd
            yield [*whole[:at], part[:begins] + json.dumps(changed[""]).encode() + b"\n\n", *whole[at + 1 :]]


def _places(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to a JSON value and to each value in it."""
    yield way
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for step, held in inner:
        yield from _places(held, (*way, step))


@dataclass
class Noted:
    """Parts of a scene that note who asked for them."""

    parts: Iterable[bytes]
    who: str
    asking: list[str]

    def __iter__(self) -> Iterator[bytes]:
        if self.who not in self.asking:
            self.asking.append(self.who)
        return iter(self.parts)


class Dialect(Protocol):
    """How a kind of server speaks."""

    #: What it answers to requests that are sent before a question, by a part of their path.
    beside: ClassVar[Mapping[str, Scene]]
    #: What it answers to all others that are no questions: of itself and its flows, and answers that came late.
    told: ClassVar[Mapping[str, Scene]]

    def backend(self, address: str) -> FlowBackend:
        """Return a backend that asks the server at this address."""
        ...

    def flow(self, address: str, *, stream: bool) -> Flow:
        """Return a flow of that server, as the registry would have it."""
        ...

    def plain(self, text: str) -> Scene:
        """Return how the server answers a plain call."""
        ...

    def streamed(self, parts: Iterable[str]) -> Scene:
        """Return how it answers in a stream. The last of the scene's parts ends the answer.

        Of a server that does not stream it is not asked for.
        """
        ...

    def failed(self, status: int, reason: str) -> Scene:
        """Return how it says that a call failed."""
        ...


Test = Callable[["Promises"], Coroutine[Any, Any, None]]


def streamed(test: Test) -> Test:
    """Skip a test where the server does not stream."""

    @functools.wraps(test)
    async def tested(promises: Promises) -> None:
        if not promises.streams:
            pytest.skip("its server does not stream")
        await test(promises)

    return tested


class Promises:
    """What every backend promises of a server, whatever that does."""

    dialect: ClassVar[Dialect]
    #: Bodies that are no answer: others, where the server speaks plain text.
    noise: ClassVar[Sequence[bytes]] = NOISE

    # What is answered

    async def test_a_plain_answer_is_returned_and_the_question_was_sent(self) -> None:
        async with self.serving(self.dialect.plain("Because.")) as server:
            answer = await self.asked(server, question="Why, in 中文?")

        assert answer.text == "Because."
        assert answer.elapsed > timedelta()
        assert KEY in str(server.asked[0].headers)
        assert b"Why, in" in server.asked[0].body
        assert KEY not in answer.model_dump_json()

    async def test_what_it_says_that_it_takes_reaches_the_server(self) -> None:
        async with self.serving(self.dialect.plain("Because.")) as server, self.backend(server, stream=False) as one:
            backend, flow = one
            able = backend.abilities(flow)
            for ability, (given, sent) in TAKEN.items():
                if getattr(able, ability):
                    call = FlowCall.model_validate({"flow": flow, "question": "Why?", "chat_id": "attempt-1", **given})
                    await backend.ask(await backend.prepare(call))
                    assert sent in server.asked[-1].body + server.asked[-1].path.encode(), ability

    async def test_a_blank_question_is_refused_and_not_sent(self) -> None:
        async with self.serving(self.dialect.plain("Because.")) as server:
            await self.failure(server, FlowRefused, question=" \n")

        assert server.asked == []

    async def test_of_a_plain_call_no_token_is_told(self) -> None:
        told: list[FlowNews] = []
        async with self.serving(self.dialect.plain("Because.")) as server:
            await self.asked(server, told=told)

        assert [news for news in told if news.kind is EventKind.TOKEN] == []

    @streamed
    async def test_a_streamed_answer_is_told_while_it_comes_wherever_the_network_cuts_it(self) -> None:
        parts = ["Be", "cause ", "“so” ", "\n\n", "data: ", "中文 😀."]
        scene = self.dialect.streamed(parts)
        whole = b"".join(scene.parts)
        for size in (1, 7, len(whole)):
            cut = [whole[at : at + size] for at in range(0, len(whole), size)]
            told: list[FlowNews] = []
            async with self.serving(Scene(cut, scene.kind)) as server:
                answer = await self.asked(server, stream=True, told=told)

            tokens = [str(news.data["text"]) for news in told if news.kind is EventKind.TOKEN]
            assert "".join(tokens) == answer.text == "".join(parts)
            assert answer.first_token is not None
            assert timedelta() < answer.first_token <= answer.elapsed

    @streamed
    async def test_a_character_that_was_cut_in_two_is_joined(self) -> None:
        told: list[FlowNews] = []
        async with self.serving(self.dialect.streamed(["a\ud83d", "\ude00b"])) as server:
            answer = await self.asked(server, stream=True, told=told)

        assert answer.text == "a😀b"
        assert "".join(str(news.data["text"]) for news in told if news.kind is EventKind.TOKEN) == "a😀b"

    @streamed
    async def test_a_stream_that_breaks_off_is_no_answer(self) -> None:
        scene = self.dialect.streamed(["Be", "cause."])
        *begun, _ = scene.parts
        for ends in ("cut", "whole"):
            async with self.serving(Scene(begun, scene.kind, ends=ends)) as server:
                failed = await self.failure(server, ServerUnreachable, stream=True)

            assert failed.sent
            assert failed.transient
            assert "broke" in str(failed)

    async def test_an_empty_answer_is_none(self) -> None:
        async with self.serving(self.dialect.plain("")) as server:
            failed = await self.failure(server, FlowError)

        assert "answered with nothing" in str(failed)

    # Time

    async def test_a_server_that_does_not_answer_is_left_in_time(self) -> None:
        async with self.serving(Scene(ends="silent")) as server:
            failed = await self.failure(server, FlowTimeout, timeout=0.2)
            await asyncio.wait_for(server.gone.wait(), 10)

        assert not failed.silent
        assert "had not answered within 0.2 s" in str(failed)
        assert failed.transient

    async def test_an_answer_that_falls_silent_is_left_in_time(self) -> None:
        for stream in self.ways:
            scene = self.dialect.streamed(["Be", "cause."]) if stream else self.dialect.plain("Because.")
            begun = b"".join(scene.parts)[:6]
            async with self.serving(Scene([begun], scene.kind, ends="never")) as server:
                failed = await self.failure(server, FlowTimeout, stream=stream, idle_timeout=0.2)
                await asyncio.wait_for(server.gone.wait(), 10)

            assert failed.silent
            assert "fell silent amid its answer, for 0.2 s" in str(failed)

    @streamed
    async def test_an_answer_that_goes_on_is_not_cut(self) -> None:
        scene = self.dialect.streamed(["a"] * 12)
        async with self.serving(Scene(scene.parts, scene.kind, pause=0.12)) as server:
            answer = await self.asked(server, stream=True, idle_timeout=1)

        assert answer.text == "a" * 12
        assert answer.elapsed > timedelta(seconds=1)

    async def test_whoever_is_cancelled_closes_the_connection(self) -> None:
        for stream in self.ways:
            async with self.serving(Scene(ends="silent")) as server:
                asking = asyncio.create_task(self.asked(server, stream=stream))
                await asyncio.wait_for(server.called.wait(), 10)
                asking.cancel()
                await asyncio.wait_for(server.gone.wait(), 10)
                with pytest.raises(asyncio.CancelledError):
                    await asking

    # Failures

    async def test_a_key_that_is_refused_is_permanent_and_not_quoted(self) -> None:
        for status in (401, 403):
            async with self.serving(self.dialect.failed(status, f"no such key: Bearer {KEY}")) as server:
                failed = await self.failure(server, FlowUnauthorized)

            assert not failed.transient
            assert "no such key" in str(failed)

    async def test_a_secret_is_not_quoted_whatever_failed(self) -> None:
        for status in (400, 422, 500):
            async with self.serving(self.dialect.failed(status, f"cannot do this with {KEY}")) as server:
                failed = await self.failure(server, FlowError)

            assert "cannot do this with ***" in str(failed)

    async def test_a_key_that_no_header_can_carry_is_not_sent(self) -> None:
        async with self.serving(self.dialect.plain("Because.")) as server:
            failed = await self.failure(server, FlowUnauthorized, key=f"{KEY}\r\nHost: elsewhere")

        assert "no header can carry" in str(failed)
        assert server.asked == []

    async def test_a_server_that_is_busy_says_for_how_long_it_is_left_alone(self) -> None:
        for header, seconds in (("7", 7.0), ("86400", 3600.0), ("0", 1.0), (f"1 Jan {'9' * 30}", 60.0)):
            scene = self.dialect.failed(429, "too many requests")
            async with self.serving(Scene(scene.parts, scene.kind, 429, {"Retry-After": header})) as server:
                failed = await self.failure(server, FlowRateLimited)

            assert failed.retry_after == seconds
            assert failed.transient
            assert f"wait {seconds:g} s" in str(failed)

    async def test_a_gateway_without_a_server_is_transient(self) -> None:
        for status in (502, 503, 504):
            async with self.serving(Scene([PAGE], "text/html", status)) as server:
                failed = await self.failure(server, ServerUnreachable)

            assert failed.transient
            assert str(status) in str(failed)

    async def test_a_flow_that_is_not_there_is_permanent(self) -> None:
        async with self.serving(self.dialect.failed(404, "there is none of this name")) as server:
            failed = await self.failure(server, FlowError)

        assert not failed.transient or not isinstance(failed, FlowNotFound)

    async def test_no_connection_says_that_nothing_was_sent(self) -> None:
        async with self.serving(Scene()) as server:
            pass
        failed = await self.failure(server, ServerUnreachable)

        assert not failed.sent
        assert failed.transient
        assert "could not be reached" in str(failed)

    async def test_a_connection_that_ends_before_an_answer_says_that_the_flow_may_have_run(self) -> None:
        async with self.serving(Scene([b"{"], ends="cut")) as server:
            failed = await self.failure(server, ServerUnreachable)

        assert failed.sent
        assert failed.transient

    async def test_a_redirect_is_not_followed(self) -> None:
        async with self.serving(self.dialect.plain("Elsewhere.")) as elsewhere:
            for status in (301, 302, 307, 308):
                async with self.serving(Scene(status=status, headers={"Location": elsewhere.address})) as server:
                    failed = await self.failure(server, FlowError)

                assert f"status {status} leads to another address; none is followed" in str(failed)
            assert elsewhere.asked == []

    # What is no answer

    async def test_a_page_is_no_answer(self) -> None:
        for stream in self.ways:
            async with self.serving(Scene([PAGE], "text/html")) as server:
                await self.failure(server, FlowProtocolError, stream=stream)

    async def test_noise_is_no_answer_and_ends_in_an_error_of_ours(self) -> None:
        for stream, noise in itertools.product(self.ways, (*self.noise, Random(7).randbytes(5_000))):
            async with self.serving(Scene([noise] if noise else [], self._kind(stream))) as server:
                failed = await self.failure(server, FlowError, stream=stream)

            assert len(str(failed)) < 1_000

    async def test_a_value_of_another_form_is_no_fault_of_ours(self) -> None:
        spoken = [(False, self.dialect.plain("Because.")), (False, self.dialect.failed(429, "wait"))]
        if self.streams:
            spoken.append((True, self.dialect.streamed(["Be", "cause."])))
        for stream, scene in spoken:
            scenes = [replace(scene, parts=parts) for parts in distorted(scene.parts)]
            async with serving(*scenes, beside=self.dialect.beside) as server:
                for _ in scenes:
                    with contextlib.suppress(FlowError):
                        await self.asked(server, stream=stream)

    async def test_an_answer_without_end_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("connection.MAX_ANSWER", "frames.MAX_FRAME", "frames.MAX_STREAM"):
            monkeypatch.setattr(f"agentic_flywheel.backends.{name}", MB)
        for stream in self.ways:
            async with self.serving(Scene(itertools.repeat(b" " * 65_536), self._kind(stream))) as server:
                failed = await self.failure(server, AnswerTooLong, stream=stream)

            assert not failed.transient
            assert "1 MB" in str(failed)

    async def test_an_error_without_end_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agentic_flywheel.backends.connection.MAX_ERROR", MB)
        async with self.serving(Scene(itertools.repeat(b" " * 65_536), status=500)) as server:
            failed = await self.failure(server, FlowError)

        assert len(str(failed)) < 1_000

    # The wire

    async def test_whatever_comes_over_the_wire_ends_in_an_error_of_ours(self) -> None:
        for name, (parts, kind) in hostile(b"".join(self.dialect.plain("Because.").parts)).items():
            async with self.serving(Scene(parts, raw=True)) as server:
                failed = await self.failure(server, FlowError, timeout=0.5 if kind is FlowTimeout else 30)

            assert isinstance(failed, kind), (name, failed)
            assert len(str(failed)) < 1_000, name

    async def test_packed_gigabytes_are_not_unpacked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("connection.MAX_ANSWER", "connection.MAX_ERROR", "frames.MAX_FRAME", "frames.MAX_STREAM"):
            monkeypatch.setattr(f"agentic_flywheel.backends.{name}", MB)
        pack = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        bomb = b"".join((*(pack.compress(b" " * MB) for _ in range(100)), pack.flush()))
        for stream, status in itertools.product(self.ways, (200, 500)):
            tracemalloc.start()
            scene = Scene([bomb], self._kind(stream), status, {"Content-Encoding": "gzip"})
            async with self.serving(scene) as server:
                await self.failure(server, FlowError, stream=stream)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()

            assert peak < 24 * MB

    async def test_an_answer_that_drips_is_cut_by_the_time_of_the_whole(self) -> None:
        for stream in self.ways:
            async with self.serving(Scene(itertools.repeat(b" "), self._kind(stream), pause=0.02)) as server:
                failed = await self.failure(server, FlowTimeout, stream=stream, timeout=0.3, idle_timeout=5)

            assert not failed.silent

    async def test_what_nobody_asked_for_is_not_the_answer_to_the_next_question(self) -> None:
        answer, other = (over_http(b"".join(self.dialect.plain(text).parts)) for text in ("Because.", "Never."))
        for parts in ([answer + other], [answer, other], [answer, other[:-3]], [answer, b"\r\n"]):
            scene = Scene(parts, ends="kept", raw=True, pause=0.05)
            async with self.serving(scene) as server, self.backend(server, stream=False) as (backend, flow):
                for _ in range(3):
                    call = FlowCall(flow=flow, question="Why?", chat_id="attempt-1")

                    assert (await backend.ask(call)).text == "Because."
                    await asyncio.sleep(0.1)

    # Beside questions

    async def test_a_late_answer_that_is_not_there_is_none(self) -> None:
        async with self.serving(Scene([b"[]"])) as server, self.backend(server) as (backend, flow):
            if not backend.abilities(flow).late_answers:
                assert await backend.find(flow, "attempt-1") is None
                assert server.asked == []

    async def test_what_a_server_says_of_itself_and_its_flows_is_returned_or_named_whatever_it_is(self) -> None:
        beside = {**self.dialect.beside, **self.dialect.told}
        asking: dict[str, list[str]] = {each: [] for each in beside}
        async with self.serving(Scene(status=404)) as server:
            for name in ASKED:
                server.beside = {
                    each: replace(scene, parts=Noted(scene.parts, name, asking[each])) for each, scene in beside.items()
                }
                assert not isinstance(await self.said(name, server), FlowError), name
            for each, names in asking.items():
                # Every fifth: each place has one odd value or two of the seven. The methods that read it take turns.
                changed = itertools.islice(distorted(beside[each].parts), 0, None, 5)
                for parts, name in zip(changed, itertools.cycle(names), strict=False):
                    server.beside = {**beside, each: replace(beside[each], parts=parts)}
                    await self.said(name, server)

    async def test_no_method_returns_what_is_no_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for each in ("MAX_ANSWER", "MAX_ERROR"):
            monkeypatch.setattr(f"agentic_flywheel.backends.connection.{each}", 100_000)
        quoted = json.dumps({"error": {"message": f"{KEY} is no key"}}).encode()
        scenes = [Scene([quoted] if status >= 400 else [], status=status) for status in STATUSES]
        scenes += [Scene([each], kind) for each in (*NOISE, PAGE) for kind in ("application/json", "text/html")]
        scenes += [Scene(itertools.repeat(b" " * 65_536), status=status) for status in (200, 500)]
        asked = list(itertools.product(scenes, ASKED))
        # What is no HTTP is found by what they share: they take turns.
        asked += zip((Scene(parts, raw=True) for parts, _ in hostile(b"[]").values()), itertools.cycle(ASKED))
        for scene, name in asked:
            async with serving(scene) as server:
                await self.said(name, server)

    async def test_every_method_ends_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        in_a_hurry(monkeypatch)
        for scene in (Scene(ends="silent"), Scene([b"["], ends="never"), Scene(itertools.repeat(b" "), pause=0.5)):
            async with serving(scene) as server, asyncio.timeout(60):
                await asyncio.gather(*(self.said(name, server) for name in ASKED))

    async def test_every_method_says_that_a_server_is_away(self) -> None:
        async with self.serving(Scene()) as server:
            pass
        found = [await self.said(name, server) for name in ASKED]

        assert any(isinstance(each, ServerUnreachable) and not each.sent for each in found)

    async def said(self, name: str, server: SceneServer) -> object:
        """Return what a method says of a server, or the error of ours in which it ends."""
        async with self.backend(server) as (backend, flow):
            try:
                found = await ASKED[name][0](backend, flow, SecretStr(KEY))
            except FlowError as failed:
                assert name != "examine"
                may_fail(failed, KEY)
                return failed
            may_be_said(name, found, KEY)
            return found

    # How they are asked

    @property
    def streams(self) -> bool:
        address = "http://127.0.0.1:9"
        return self.dialect.backend(address).abilities(self.dialect.flow(address, stream=True)).stream

    @property
    def ways(self) -> tuple[bool, ...]:
        """Whether a call is streamed: both, where the server can."""
        return (False, True) if self.streams else (False,)

    def serving(self, scene: Scene) -> contextlib.AbstractAsyncContextManager[SceneServer]:
        return serving(scene, beside=self.dialect.beside)

    def _kind(self, stream: bool) -> str:
        return self.dialect.streamed([]).kind if stream else self.dialect.plain("").kind

    @contextlib.asynccontextmanager
    async def backend(self, server: SceneServer, *, stream: bool = True) -> AsyncIterator[tuple[FlowBackend, Flow]]:
        backend = self.dialect.backend(server.address)
        try:
            yield backend, self.dialect.flow(server.address, stream=stream)
        finally:
            await backend.close()

    async def asked(
        self,
        server: SceneServer,
        *,
        question: str = "Why?",
        stream: bool = False,
        key: str = KEY,
        told: list[FlowNews] | None = None,
        timeout: float = 30,
        idle_timeout: float = 30,
    ) -> FlowAnswer:
        """Ask the server once."""
        async with self.backend(server, stream=stream) as (backend, flow):
            times = {"timeout": timedelta(seconds=timeout), "idle_timeout": timedelta(seconds=idle_timeout)}
            call = FlowCall(
                flow=flow.model_copy(update=times),
                question=question,
                chat_id="attempt-1",
                session_id="s-1",
                stream=stream,
            )
            on_news = None if told is None else told.append
            return await asyncio.wait_for(backend.ask(call, api_key=SecretStr(key), on_news=on_news), 60)

    async def failure(
        self,
        server: SceneServer,
        kind: type[Kind],
        *,
        question: str = "Why?",
        stream: bool = False,
        key: str = KEY,
        timeout: float = 30,
        idle_timeout: float = 30,
    ) -> Kind:
        """Return the error in which asking the server ends; it quotes no key."""
        with pytest.raises(kind) as raised:
            await self.asked(
                server, question=question, stream=stream, key=key, timeout=timeout, idle_timeout=idle_timeout
            )
        assert KEY not in f"{raised.value} {raised.value!r}"
        return raised.value
