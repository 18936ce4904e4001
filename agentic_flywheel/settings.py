"""Settings from the environment. This is the only module that reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agentic_flywheel.addresses import checked_logins, checked_place, holds_login, without_secrets
from agentic_flywheel.catalog import Duration, Flow, PositiveDuration, Rate
from agentic_flywheel.endpoint import checked_broker, checked_prefix, read_endpoint
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.servers import VARIABLE, FlowServer
from agentic_flywheel.setting_values import (
    FilePlace,
    FolderPlace,
    LongDuration,
    Place,
    PortOrOff,
    Url,
    Weights,
    room_for_one,
)
from agentic_flywheel.tls_files import check_tls_files


def _plain_or_flywheel(name: str) -> AliasChoices:
    return AliasChoices(f"FLYWHEEL_{name}", name)


#: What a stopping worker needs to hand back what it could not finish, and to close its connections.
HANDING_BACK = timedelta(seconds=5)


class Settings(BaseSettings):
    """Every setting, one environment variable each; README.md has the table.

    Durations are seconds, or text such as ``15m`` or ``7d``. An empty variable is one that is not set: compose files
    and units of services cannot leave a variable out. White space around a value is none of it: a Secret that was made
    of a file, or with ``echo``, ends with a line's end.
    """

    model_config = SettingsConfigDict(
        env_prefix="FLYWHEEL_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True,
        hide_input_in_errors=True,
    )  # fmt: skip

    redis_url: Annotated[str, AfterValidator(checked_broker)] = Field(
        "redis://127.0.0.1:6379/0", validation_alias=_plain_or_flywheel("REDIS_URL")
    )
    #: What all keys and channels of this installation begin with, such as `blue:`; where several share a server.
    key_prefix: Annotated[str, AfterValidator(checked_prefix)] = ""
    flowise_base_url: Url | None = Field(None, validation_alias=_plain_or_flywheel("FLOWISE_BASE_URL"))
    flowise_api_key: SecretStr | None = Field(None, validation_alias=_plain_or_flywheel("FLOWISE_API_KEY"))
    #: The registry file. None: `.agentic_flywheel/flow-registry.yaml` in the working folder, else in the home folder,
    #: else the bundled one.
    registry: FilePlace | None = None
    #: The folder of domain profiles. None: `.agentic_flywheel/domains` in the working folder, then in the home folder.
    profiles: FolderPlace | None = None
    #: The folder in which `flywheel up` keeps the embedded broker's data, the logs and its own state.
    home: FolderPlace = Path(".flywheel")

    #: Most queries that one worker process works on at once.
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 1000
    #: A worker that does not renew a message for so long loses it to another worker.
    visibility_timeout: LongDuration = timedelta(seconds=6)
    #: From a worker's SIGTERM to its end: what a container's, a pod's or a unit's stop time-out has to be. It finishes
    #: what it has, and in the last seconds hands the rest back. The default covers a flow's default time-out.
    grace: Duration = timedelta(seconds=130)
    #: Most calls at once of one server, of all workers together, where the registry says nothing of it. A flow may have
    #: fewer.
    flowise_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 16
    #: Most open queries, of all domains together and of each domain.
    queue_limit: Annotated[int, Field(ge=1)] = 100_000
    #: Limits of each owner; 0: none. A token may have values of its own. Queries that are submitted within a minute.
    owner_queries_a_minute: Annotated[int, Field(ge=0)] = 0
    #: Open queries of one owner. None: a quarter of the queue limit.
    owner_under_way: Annotated[int, Field(ge=0)] | None = None
    #: Bytes of one owner's open queries, as JSON.
    owner_bytes_under_way: Annotated[int, AfterValidator(room_for_one)] = 64 * 2**20
    #: Calls of flows for one owner in a day (UTC).
    owner_calls_a_day: Annotated[int, Field(ge=0)] = 0
    #: Weights of owners, as `alice=3,bob=2`: how many turns each has where owners take turns. All others have 1.
    owner_weights: Weights = {}
    #: Whether the owner `local` has these limits too: the command line, and whoever needs no token.
    owner_limits_local: bool = False

    #: Bytes of one file that goes with a query, and of all that are kept at once (as they are kept: a third more).
    upload_bytes: Annotated[int, Field(ge=1)] = 10 * 2**20
    uploads_bytes: Annotated[int, Field(ge=1)] = 2**30
    #: Folder or bucket for larger files, in fsspec's form: `file:///srv/files`, `s3://bucket/files`. None: no larger.
    uploads_url: Annotated[str, AfterValidator(checked_place)] | None = None
    #: How long a file is kept at most. It is deleted when no open query needs it.
    upload_ttl: PositiveDuration = timedelta(days=1)

    #: How long a query waits for a person whom its flow asks. It then ends as expired. And most queries that wait so;
    #: they have no place in the limits above.
    person_timeout: PositiveDuration = timedelta(days=7)
    person_limit: Annotated[int, Field(ge=1)] = 10_000
    #: A query that is open for longer ends as expired. The time that it waits for a person does not count.
    query_age: PositiveDuration = timedelta(days=1)
    #: How long a query waits while no living worker knows its flow, or has its version. It then ends as failed.
    unserved_timeout: Duration = timedelta(seconds=60)
    #: How long records, sessions and dead letters are kept.
    result_ttl: LongDuration = timedelta(days=1)
    session_ttl: LongDuration = timedelta(days=30)
    session_turns: Annotated[int, Field(ge=1)] = 50
    dead_letter_ttl: LongDuration = timedelta(days=7)
    #: Bytes of the broker's memory for cached answers: of all flows together, and of each flow. Where it is full, the
    #: answers that were used least recently go. 0: no limit but their time to live.
    cache_bytes: Annotated[int, Field(ge=0)] = 2**30
    cache_flow_bytes: Annotated[int, Field(ge=0)] = 0

    langfuse_public_key: str | None = Field(None, validation_alias="LANGFUSE_PUBLIC_KEY")
    langfuse_secret_key: SecretStr | None = Field(None, validation_alias="LANGFUSE_SECRET_KEY")
    langfuse_base_url: Url | None = Field(None, validation_alias=AliasChoices("LANGFUSE_BASE_URL", "LANGFUSE_HOST"))
    langfuse_environment: str = Field("default", validation_alias="LANGFUSE_TRACING_ENVIRONMENT")
    langfuse_release: str | None = Field(None, validation_alias="LANGFUSE_RELEASE")
    langfuse_sample_rate: Annotated[float, Field(ge=0, le=1)] = Field(1.0, validation_alias="LANGFUSE_SAMPLE_RATE")
    #: Path, below Langfuse's address, to which OpenTelemetry spans are sent. Other products have other paths.
    langfuse_traces_path: str = Field("api/public/otel/v1/traces", validation_alias="LANGFUSE_OTEL_TRACES_EXPORT_PATH")
    #: False: no traces at all, neither to a server nor to a file.
    tracing_enabled: bool = Field(True, validation_alias="LANGFUSE_TRACING_ENABLED")
    #: Mask that is applied to every text of a trace: `off`, `redact` (keys, tokens, e-mail addresses) or the
    #: `module:function` of a user.
    trace_mask: str = "redact"
    #: Longest input, output or metadata value in a trace, in characters.
    trace_io_limit: Annotated[int, Field(ge=0)] = 16_384
    #: Most observations, and most bytes of them, that one process keeps while they cannot be sent. Further ones are
    #: dropped and counted.
    trace_queue_limit: Annotated[int, Field(ge=1)] = 100_000
    trace_queue_bytes: Annotated[int, Field(ge=1024)] = 64 * 2**20
    #: Port at which `flywheel up` and workers serve figures to Prometheus. Each process takes the first free port from
    #: this one on. 0: any free port. `off`, here None: figures are not served.
    metrics_port: PortOrOff = 9464
    #: Address at which they are served. In a container it is `0.0.0.0`.
    metrics_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"

    #: The file to which a worker, a sandbox, a Flower or a bridge writes its log, one process a file. `flywheel up`
    #: sets it for what it starts. None: the log goes to stderr.
    log_file: Place | None = None
    #: Bytes of one log file; and how many older ones are kept beside it, as `.1`, `.2` and so on.
    log_bytes: Annotated[int, Field(ge=10_000)] = 10 * 2**20
    log_files: Annotated[int, Field(ge=1, le=1000)] = 5

    #: Who may look at Flower: `user:password`, several behind commas. Flower reads the variable itself.
    flower_basic_auth: Annotated[SecretStr, AfterValidator(checked_logins)] | None = Field(
        None, validation_alias="FLOWER_BASIC_AUTH"
    )

    #: The file of tokens that `flywheel tokens` keeps. None: `tokens.json` in the home folder.
    tokens_file: FilePlace | None = None
    #: Further bearer tokens of the MCP bridge over HTTP: `name=token`, separated by commas or lines. The name is
    #: the owner.
    mcp_tokens: SecretStr | None = None
    #: A file with more tokens, one `name=token` on each line; `#` begins a comment.
    mcp_tokens_file: FilePlace | None = None
    #: Most calls a second that one token may make of the MCP bridge over HTTP.
    mcp_rate: Rate = 50.0
    #: Most requests and streams of one token that are open at once over HTTP, and most of its subscriptions.
    mcp_open: Annotated[int, Field(ge=1)] = 500
    #: The tools that the bridge offers: groups and names, separated by commas.
    mcp_tools: str = "ask"
    #: Characters of one result of the bridge; what is beyond is cut, and the result says where the rest is.
    mcp_result_limit: Annotated[int, Field(ge=2_000, le=10_000_000)] = 20_000

    #: The same of the other paths of the HTTP gateway: calls a second, and requests and streams open at once.
    http_rate: Rate = 200.0
    http_open: Annotated[int, Field(ge=1)] = 500
    #: Origins of web pages that may use the gateway from a browser, separated by commas; `*`: every one.
    http_origins: str = ""
    #: Whether a query is cancelled whose streaming client goes away. Otherwise it goes on, and its answer is kept.
    http_stop: bool = False
    #: Whether people without a token may ask the flows that the registry calls `public`, over Flowise's API; and most
    #: questions that one address may ask within a minute.
    http_visitors: bool = False
    http_visitor_queries: Annotated[int, Field(ge=1)] = 20

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Mapping[str, object]) -> dict[str, object]:
        bare = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
        return {name: value for name, value in bare.items() if value != "" or given[name] == ""}

    @property
    def finishing(self) -> timedelta:
        """How long of its grace a stopping worker may finish what it has, before it hands the rest back."""
        return self.grace - min(HANDING_BACK, self.grace / 2)

    @property
    def langfuse_login(self) -> tuple[str, str, str] | None:
        """Langfuse's address, public key and secret key; None where traces go to a file or are off."""
        public, secret = self.langfuse_public_key, self.langfuse_secret_key
        if not (self.tracing_enabled and public and secret):
            return None
        address = self.langfuse_base_url or "https://cloud.langfuse.com"
        # The keys are the login: one in the address beside them would be a second one, which clients refuse.
        return without_secrets(address).rstrip("/"), public, secret.get_secret_value()

    @property
    def broker_address(self) -> str:
        """The broker's address without its password, for messages."""
        return read_endpoint(self.redis_url).shown


