"""Say a broker's address in Celery's own forms, for every Celery app of ours: worker, Flower, remote control."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from redis.asyncio.connection import parse_url

from agentic_flywheel.endpoint import Endpoint, read_endpoint

#: Where Celery writes several addresses, this stands between two of them.
_NEXT = ";"


def celery_address(address: str) -> str:
    """Return an address as Celery and kombu read it, for the broker and for results. It has the login."""
    where = read_endpoint(address)
    login = _login(where)
    if where.scheme == "unix":
        return f"redis+socket://{login}{quote(where.path)}?virtual_host={where.database}"
    return _NEXT.join(f"{where.scheme}://{login}{_host(*each)}/{where.database}" for each in where.hosts)


def celery_settings(address: str, prefix: str, **transport_options: Any) -> dict[str, Any]:
    """Return the settings of Celery by which an app reaches the broker. Raises ValueError.

    ``prefix``: of all keys and channels. ``transport_options``: further options of the broker's transport.
    """
    where = read_endpoint(address)
    told: dict[str, Any] = {"broker_url": celery_address(address)}
    if where.scheme == "rediss":
        told["broker_use_ssl"] = told["redis_backend_use_ssl"] = _tls(address)
    if where.scheme == "sentinel":
        transport_options |= sentinel_options(where)
    for_results = {}
    if prefix:
        transport_options["global_keyprefix"] = for_results["global_keyprefix"] = prefix
    return {
        **told,
        "broker_transport_options": transport_options,
        "result_backend_transport_options": for_results,
    }


def sentinel_options(where: Endpoint) -> dict[str, Any]:
    """Return what Celery calls the primary's name and the login to the Sentinels."""
    login = {"username": where.sentinel_username or None, "password": where.sentinel_password or None}
    # Without time-outs of its own, a call to a Sentinel that hangs would hold up the worker.
    return {
        "master_name": where.service,
        "sentinel_kwargs": {**login, "socket_timeout": 2.0, "socket_connect_timeout": 2.0},
    }


def _tls(address: str) -> dict[str, Any]:
    told = {name: value for name, value in parse_url(address).items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **told}


def _login(where: Endpoint) -> str:
    user, password = quote(where.username, safe=""), quote(where.password, safe="")
    if not (user or password):
        return ""
    return f"{user}:{password}@" if password else f"{user}@"


def _host(name: str, port: int) -> str:
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
