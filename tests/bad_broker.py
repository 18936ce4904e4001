"""A server that speaks Redis's protocol, and does one thing wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

#: What it sends for a command; None: nothing at all. Empty: it closes the connection.
Answers = Callable[[list[bytes]], bytes | None]

HELLO = b"%3\r\n+server\r\n+redis\r\n+version\r\n+7.2.5\r\n+proto\r\n:3\r\n"


def refuses(text: str, *, at_once: bool) -> Answers:
    """Refuse every command with an error; without ``at_once`` only those behind the handshake."""

    def answer(command: list[bytes]) -> bytes:
        if not at_once and command[0].upper() == b"HELLO":
            return HELLO
        if not at_once and command[0].upper() == b"CLIENT":
            return b"+OK\r\n"
        return f"-{text}\r\n".encode()

    return answer


def says(reply: bytes | None, *, at_once: bool = True) -> Answers:
    """Send these bytes for every command; without ``at_once`` only behind the handshake."""

    def answer(command: list[bytes]) -> bytes | None:
        if not at_once and command[0].upper() in (b"HELLO", b"CLIENT"):
            return HELLO if command[0].upper() == b"HELLO" else b"+OK\r\n"
        return reply

    return answer


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[str]:
    """Serve on a free port during the block. Yields the address."""
    open_ones: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError, ValueError):
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                command = []
                for _ in range(count):
                    length = int((await reader.readuntil(b"\r\n"))[1:])
                    command.append((await reader.readexactly(length + 2))[:-2])
                reply = answers(command)
                if reply == b"":
                    break
                if reply is not None:
                    writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        for writer in open_ones:
            writer.close()
