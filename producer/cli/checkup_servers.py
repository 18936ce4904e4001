"""The checks of `flywheel doctor` that ask servers: every one of the registry's flows, Flower, and where traces go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import aiohttp
from packaging.version import Version

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.flowise.examining import WITHOUT_KEY
from agentic_flywheel.backends.opened import open_backend
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlowError, FlowUnauthorized, FlywheelError
from agentic_flywheel.proxies import proxy_to
from agentic_flywheel.servers import FlowServer
from agentic_flywheel.settings import Settings, flow_server, key_of
from agentic_flywheel.stack import FLOWER_PORT, GATEWAY_PORT, StackInfo
from agentic_flywheel.tracing.archive import OLDEST_LANGFUSE
from producer.cli.check import Check, failed_by

#: Bytes that are read of what a server tells of itself.
_MOST_TOLD = 65_536
#: Characters of it that are shown.
_SHOWN = 200
_HTTP_TIMEOUT = aiohttp.ClientTimeout(total=5)


async def check_servers(settings: Settings, stack: StackInfo | None, catalog: Catalog | None) -> list[Check]:
    """Check the Flowise of the settings, and every other server that a flow of the registry names."""
    flows = list(catalog.active.values()) if catalog else []
    usual = [flow for flow in flows if flow.server is None]
    asked = [_flowise(settings.flowise_base_url, None, settings, stack, usual)] if usual or not flows else []
    named: dict[str, tuple[FlowServer, list[Flow]]] = {}
    for flow in flows:
        if flow.server is not None:
            server = flow_server(flow, settings)
            named.setdefault(server.model_dump_json(), (server, []))[1].append(flow)
    for server, its in named.values():
        if server.backend == "flowise":
            asked.append(_flowise(server.address, server, settings, stack, its))
        else:
            asked.append(_other(server, its, settings))
    return list(await asyncio.gather(*asked))


async def _other(server: FlowServer, flows: list[Flow], settings: Settings) -> Check:
    """Check a server that is no Flowise, with each of its flows: a model that is gone, a key that is refused."""
    name, where = server.backend, without_secrets(server.address)
    try:
        backend = open_backend(server)
    except FlywheelError as error:
        return failed_by(name, error)
    try:
        probes = [await backend.probe(flow, api_key=key_of(flow, settings)) for flow in flows]
    except FlowError as error:
        error = replace(error, backend=name)
        advice = error.advice[0]
        return Check(name=name, state="failed", found=f"{where}: {error.message}", advice=advice)
    finally:
        await backend.close()
    took = max(each.elapsed for each in probes).total_seconds() * 1000
    kind = f"{probes[0].version}, " if probes[0].version else ""
    return Check(name=name, state="ok", found=f"{where}: {kind}{took:.0f} ms, has {len(flows)} of the registry's flows")


async def _flowise(
    url: str | None, server: FlowServer | None, settings: Settings, stack: StackInfo | None, flows: list[Flow]
) -> Check:
    if url is None:
        advice = "set FLOWISE_BASE_URL, or let `flywheel up` start a sandbox in its place"
        return Check(name="flowise", state="warning", found="FLOWISE_BASE_URL is not set", advice=advice)
    where = without_secrets(url)
    try:
        headers, ca_file = (server.headers, server.ca_file) if server else ({}, None)
        async with FlowiseClient(url, headers=headers, ca_file=ca_file) as client:
            took = await client.ping()
            version = await client.version()
            shut, variable = await _shut(client, settings, flows)
    except FlowError as error:
        return Check(name="flowise", state="failed", found=f"{where}: {error.message}", advice=error.suggestions[0])
    except FlywheelError as error:
        return failed_by("flowise", error)
    kind = "sandbox" if stack is not None and stack.sandbox and url == stack.flowise_url else f"Flowise {version}"
    found = f"{where}: {kind}, {took.total_seconds() * 1000:.0f} ms"
    if version.split(".")[:2] != ["3", "1"]:
        advice = "3.1 is what this was built for: run `flywheel flows check`, and ask one question"
        return Check(name="flowise", state="warning", found=found, advice=advice)
    if shut:
        return Check(name="flowise", state="warning", found=f"{found}; {shut}", advice=f"set {variable} to a valid key")
    return Check(name="flowise", state="ok", found=found)


async def _shut(client: FlowiseClient, settings: Settings, flows: list[Flow]) -> tuple[str, str]:
    """Return what cannot be known for want of a key, empty where Flowise tells it, and the variable of that key.

    Each key is tried with one flow.
    """
    for flow in {each.api_key_env: each for each in reversed(flows)}.values():
        key = key_of(flow, settings)
        try:
            await client.find_answer(flow, "none", api_key=key)
        except FlowUnauthorized:
            which = "without an API key" if key is None else "the API key is refused:"
            whose = f" ({flow.api_key_env})" if flow.api_key_env else ""
            return f"{which} {WITHOUT_KEY}{whose}", flow.api_key_env or "FLOWISE_API_KEY"
        except FlowError:  # `flows check` tells what is wrong with one flow
            continue
    return "", ""


async def check_flower(stack: StackInfo | None, port: int = FLOWER_PORT) -> Check:
    """Check that the stack's Flower answers; without one, whether another does at this port of this machine."""
    url = stack.flower_url if stack is not None else None
    if url is None:
        return await _beside_stack("flower", port, "healthcheck", lambda told: told == "OK")
    return _of_stack("flower", url, *await _asked(f"{url}/healthcheck"))


