"""The proxy that the environment names for an address.

Clients of HTTP are told it, and read nothing of the environment themselves: they would also take logins from a netrc.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_to(address: str) -> str | None:
    """Return the address of the proxy on the way to an address (HTTPS_PROXY, HTTP_PROXY, NO_PROXY); None without."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if _is_this_machine(host) or not (proxy := getproxies().get(parts.scheme)) or proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
