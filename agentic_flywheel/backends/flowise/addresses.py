"""The addresses of Flowise's API."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

from yarl import URL

from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import InvalidSetting


@lru_cache(maxsize=64)
def api_address(base_url: str) -> URL:
    """Return the root of a server's API. Raises InvalidSetting where the address is none."""
    try:
        url = URL(base_url.rstrip("/").removesuffix("/api/v1"))
    except ValueError:
        raise InvalidSetting("FLOWISE_BASE_URL", "this is no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSetting("FLOWISE_BASE_URL", "an address begins with http:// or https:// and names a host")
    return url / "api" / "v1"


@lru_cache(maxsize=4096)
def _address(base: URL, call: str, *parts: str) -> URL:
    """Return the address of a call; ids are data and cannot leave their place in the path."""
    return URL("/".join((str(base), call, *(quote(each, safe="") for each in parts))), encoded=True)


def server_root(base: URL, flow: Flow) -> URL:
    """Return the root of the API that a flow is called at: its own server's, else ``base``. Raises InvalidSetting."""
    return base if flow.server is None else api_address(flow.server)


def flow_address(base: URL, flow: Flow, call: str, *more: str) -> URL:
    """Return the address of a call that concerns one flow. Raises InvalidSetting."""
    return _address(server_root(base, flow), call, flow.id, *more)
