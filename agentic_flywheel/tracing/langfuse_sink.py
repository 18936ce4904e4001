"""Send observations to Langfuse, or to any product that accepts OpenTelemetry spans over HTTP."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from time import time

import urllib3

from agentic_flywheel.proxies import proxy_to
from agentic_flywheel.tracing.observation import Observation
from agentic_flywheel.tracing.otlp import constant_attributes, encode_request, encode_span, rejected_spans
from agentic_flywheel.tracing.sink import DELIVERED, SendResult, Text

#: Seconds without sending after a refusal that only a person can correct, such as a wrong key.
PAUSE = 30.0
#: Seconds. Long, because only the exporter's own thread waits.
TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)

INGESTION_VERSION = "4"
SCOPE = "agentic-flywheel"


class LangfuseSink:
    """Sends batches as gzipped OTLP protobuf to Langfuse's endpoint."""

    batch_count = 2048
    #: Langfuse accepts at most 4.5 MB in a request.
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
        self._pool: urllib3.PoolManager | None = None
        self._resource = {"service.name": service, "service.version": version}
        self._version = version
        self._constant = constant_attributes({"langfuse.environment": environment, "langfuse.release": release})

    def encode(self, seen: Observation, text: Text) -> bytes:
        return encode_span(seen, text, constant=self._constant)

    def send(self, batch: Sequence[bytes]) -> SendResult:
        body = encode_request(batch, resource=self._resource, scope=SCOPE, version=self._version)
        try:
            # Here and not before: a proxy of a kind that is not served is an error, and told as one.
            self._pool = self._pool or _pool_to(self._url)
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
            return SendResult("refused", f"LANGFUSE_BASE_URL, or the proxy on the way there: {why}", wait=PAUSE)
        except urllib3.exceptions.HTTPError as why:
            return SendResult("again", f"no answer from Langfuse: {type(why).__name__}")
        outcome = judge(answer.status, answer.headers, now=time())
        if outcome is not DELIVERED:
            return outcome
        rejected = rejected_spans(answer.data, answer.headers.get("content-type", ""))
        return SendResult("delivered", "left out by the server" if rejected else "", rejected)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.clear()


def _pool_to(url: str) -> urllib3.PoolManager:
    """Return a pool of connections to a server, through the proxy that the environment names."""
    proxy = proxy_to(url)
    return urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()


def judge(status: int, headers: Mapping[str, str], *, now: float) -> SendResult:
    """Return what a response means for the batch. ``now``, seconds since 1970, serves a date in ``Retry-After``.

    Source: OpenTelemetry Protocol specification, "OTLP/HTTP response".
    """
    if 200 <= status < 300:
        if headers.get("content-type", "").startswith("text/html"):
            return SendResult("refused", "a web page answered, not Langfuse", wait=PAUSE)
        return DELIVERED
    if status == 413:
        return SendResult("too_large", "413")
    if status == 408 or status == 429 or status >= 500:
        return SendResult("again", f"status {status}", wait=_retry_after(headers.get("retry-after", ""), now))
    if status == 400:
        return SendResult("refused", "status 400: the server does not understand these spans")
    if status in (401, 403):
        return SendResult("refused", f"status {status}: check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY", wait=PAUSE)
    return SendResult("refused", f"status {status}: check LANGFUSE_BASE_URL", wait=PAUSE)


def _retry_after(value: str, now: float) -> float | None:
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None
