"""The proxy that the environment names for an address."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from agentic_flywheel.errors import ServerUnreachable


def proxy_of(url: URL, flow: str) -> URL | None:
    """Return the proxy that the environment names for an address (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)."""
    host = url.host or ""
    if _is_this_machine(host) or not (address := getproxies().get(url.scheme)) or proxy_bypass(host):
        return None
    proxy = URL(address if "://" in address else f"http://{address}")
    if proxy.scheme not in ("http", "https"):
        raise ServerUnreachable(flow, f"the environment names a proxy of the kind {proxy.scheme}", sent=False)
    return proxy


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
