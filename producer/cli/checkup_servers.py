"""The checks of `flywheel doctor` that ask servers: every one of the registry's flows, Flower, and where traces go."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aiohttp
from packaging.version import InvalidVersion, Version

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.backends.flowise import FlowiseClient
from agentic_flywheel.backends.flowise.examining import WITHOUT_KEY
from agentic_flywheel.backends.opened import open_backend
from agentic_flywheel.catalog import Catalog, Flow
from agentic_flywheel.errors import FlowError, FlowUnauthorized, FlywheelError
from agentic_flywheel.servers import FlowServer
from agentic_flywheel.settings import Settings, flow_server, key_of
from agentic_flywheel.stack import StackInfo
from agentic_flywheel.tracing.archive import OLDEST_LANGFUSE
from producer.cli.check import Check, failed_by

#: Bytes that are read of what a server tells of itself.
_MOST_TOLD = 65_536
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
        advice = error.recovery_suggestions[0]
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


async def check_flower(stack: StackInfo | None) -> Check:
    """Check that the stack's Flower answers."""
    if stack is None or stack.flower_url is None:
        return Check(name="flower", state="ok", found="not started")
    status = await _status_of(f"{stack.flower_url}/healthcheck")
    if status == "200":
        return Check(name="flower", state="ok", found=stack.flower_url)
    found = f"{stack.flower_url}: {status}"
    return Check(name="flower", state="warning", found=found, advice="look into its log in the stack's home")


async def check_gateway(stack: StackInfo | None) -> Check:
    """Check that the stack's HTTP gateway answers, and that queries that come there would be."""
    if stack is None or stack.api_url is None:
        return Check(name="gateway", state="ok", found="not started")
    status = await _status_of(f"{stack.api_url}/readyz")
    if status == "200":
        return Check(name="gateway", state="ok", found=stack.api_url)
    found = f"{stack.api_url}: {status}"
    return Check(name="gateway", state="warning", found=found, advice="look into its log in the stack's home")


async def check_langfuse(settings: Settings) -> Check:
    """Check where traces go, and that the server there takes these keys."""
    if not settings.tracing_enabled:
        return Check(name="langfuse", state="ok", found="tracing is off (LANGFUSE_TRACING_ENABLED)")
    if not settings.langfuse_sample_rate:
        return Check(name="langfuse", state="ok", found="no query is traced (LANGFUSE_SAMPLE_RATE is 0)")
    public, secret = settings.langfuse_public_key, settings.langfuse_secret_key
    if public is None and secret is None:
        return Check(name="langfuse", state="ok", found="no keys: traces go to a local file")
    if settings.langfuse_login is None:
        missing = "LANGFUSE_PUBLIC_KEY" if public is None else "LANGFUSE_SECRET_KEY"
        return Check(name="langfuse", state="warning", found="only one of the two keys is set", advice=f"set {missing}")
    address, user, password = settings.langfuse_login
    where = without_secrets(address)
    # Other products that take these traces have another path for them, and nothing else of Langfuse.
    own = settings.langfuse_traces_path == Settings.model_fields["langfuse_traces_path"].default
    path = "api/public/projects" if own else ""
    status = await _status_of(f"{where}/{path}", Authorization=aiohttp.encode_basic_auth(user, password))
    if status == "200" and own:
        return _age_of_langfuse(where, await _told_by(f"{where}/api/public/health"))
    if status in ("401", "403"):
        advice = "correct LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY; until then traces are dropped and counted"
        return Check(name="langfuse", state="warning", found=f"{where} refuses the keys", advice=advice)
    if not own and status.isdigit():
        found = f"{where} answers; whether it takes traces at {settings.langfuse_traces_path} is not known"
        return Check(name="langfuse", state="ok", found=found)
    advice = "check LANGFUSE_BASE_URL; queries are answered without it, their traces are dropped and counted"
    return Check(name="langfuse", state="warning", found=f"{where}: {status}", advice=advice)


def _age_of_langfuse(where: str, told: object) -> Check:
    found = f"{where} answers and takes the keys"
    try:
        version = Version(str(told["version"]) if isinstance(told, dict) else "")
    except (KeyError, InvalidVersion):
        return Check(name="langfuse", state="ok", found=f"{found}; it does not tell its version")
    if version < Version(OLDEST_LANGFUSE):
        advice = f"update it to {OLDEST_LANGFUSE} or newer: from this one traces cannot be read back"
        return Check(name="langfuse", state="warning", found=f"{found}; it is version {version}", advice=advice)
    return Check(name="langfuse", state="ok", found=f"{found}; it is version {version}")


async def _told_by(url: str) -> object:
    """Return what a server says in JSON; None where it says nothing of the kind."""
    try:
        async with aiohttp.ClientSession(timeout=_HTTP_TIMEOUT) as session, session.get(url) as response:
            return json.loads(await response.content.read(_MOST_TOLD))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


async def _status_of(url: str, **headers: str) -> str:
    """Return an HTTP status as text, or what kept it from coming."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_HTTP_TIMEOUT) as session,
            session.get(url, headers=headers) as response,
        ):
            return str(response.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as failure:
        return f"{type(failure).__name__} {failure}".strip()
