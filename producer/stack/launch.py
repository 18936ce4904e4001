"""Start the services that are missing, restart those that die while the block runs, and stop them all after it."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.broker.rights import check_broker
from agentic_flywheel.broker.starting import check_writing, prepare
from agentic_flywheel.extras import lacks, need
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import FLOWER_PORT, GATEWAY_PORT, StackInfo
from producer.stack import services
from producer.stack.broker import find_broker
from producer.stack.claim import claim
from producer.stack.figures import FIGURES_OF_STACK, serving_figures
from producer.stack.processes import Stack
from producer.stack.room import need_room

FLOWER_USER = "flywheel"
#: How many ports, counted from FLYWHEEL_METRICS_PORT, are tried for figures; other stacks may use some of them.
METRICS_PORTS = 100


@asynccontextmanager
async def start_stack(
    settings: Settings,
    *,
    on_line: Callable[[str], None],
    workers: int = 1,
    queues: Sequence[str] = (),
    flower: bool = True,
    sandbox: bool | None = None,
    private: bool = False,
    gateway: bool = False,
    registry_at: Callable[[str], Path] | None = None,
) -> AsyncIterator[Stack]:
    """Run the stack during the block.

    Ctrl-C, SIGTERM or a closed terminal end the block without an exception and set ``Stack.interrupted``; the same
    signal again kills what has not stopped yet. ``sandbox``: whether to start one; None starts one where
    FLOWISE_BASE_URL is not set. ``private``: start a broker even where REDIS_URL names one. ``gateway``: serve HTTP
    too, where its extra is installed. ``registry_at``: returns the registry to read where a sandbox is started, from
    its address. ``on_line`` is called with each line of text that tells a person what happens.

    Raises PackageMissing, StackRunning, BrokerUnavailable, BrokerRefused, BrokerRightsMissing, ServiceFailed, OSError
    where its home has no room, and KeyboardInterrupt when it is interrupted while it starts.
    """
    need("celery", "A stack on this machine")
    prepare(settings, on_line)
    stands = False
    with claim(settings.home) as claimed:
        need_room(settings.home)
        stack = Stack(claimed, on_line)
        with _Interruption(stack) as interruption:
            try:
                await _start(stack, settings, workers, queues, flower, sandbox, private, gateway, registry_at)
                stands = True
                async with serving_figures(settings, stack.info):
                    yield stack
            finally:
                interruption.stopping = True
                await stack.stop()
    if not stands:
        raise KeyboardInterrupt


async def _start(
    stack: Stack,
    settings: Settings,
    workers: int,
    queues: Sequence[str],
    flower: bool,
    sandbox: bool | None,
    private: bool,
    gateway: bool,
    registry_at: Callable[[str], Path] | None,
) -> None:
    broker = await find_broker(settings, stack.ports, private=private)
    if broker.service is None:
        await check_broker(broker.url, settings.key_prefix)
        await check_writing(broker.url, settings.key_prefix)
    else:
        await stack.start([broker.service])
    where = f"started here, its data in {settings.home / 'broker'}" if broker.service else "it ran already"
    stack.say(f"Broker   {without_secrets(broker.url)} ({where})")

    info = StackInfo(
        redis_url=broker.url,
        key_prefix=settings.key_prefix,
        flowise_url=settings.flowise_base_url,
        broker_started=broker.service is not None,
    )
    others = []
    if sandbox if sandbox is not None else settings.flowise_base_url is None:
        port = stack.ports.claim()
        info = info.model_copy(update={"flowise_url": f"http://127.0.0.1:{port}", "sandbox": True})
        others.append(services.sandbox(port))
        stack.say(f"Flowise  {info.flowise_url} (FLOWISE_BASE_URL is not set, so a sandbox answers in its place)")
        if registry_at is not None:
            settings = settings.model_copy(update={"registry": registry_at(f"http://127.0.0.1:{port}")})
    if flower:
        port, password = stack.ports.claim(prefer=FLOWER_PORT), secrets.token_urlsafe(16)
        url = f"http://127.0.0.1:{port}"
        info = info.model_copy(
            update={"flower_url": url, "flower_user": FLOWER_USER, "flower_password": password},
        )
        others.append(
            services.flower(settings, broker=broker.url, port=port, user=FLOWER_USER, password=password),
        )
        stack.say(f"Flower   {url}")
    if gateway and (lacking := lacks("fastapi", "The HTTP gateway")):
        stack.say(f"API      not served: {lacking.message}; {lacking.advice[0]}")
    elif gateway:
        port = stack.ports.claim(prefer=GATEWAY_PORT)
        info = info.model_copy(update={"api_url": f"http://127.0.0.1:{port}"})
        others.append(services.gateway(settings, port, broker=broker.url, flowise=info.flowise_url))
        stack.say(f"API      {info.api_url}")
    names = [f"worker-{n}" for n in range(1, workers + 1)]
    ports = _metrics_ports(stack, settings, names)
    info = info.model_copy(
        update={"metrics_urls": {name: f"http://127.0.0.1:{port}/metrics" for name, port in ports.items()}}
    )
    others += [
        services.worker(
            settings,
            name,
            broker=broker.url,
            flowise=info.flowise_url,
            queues=queues,
            events=flower,
            metrics_port=ports.get(name),
        )
        for name in names
    ]
    stack.say(f"Workers  {workers}, for {', '.join(queues) or 'every queue'}; logs in {stack.logs}")
    await stack.start(others)
    stack.publish(info.model_copy(update={"registry": settings.registry and settings.registry.absolute()}))


def _metrics_ports(stack: Stack, settings: Settings, workers: Sequence[str]) -> dict[str, int]:
    """Return a port for this process and for each worker, counted from the one that is set; none where it is off."""
    first = settings.metrics_port
    if first is None:
        return {}
    among = METRICS_PORTS if first else 1
    return {name: stack.ports.claim(prefer=first, among=among) for name in (FIGURES_OF_STACK, *workers)}


class _Interruption:
    """Ends the block at the first signal; at a later one, has the stack kill what has not stopped."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._task: asyncio.Task[object] | None = None
        self._heard = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else nohup wants us to outlive the terminal
            self._heard.append(signal.SIGHUP)
        #: Whether the block has ended: from then on, a signal means that the stopping must be quick.
        self.stopping = False

    def __enter__(self) -> _Interruption:
        self._task = asyncio.current_task()
        for signum in self._heard:
            asyncio.get_running_loop().add_signal_handler(signum, self._on_signal)
        return self

    def _on_signal(self) -> None:
        if self.stopping or self._stack.interrupted:
            self._stack.hurry.set()
            return
        self._stack.interrupted = True
        self._stack.say("Stopping: workers finish what they have. Once more to hurry.")
        assert self._task is not None
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        for signum in self._heard:
            asyncio.get_running_loop().remove_signal_handler(signum)
        if kind is asyncio.CancelledError and self._stack.interrupted:
            assert self._task is not None
            self._task.uncancel()
            return True
        return False