def variables_of(name: str) -> list[str]:
    """Return the variables that set a setting; the first that is not empty counts."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [alias if isinstance(alias, str) else f"FLYWHEEL_{name.upper()}"]


def variable_of(name: str) -> str:
    """Return the variable that sets a setting here; where none does, the first that would."""
    known = variables_of(name)
    return next(filter(os.environ.get, known), known[0])


def misspelt() -> dict[str, str]:
    """Return the variables of the environment that are almost those of a setting, and count for nothing."""
    known = [each for name in Settings.model_fields for each in variables_of(name)]
    odd = [each for each in os.environ if each.startswith(("FLYWHEEL_", "FLOWISE_", "LANGFUSE_"))]
    odd = [each for each in odd if not each.startswith(tuple(known))]  # FLOWISE_API_KEY_2 is a flow's own
    return {each: found[0] for each in odd if (found := get_close_matches(each, known, n=1, cutoff=0.88))}


def load_settings() -> Settings:
    """Read the environment. Raises InvalidSetting, which names the first variable that is not acceptable."""
    try:
        check_tls_files(os.environ)
    except ValueError as refused:
        raise InvalidSetting(*refused.args) from None
    try:
        settings = Settings()
    except ValidationError as refused:
        first = refused.errors(include_input=False, include_url=False)[0]
        where = str(first["loc"][0])
        # pydantic names the setting or its first variable, also where another one is set.
        name = variable_of(next(each for each in Settings.model_fields if where in (each, *variables_of(each))))
        # Of a setting with several entries, which one: `alice`, and not only FLYWHEEL_OWNER_WEIGHTS.
        entry = ".".join(str(each) for each in first["loc"][1:] if each != "[key]")
        said = first["msg"].removeprefix("Value error, ")
        raise InvalidSetting(name, f"{entry}: {said}" if entry else said) from None
    if settings.flowise_api_key and settings.flowise_base_url and holds_login(settings.flowise_base_url):
        raise InvalidSetting(
            "FLOWISE_API_KEY",
            "FLOWISE_BASE_URL holds a user and a password, and both would be the Authorization header; "
            "unset the key, or take the user and the password out of the address",
        )
    return settings


def flowise_address(settings: Settings) -> str:
    """Return the address of Flowise. Raises InvalidSetting where it is not set."""
    if settings.flowise_base_url is None:
        raise InvalidSetting("FLOWISE_BASE_URL", "a worker needs the address of a Flowise, or of the sandbox")
    return settings.flowise_base_url


def server_of(flow: Flow | None, settings: Settings) -> str:
    """Return the address that names a flow's server among the workers: the same however it is written."""
    return _server_named((flow.server if flow else None) or settings.flowise_base_url or "")


