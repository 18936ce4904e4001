"""Failures of who may come in, and how much."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import FlywheelError


@dataclass(eq=False)
class OwnerLimitReached(FlywheelError):
    """An owner asks more than a limit allows. The query was not accepted, or its flow not called; others go on."""

    owner: str
    #: queries_a_minute, under_way, bytes_under_way or calls_a_day.
    limit: str
    most: int
    value: int
    seconds: float

    transient = True
    suggestions = (
        "Ask again after `retry_after` seconds.",
        "Raise the limit for one token: `flywheel tokens new` takes limits of its own.",
        "Raise it for all owners: FLYWHEEL_OWNER_ and the limit's name in capitals; see docs/access.md.",
    )

    @property
    def message(self) -> str:
        return f"{self.owner} is at the limit {self.limit}: {self.value:,}, and {self.most:,} are allowed"

    @property
    def advice(self) -> tuple[str, ...]:
        if self.limit == "calls_a_day":
            first = "The count begins again at midnight (UTC), in `retry_after` seconds; kept answers are served still."
        elif self.limit == "queries_a_minute":
            first = "Ask again after `retry_after` seconds: then there is room for one."
        else:
            first = "Ask again when a query has ended or was cancelled; `retry_after` estimates when one will."
        return (first, *self.suggestions[1:])

    @property
    def retry_after(self) -> float:
        return self.seconds


@dataclass(eq=False)
class InvalidTokens(FlywheelError):
    """The file of tokens cannot be read or written, or says something that is not acceptable."""

    path: str
    reason: str

    suggestions = (
        "Correct what the reason names, or put the file back from a copy; `flywheel tokens list` reads it.",
        "Have the file belong to who starts the bridge, and nobody else write to it: chmod 600.",
        "Name another file with FLYWHEEL_TOKENS_FILE.",
    )

    @property
    def message(self) -> str:
        return f"The tokens in {self.path} are refused: {self.reason}"


@dataclass(eq=False)
class UnknownToken(FlywheelError):
    """The file has no token with this id."""

    #: Empty where what was given is no id: it is not shown, since it may be a token.
    token_id: str

    suggestions = (
        "Run `flywheel tokens list` to see the ids there are.",
        "Give the id, not the token: it is the part between the first two underscores of the token.",
        "Tokens of FLYWHEEL_MCP_TOKENS have no id: take them out of the setting and start the bridge again.",
    )

    @property
    def message(self) -> str:
        if not self.token_id:
            return "What was given is no id of a token; it is not shown, since it may be a token"
        return f"There is no token {self.token_id!r}"


@dataclass(eq=False)
class MissingScope(FlywheelError):
    """The token is valid, and may not do this."""

    scope: str
    what: str

    suggestions = (
        "Use a token that has this scope: `flywheel tokens list` shows the scopes of each.",
        "Have whoever gives tokens out make one: `flywheel tokens new --scope`.",
        "Do without: a client is shown only what its token may do.",
    )

    @property
    def message(self) -> str:
        return f"{self.what} needs the scope {self.scope}, which this token does not have"