async def check_gateway(stack: StackInfo | None, port: int = GATEWAY_PORT) -> Check:
    """Check that the stack's HTTP gateway answers, and that queries that come there would be.

    Without one, whether another does at this port of this machine: a unit of systemd, or `flywheel serve`.
    """
    url = stack.api_url if stack is not None else None
    if url is None:
        return await _beside_stack("gateway", port, "readyz", lambda told: '"workers":' in told)
    return _of_stack("gateway", url, *await _asked(f"{url}/readyz"))


def _of_stack(name: str, url: str, status: str, told: str) -> Check:
    if status == "200":
        return Check(name=name, state="ok", found=url)
    advice = "look into its log in the stack's home"
    return Check(name=name, state="warning", found=f"{url}: {status} {told[:_SHOWN]}".rstrip(), advice=advice)


async def _beside_stack(name: str, port: int, path: str, is_ours: Callable[[str], bool]) -> Check:
    url = f"http://127.0.0.1:{port}"
    status, told = await _asked(f"{url}/{path}")
    if not is_ours(told):
        return Check(name=name, state="ok", found=f"no stack has started one, and none answers at {url}")
    if status == "200":
        return Check(name=name, state="ok", found=f"{url}, started by no stack of this home")
    found = f"{url}, started by no stack of this home: {status} {told[:_SHOWN]}"
    advice = f"look into its log, such as journalctl -u flywheel-{name}"
    return Check(name=name, state="warning", found=found, advice=advice)


async def check_langfuse(settings: Settings) -> Check:
    """Check where traces go, and that the server there takes these keys."""
    if not settings.tracing_enabled:
        return Check(name="langfuse", state="ok", found="tracing is off (LANGFUSE_TRACING_ENABLED)")
    if not settings.langfuse_sample_rate:
        return Check(name="langfuse", state="ok", found="no query is traced (LANGFUSE_SAMPLE_RATE is 0)")
    if settings.langfuse_login is None:
        return Check(name="langfuse", state="ok", found="no pair of keys: traces go to a local file")
    address, user, password = settings.langfuse_login
    where = without_secrets(address)
    # Other products that take these traces have another path for them, and nothing else of Langfuse.
    own = settings.langfuse_traces_path == Settings.model_fields["langfuse_traces_path"].default
    path = "api/public/projects" if own else ""
    status, _ = await _asked(f"{where}/{path}", Authorization=aiohttp.encode_basic_auth(user, password))
    if status == "200" and own:
        _, health = await _asked(f"{where}/api/public/health")
        return _age_of_langfuse(where, health)
    if status in ("401", "403"):
        advice = "correct LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY; until then traces are dropped and counted"
        return Check(name="langfuse", state="warning", found=f"{where} refuses the keys", advice=advice)
    if not own and status.isdigit():
        found = f"{where} answers; whether it takes traces at {settings.langfuse_traces_path} is not known"
        return Check(name="langfuse", state="ok", found=found)
    advice = "check LANGFUSE_BASE_URL; queries are answered without it, their traces are dropped and counted"
    return Check(name="langfuse", state="warning", found=f"{where}: {status}", advice=advice)


def _age_of_langfuse(where: str, health: str) -> Check:
    found = f"{where} answers and takes the keys"
    try:
        version = Version(str(json.loads(health)["version"]))
    except (ValueError, TypeError, LookupError):  # no JSON, of another form, or no version
        return Check(name="langfuse", state="ok", found=f"{found}; it does not tell its version")
    if version < Version(OLDEST_LANGFUSE):
        advice = f"update it to {OLDEST_LANGFUSE} or newer: from this one traces cannot be read back"
        return Check(name="langfuse", state="warning", found=f"{found}; it is version {version}", advice=advice)
    return Check(name="langfuse", state="ok", found=f"{found}; it is version {version}")


async def _asked(url: str, **headers: str) -> tuple[str, str]:
    """Return an HTTP status as text, or what kept it from coming; and the beginning of the body."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_HTTP_TIMEOUT, proxy=proxy_to(url)) as session,
            session.get(url, headers=headers) as response,
        ):
            return str(response.status), (await response.content.read(_MOST_TOLD)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError) as failure:
        return f"{type(failure).__name__} {failure}".strip(), ""
