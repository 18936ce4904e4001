"""Observations to Langfuse, or to any product that takes OpenTelemetry spans over HTTP."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from agentic_flywheel.tracing.observation import Observation
from agentic_flywheel.tracing.otlp import constant_attributes, encode_request, encode_span, rejected_spans
from agentic_flywheel.tracing.sink import DELIVERED, Outcome, Text

#: After a refusal that only a person can mend, such as a wrong key, nothing is sent for so many seconds.
HOLD = 30.0
#: A server may take its time; the thread that waits is nobody else's.
TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)

INGESTION_VERSION = "4"
SCOPE = "agentic-flywheel"


class LangfuseSink:
    """Sends batches as gzipped OTLP protobuf to Langfuse's endpoint."""

    batch_count = 2048
    #: Langfuse takes 4.5 MB a request.
    batch_bytes = 3_000_000

    def __init__(
        self,
        address: str,
        public_key: str,
        secret_key: str,
        *,
        path: str = "api/public/otel/v1/traces",
        environment: str = "default",
        release: str | None = None,
        version: str = "",
        service: str = SCOPE,
    ) -> None:
        credentials = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
        self._url = f"{address.rstrip('/')}/{path.lstrip('/')}"
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"{SCOPE}/{version}",
            "x-langfuse-ingestion-version": INGESTION_VERSION,
            "x-langfuse-public-key": public_key,
        }
        self._pool = _pool_to(self._url)
        self._resource = {"service.name": service, "service.version": version}
        self._version = version
        self._constant = constant_attributes({"langfuse.environment": environment, "langfuse.release": release})

    def encode(self, seen: Observation, text: Text) -> bytes:
        return encode_span(seen, text, constant=self._constant)

    def send(self, batch: Sequence[bytes]) -> Outcome:
        body = encode_request(batch, resource=self._resource, scope=SCOPE, version=self._version)
        try:
            answer = self._pool.request(
                "POST",
                self._url,
                body=gzip.compress(body, compresslevel=1),
                headers=self._headers,
                timeout=TIMEOUT,
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.LocationValueError as why:
            return Outcome("refused", f"LANGFUSE_BASE_URL: {why}", wait=HOLD)
        except urllib3.exceptions.HTTPError as why:
            return Outcome("again", f"no answer from Langfuse: {type(why).__name__}")
        outcome = judge(answer.status, answer.headers, now=time())
        if outcome is not DELIVERED:
            return outcome
        rejected = rejected_spans(answer.data, answer.headers.get("content-type", ""))
        return Outcome("delivered", "left out by the server" if rejected else "", rejected)

    def close(self) -> None:
        self._pool.clear()


def _pool_to(url: str) -> urllib3.PoolManager:
    """Return connections to a server, through the proxy that the environment names for it."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def judge(status: int, headers: Mapping[str, str], *, now: float) -> Outcome:
    """Say what an answer means for the batch. ``now`` is seconds since 1970, for a date in ``Retry-After``.

    Source: OpenTelemetry Protocol specification, "OTLP/HTTP response".
    """
    if 200 <= status < 300:
        if headers.get("content-type", "").startswith("text/html"):
            return Outcome("refused", "a web page answered, not Langfuse", wait=HOLD)
        return DELIVERED
    if status == 413:
        return Outcome("too_large", "413")
    if status == 408 or status == 429 or status >= 500:
        return Outcome("again", f"status {status}", wait=_retry_after(headers.get("retry-after", ""), now))
    if status == 400:
        return Outcome("refused", "status 400: the server does not understand these spans")
    if status in (401, 403):
        return Outcome("refused", f"status {status}: check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY", wait=HOLD)
    return Outcome("refused", f"status {status}: check LANGFUSE_BASE_URL", wait=HOLD)


def _retry_after(value: str, now: float) -> float | None:
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None
