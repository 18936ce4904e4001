"""What a process does that is to serve: it takes what it needs later, says what its settings lack, looks at its broker.

A broker that only a person can change ends the process in a sentence. One that is away is waited for.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from agentic_flywheel.base import build_models
from agentic_flywheel.broker.batch import Batch, connect
from agentic_flywheel.broker.declaration import read_scripts
from agentic_flywheel.broker.rights import NO_KEY, check_broker
from agentic_flywheel.errors import BrokerUnavailable, FlywheelError
from agentic_flywheel.odd_settings import odd_settings
from agentic_flywheel.settings import Settings

#: Takes a line for whoever runs the process.
Say = Callable[[str], None]
#: Seconds between two looks at a broker that is away.
_PAUSE = 1.0
#: Files and connections that a process may have open at once: what it takes at most, and below what it warns. Systems
#: give 1,024 at first, and let each process take more.
_MOST_FILES, _FEW_FILES = 65_536, 1024
_FILES = resource.RLIMIT_NOFILE


def prepare(settings: Settings, say: Say) -> None:
    """Take what is needed later: scripts, the checks of nouns, and as many open files as this user may have.

    Say what is set and is without effect, and where the open files are few.
    """
    read_scripts()
    build_models()
    if (files := _open_files()) < _FEW_FILES:
        say(f"This process may open {files} files and connections at once; allow it {_FEW_FILES:,} (ulimit -n)")
    for odd in odd_settings(settings):
        say(f"{odd.found}; {odd.advice}")


def _open_files() -> int:
    """Return how many files this process may have open, after it has taken as many as it may."""
    now, most = (_MOST_FILES if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(_FILES))
    wanted = min(most, _MOST_FILES)
    if now < wanted:
        try:
            resource.setrlimit(_FILES, (wanted, resource.getrlimit(_FILES)[1]))
        except (OSError, ValueError):  # macOS allows fewer than it says
            return now
    return max(now, wanted)


async def check_writing(address: str, prefix: str = "") -> None:
    """Try a write that changes nothing. Raises BrokerUnavailable where the broker takes none now: it is full."""
    batch = Batch(connect(address, prefix=prefix))
    try:
        await batch.call("LMOVE", NO_KEY, NO_KEY, "RIGHT", "LEFT")
    finally:
        await batch.close()


async def until_there(settings: Settings, who: str, say: Say) -> None:
    """Return when the broker is there; where it is away, say so once. ``who``: the process, such as "The worker".

    Raises what ``check_broker`` does for a broker that a person has to change.
    """
    if away := await _away(settings):
        say(f"{away.message}. {who} waits for it.")
        await _arrival(lambda: settings, say)


@asynccontextmanager
async def beside_broker(now: Callable[[], Settings], who: str, say: Say) -> AsyncIterator[None]:
    """Look at the broker, then run the block; where the broker is away, say so once, and when it is there.

    ``now`` returns the settings in force: a stack that starts later is found where it is. Where neither REDIS_URL nor a
    stack says where the broker is, one that refuses is another program's, and it is waited for a stack.

    Raises what ``check_broker`` does for a broker that a person has to change.
    """
    away = await _away(now(), moves=True)
    if away is None:
        yield
        return
    say(f"{away.message}. {who} waits for {'it' if isinstance(away, BrokerUnavailable) else 'a stack'}.")
    waiting = asyncio.create_task(_told_arrival(now, say))
    try:
        yield
    finally:
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting


async def _told_arrival(now: Callable[[], Settings], say: Say) -> None:
    try:
        await _arrival(now, say, moves=True)
    except FlywheelError as refused:
        say(refused.message)


async def _arrival(now: Callable[[], Settings], say: Say, *, moves: bool = False) -> None:
    while True:
        await asyncio.sleep(_PAUSE)
        settings = now()
        if await _away(settings, moves=moves) is None:
            say(f"The broker at {settings.broker_address} is there.")
            return


async def _away(settings: Settings, *, moves: bool = False) -> FlywheelError | None:
    """Return why the broker takes no queries now; None where it does. ``moves``: whether a stack is looked for."""
    try:
        about = await check_broker(settings.redis_url, settings.key_prefix)
    except BrokerUnavailable as away:
        return away
    except FlywheelError as refused:
        if moves and "redis_url" not in settings.model_fields_set:
            return refused
        raise
    if about.get("role", "master") != "master":
        return BrokerUnavailable(settings.broker_address, "it is a replica, which takes no queries")
    return None