@lru_cache(maxsize=4096)
def _server_named(address: str) -> str:
    return without_secrets(address.rstrip("/").removesuffix("/api/v1"))


def flow_server(flow: Flow, settings: Settings) -> FlowServer:
    """Return the server of a flow. Raises InvalidSetting where it is the Flowise that the settings name, and none is.

    What a name in the registry says goes with the flow: it needs no look into the registry.
    """
    if flow.served_by is not None:
        return flow.served_by
    if flow.server is not None:
        return FlowServer(address=flow.server, backend=flow.backend)
    return usual_server(settings)


def usual_server(settings: Settings) -> FlowServer:
    """Return the Flowise of the flows that name no server. Raises InvalidSetting where the settings name none."""
    return FlowServer(address=flowise_address(settings))


def calls_at_once(flow: Flow | None, settings: Settings) -> int:
    """Return how many calls the server of a flow is given at once, of all its flows together."""
    server = flow.served_by if flow else None
    return (server.concurrency if server else None) or settings.flowise_concurrency


def flow_key(variable: str | None, default: SecretStr | None) -> SecretStr | None:
    """Return the API key in the environment variable ``variable``; where there is none, ``default``."""
    value = variable_value(variable) if variable else ""
    return SecretStr(value) if value else default


def key_of(flow: Flow, settings: Settings) -> SecretStr | None:
    """Return the API key of a flow: its own, else its server's, else that of the settings.

    The last is Flowise's alone, and goes to no server whose own address has a login.
    """
    others = flow.backend != "flowise" or (flow.server is not None and holds_login(flow.server))
    of_server = flow_key(flow.served_by.api_key_env, None) if flow.served_by else None
    return flow_key(flow.api_key_env, of_server or (None if others else settings.flowise_api_key))


def variable_value(name: str) -> str:
    """Return what a variable holds, without white space around it; '' where it is not set."""
    return os.environ.get(name, "").strip()


def variable_fault(name: str) -> str:
    """Return what is wrong with a variable in the environment of this process; empty where it holds something."""
    if variable_value(name):
        return ""
    return "is empty" if name in os.environ else "is not set"


def header_values(headers: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return headers with the values of variables in place of ``${NAME}``, and these values, which are secret.

    Raises InvalidSetting where a variable is not set.
    """
    secrets: list[str] = []

    def value_of(named: re.Match[str]) -> str:
        if wrong := variable_fault(named[1]):
            raise InvalidSetting(named[1], f"a server's header in the registry names it, and it {wrong}")
        secrets.append(variable_value(named[1]))
        return secrets[-1]

    return {name: VARIABLE.sub(value_of, text) for name, text in headers.items()}, tuple(secrets)


def child_environment(**changes: str) -> dict[str, str]:
    """Return the environment for a child process: that of this process, with ``changes``."""
    return {**os.environ, **changes}
