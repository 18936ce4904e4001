"""Start what is missing, keep it running while the block runs, and clear everything away after it."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType

from agentic_flywheel.settings import Settings, without_credentials
from producer.stack import services
from producer.stack.broker import find_broker
from producer.stack.figures import FIGURES_OF_STACK, serving_figures
from producer.stack.processes import Stack
from producer.stack.state import StackInfo, claim

FLOWER_PORT = 5555
FLOWER_USER = "flywheel"
#: How many ports from the set one on may serve figures; the workers of other stacks may be among them.
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
) -> AsyncIterator[Stack]:
    """Run the stack for the time of the block.

    Ctrl-C, SIGTERM or a closed terminal end the block as a time-out would, without an exception behind it; see
    ``Stack.interrupted``. A second one hurries the stopping. ``sandbox``: None for one where no Flowise is set.
    ``private``: a broker of its own, also where REDIS_URL names one.
    ``on_line`` gets what happens, as plain text for people. Raises StackRunning, BrokerUnavailable, ServiceFailed, and
    KeyboardInterrupt when it is interrupted before the stack stands.
    """
    stands = False
    with claim(settings.home) as claimed:
        stack = Stack(claimed, on_line)
        with _Interruption(stack) as interruption:
            try:
                await _start(stack, settings, workers, queues, flower, sandbox, private)
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
) -> None:
    broker = await find_broker(settings, stack.ports, private=private)
    if broker.service is not None:
        await stack.start([broker.service])
    where = f"started here, its data in {settings.home / 'broker'}" if broker.service else "it ran already"
    stack.say(f"Broker   {without_credentials(broker.url)} ({where})")

    info = StackInfo(redis_url=broker.url, flowise_url=settings.flowise_base_url)
    others = []
    if sandbox if sandbox is not None else settings.flowise_base_url is None:
        port = stack.ports.claim()
        info = info.model_copy(update={"flowise_url": f"http://127.0.0.1:{port}", "sandbox": True})
        others.append(services.sandbox(port))
        stack.say(f"Flowise  {info.flowise_url} (FLOWISE_BASE_URL is not set, so a sandbox answers in its place)")
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
    stack.publish(info)


def _metrics_ports(stack: Stack, settings: Settings, workers: Sequence[str]) -> dict[str, int]:
    """Return a port for this process and for each worker, one after the other from the set one on."""
    first = settings.metrics_port
    if first is None:
        return {}
    among = METRICS_PORTS if first else 1
    return {name: stack.ports.claim(prefer=first, among=among) for name in (FIGURES_OF_STACK, *workers)}


class _Interruption:
    """Turns the first signal into the end of the block, and a later one into hurry."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._task: asyncio.Task[object] | None = None
        self._heard = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else nohup wants us to outlive the terminal
            self._heard.append(signal.SIGHUP)
        #: From now on there is nothing to end any more: a signal means hurry.
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
