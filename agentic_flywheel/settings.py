"""The environment, read once. No other module reads it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from agentic_flywheel.catalog import Duration, Rate
from agentic_flywheel.errors import InvalidSetting


def _plain_or_flywheel(name: str) -> AliasChoices:
    return AliasChoices(f"FLYWHEEL_{name}", name)


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


Url = Annotated[str, Field(pattern=r"^[a-z+]+://")]
OptionalUrl = Annotated[Url | None, BeforeValidator(_empty_is_none)]


class Settings(BaseSettings):
    """What the environment decides. Durations are seconds or text such as ``15m``, ``7d``."""

    model_config = SettingsConfigDict(env_prefix="FLYWHEEL_", frozen=True, extra="ignore", populate_by_name=True)

    redis_url: Url = Field("redis://127.0.0.1:6379/0", validation_alias=_plain_or_flywheel("REDIS_URL"))
    flowise_base_url: OptionalUrl = Field(None, validation_alias=_plain_or_flywheel("FLOWISE_BASE_URL"))
    flowise_api_key: SecretStr | None = Field(None, validation_alias=_plain_or_flywheel("FLOWISE_API_KEY"))
    #: An explicit registry file; else `.agentic_flywheel/flow-registry.yaml` here, then at home, then the bundled one.
    registry: Path | None = None
    #: An explicit folder of domain profiles; else `.agentic_flywheel/domains` here, then at home.
    profiles: Path | None = None
    #: Where `flywheel up` keeps its state: the embedded broker's data, logs, who is running.
    home: Path = Path(".flywheel")

    engine: Literal["asyncio", "stock"] = "asyncio"
    #: Queries that one worker process works on at once.
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 1000
    #: A message not renewed for this long is given to another worker.
    visibility_timeout: Duration = timedelta(seconds=6)
    #: How long a stopping worker may finish what it has; then it hands back.
    grace: Duration = timedelta(seconds=10)
    queue_limit: Annotated[int, Field(ge=1)] = 100_000

    result_ttl: Duration = timedelta(days=1)
    session_ttl: Duration = timedelta(days=30)
    session_turns: Annotated[int, Field(ge=1)] = 50
    dead_letter_ttl: Duration = timedelta(days=7)

    langfuse_public_key: str | None = Field(None, validation_alias="LANGFUSE_PUBLIC_KEY")
    langfuse_secret_key: SecretStr | None = Field(None, validation_alias="LANGFUSE_SECRET_KEY")
    langfuse_base_url: OptionalUrl = Field(None, validation_alias=AliasChoices("LANGFUSE_BASE_URL", "LANGFUSE_HOST"))
    langfuse_environment: str = Field("default", validation_alias="LANGFUSE_TRACING_ENVIRONMENT")
    langfuse_release: str | None = Field(None, validation_alias="LANGFUSE_RELEASE")
    langfuse_sample_rate: Annotated[float, Field(ge=0, le=1)] = Field(1.0, validation_alias="LANGFUSE_SAMPLE_RATE")
    #: Where under its address Langfuse takes OpenTelemetry spans; another product takes them elsewhere.
    langfuse_traces_path: str = Field("api/public/otel/v1/traces", validation_alias="LANGFUSE_OTEL_TRACES_EXPORT_PATH")
    #: Off: no traces at all, to no server and no file.
    tracing_enabled: bool = Field(True, validation_alias="LANGFUSE_TRACING_ENABLED")
    #: What goes over every text of a trace: `off`, `redact` (keys, tokens, e-mail addresses) or `module:function`.
    trace_mask: str = "redact"
    #: Longest input, output or metadata value in a trace, in characters.
    trace_io_limit: Annotated[int, Field(ge=0)] = 16_384
    #: Observations, and bytes of them, that one process keeps while they cannot be sent; more are dropped and counted.
    trace_queue_limit: Annotated[int, Field(ge=1)] = 100_000
    trace_queue_bytes: Annotated[int, Field(ge=1024)] = 64 * 2**20
    #: Where `flywheel up` and workers serve figures to Prometheus, on the loopback address: each on the first free
    #: port from this one on; 0: on any free port; empty: not at all.
    metrics_port: Annotated[Annotated[int, Field(ge=0, le=65_535)] | None, BeforeValidator(_empty_is_none)] = 9464

    #: Bearer tokens of the MCP bridge over HTTP: `name=token`, separated by commas or lines. The name is the owner.
    mcp_tokens: SecretStr | None = None
    #: A file with further tokens, one `name=token` a line; `#` begins a comment.
    mcp_tokens_file: Path | None = None
    #: Calls per second of one token, over HTTP.
    mcp_rate: Rate = 50.0

    @property
    def langfuse_login(self) -> tuple[str, str, str] | None:
        """Langfuse's address, public and secret key; None where traces go to a file, or nowhere."""
        public, secret = self.langfuse_public_key, self.langfuse_secret_key
        if not (self.tracing_enabled and public and secret):
            return None
        address = self.langfuse_base_url or "https://cloud.langfuse.com"
        return address.rstrip("/"), public, secret.get_secret_value()

    @property
    def broker_address(self) -> str:
        """The broker's address without its password, for messages."""
        return without_credentials(self.redis_url)


def load_settings() -> Settings:
    """Read the environment. Raises InvalidSetting naming the first variable that is unusable."""
    try:
        return Settings()
    except ValidationError as refused:
        first = refused.errors(include_input=False, include_url=False)[0]
        where = str(first["loc"][0])
        field = Settings.model_fields.get(where)
        name = where if field is None else f"FLYWHEEL_{where.upper()}"
        raise InvalidSetting(name, first["msg"]) from None


def flowise_address(settings: Settings) -> str:
    """Return the address of Flowise. Raises InvalidSetting where none is set."""
    if settings.flowise_base_url is None:
        raise InvalidSetting("FLOWISE_BASE_URL", "a worker needs the address of a Flowise, or of the sandbox")
    return settings.flowise_base_url


def flow_key(variable: str | None, default: SecretStr | None) -> SecretStr | None:
    """Return the API key that a flow's ``api_key_env`` names, else the default one."""
    value = os.environ.get(variable) if variable else None
    return SecretStr(value) if value else default


def child_environment(**changes: str) -> dict[str, str]:
    """Return the environment that a process of ours is started with: this one's, with ``changes``."""
    return {**os.environ, **changes}


def without_credentials(url: str) -> str:
    """Return an address without user and password."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    netloc = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))
