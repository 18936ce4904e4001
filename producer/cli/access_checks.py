"""What `flywheel doctor` says of the tokens, and of an MCP bridge that others than this machine can reach."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

import aiohttp

from agentic_flywheel.access.environment import read_tokens
from agentic_flywheel.access.file import read_file, tokens_path
from agentic_flywheel.errors import FlywheelError, InvalidTokens
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import BRIDGE_PORT

_PATIENCE = aiohttp.ClientTimeout(total=2)


class AccessFinding(NamedTuple):
    """What a check found."""

    state: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


def tokens_found(settings: Settings) -> AccessFinding:
    """Return whether the tokens can be read, and how many let somebody in."""
    path = tokens_path(settings)
    try:
        stored = read_file(path).tokens
        needed = read_tokens(settings).needed
    except InvalidTokens as refused:
        found = f"{refused.message}; a bridge that runs goes on with those of before, and none starts"
        return AccessFinding("failed", found, refused.advice[0])
    except FlywheelError as refused:
        return AccessFinding("failed", refused.message, refused.advice[0])
    expired = sum(each.grant.expired for each in stored)
    said = f"{len(stored) - expired} in {path}" + (f", {expired} expired" if expired else "")
    if not stored:
        said = f"none in {path}, some in FLYWHEEL_MCP_TOKENS" if needed else "none: only this machine may ask"
    return AccessFinding("ok", said)


async def bridge_found(addresses: Sequence[str] | None = None, port: int = BRIDGE_PORT) -> AccessFinding:
    """Return whether a bridge lets in who has no token. ``addresses``: those to try; None: this machine's others."""
    for address in _other_addresses() if addresses is None else addresses:
        where = f"http://{address}:{port}"
        # By this name it lets pass whoever could be on this machine.
        head = {"Host": f"127.0.0.1:{port}", "Accept": "application/json, text/event-stream"}
        try:
            async with aiohttp.ClientSession(timeout=_PATIENCE, headers=head) as session:
                async with session.get(f"{where}/healthz") as healthy:
                    if await healthy.json() != {"status": "ok"}:
                        continue
                async with session.post(f"{where}/mcp", json={}) as answer:
                    if answer.status != 401:
                        advice = "make a token with `flywheel tokens new`; do not forward the port of a bridge without"
                        return AccessFinding("failed", f"whoever reaches {where} may ask: it needs no token", advice)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            continue
        return AccessFinding("ok", f"{where} asks for a token")
    return AccessFinding("ok", f"none serves beyond this machine at port {port}")


def _other_addresses() -> list[str]:
    """Return the addresses under which other machines reach this one, as far as its routes tell. Sends nothing."""
    found = []
    for family, beyond in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((beyond, 9))
            own = str(probe.getsockname()[0])
            found.append(f"[{own}]" if ":" in own else own)
    return found
