"""A flow server that costs almost nothing: a bare asyncio protocol that answers every prediction after a fixed time.

``python -m benchmarks.lab.flow_server PORT MILLISECONDS [PIECES]``. With PIECES, answers are streamed in so many
tokens, one each MILLISECONDS. A question may ask for its own time, ``[sleep 300]``, or for the length of the answer,
``[bytes 4096]``. ``GET /calls`` gives the number of predictions so far.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
from typing import cast

import uvloop

_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
_CHAT = re.compile(rb'"chatId": ?"([^"\\]+)"')
_SLEEP, _BYTES = re.compile(rb"\[sleep (\d+)\]"), re.compile(rb"\[bytes (\d+)\]")


def _response(body: dict[str, object]) -> bytes:
    text = json.dumps(body).encode()
    return _HEAD % len(text) + text


#: The answer names the chat of the call, as in Flowise. Under another name, a worker takes it for an earlier call's.
_ANSWER = b'{"text":"%b","chatId":"%b","chatMessageId":"m","sessionId":"s"}'
_TEXT = b"The answer is forty-two."
_NOTHING = _response({})


def _words(length: int) -> bytes:
    """Return a text of so many characters that says something else each time."""
    return secrets.token_urlsafe(length)[:length].encode()


class Flows(asyncio.Protocol):
    """One connection."""

    calls = 0
    seconds = 0.2
    pieces = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        if b"/prediction/" in head.split(b"\r\n", 1)[0]:
            Flows.calls += 1
            asked, chat, long = _SLEEP.search(body), _CHAT.search(body), _BYTES.search(body)
            text, chat_id = _words(int(long[1])) if long else _TEXT, chat[1] if chat else b"c"
            if self.pieces:
                self.stream(text.decode(), chat_id.decode())
                return
            answer = _ANSWER % (text, chat_id)
            seconds = int(asked[1]) / 1000 if asked else self.seconds
            asyncio.get_running_loop().call_later(seconds, self.send, _HEAD % len(answer) + answer)
        elif b"/chatflows-streaming/" in head:
            self.send(_response({"isStreaming": self.pieces > 0}))
        elif head.startswith(b"get /calls"):
            self.send(_response({"calls": Flows.calls}))
        else:
            self.send(_NOTHING)

    def stream(self, text: str, chat_id: str) -> None:
        """Send a text as the tokens of a stream of Flowise."""
        size = -(-len(text) // self.pieces)
        told: list[tuple[str, object]] = [("token", text[at : at + size]) for at in range(0, len(text), size)]
        told += [("metadata", {"chatId": chat_id, "chatMessageId": "m", "sessionId": "s"}), ("end", "[DONE]")]
        self.send(_STREAM_HEAD)
        for number, (event, data) in enumerate(told):
            frame = b"message:\ndata:" + json.dumps({"event": event, "data": data}).encode() + b"\n\n"
            chunk = b"%x\r\n%b\r\n" % (len(frame), frame) + (b"0\r\n\r\n" if event == "end" else b"")
            asyncio.get_running_loop().call_later(self.seconds * number, self.send, chunk)

    def send(self, response: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(response)


async def serve(port: int, seconds: float, pieces: int) -> None:
    Flows.seconds, Flows.pieces = seconds, pieces
    server = await asyncio.get_running_loop().create_server(Flows, "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000, int((*sys.argv, "0")[3])))
