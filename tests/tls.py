"""TLS before a broker that speaks none, with certificates of an authority that only a file names."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from threading import Thread

_NEW = ("-newkey", "rsa:2048", "-nodes", "-days", "2")


def _openssl(folder: Path, *command: str) -> None:
    subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    """Make ``name.pem`` and ``name.key`` of an authority."""
    subject = ("-subj", f"/CN=a private authority: {name}")
    _openssl(folder, "req", "-x509", *_NEW, "-keyout", f"{name}.key", "-out", f"{name}.pem", *subject)


def _sign(folder: Path, name: str, subject: str) -> None:
    """Make ``name.pem`` and ``name.key``, signed by the authority of ``ca.pem``."""
    _openssl(folder, "req", *_NEW, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *by, "-out", f"{name}.pem")


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except (OSError, asyncio.CancelledError):  # also of a connection that outlives the test
        pass
    finally:
        sink.close()


@contextmanager
def demanding_certificates(folder: Path) -> Iterator[int]:
    """Shake hands with who shows a certificate of the authority, and say to others why not, as OpenSSL's servers do."""
    authority(folder, "ca")
    _sign(folder, "server", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / "ca.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:  # it was shut down
                    return
                # asyncio's server would close without a word.
                with suppress(OSError), accepted, context.wrap_socket(accepted, server_side=True):
                    pass

        serving = Thread(target=serve)
        serving.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()


@asynccontextmanager
async def tls_before(port: int, folder: Path, *, mutual: bool = False) -> AsyncIterator[int]:
    """Serve TLS before a broker at a port. ``mutual``: only for who shows a certificate, such as ``client.pem``."""
    authority(folder, "ca")
    _sign(folder, "server", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    if mutual:
        _sign(folder, "client", "a client")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, to_broker), _pump(from_broker, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
