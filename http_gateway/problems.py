"""Errors as HTTP responses: the status of each class, and problem details (RFC 9457) with our error object."""

from __future__ import annotations

import json
import math

from starlette.responses import Response

from agentic_flywheel import errors
from agentic_flywheel.errors import ErrorInfo, FlywheelError

PROBLEM = "application/problem+json"
REALM = 'Bearer realm="agentic-flywheel"'

#: The status by the name of the class: what was asked, what is there, how much is allowed, and what is away. What the
#: caller can change is 4xx; what only the flow's owner or whoever runs the house can, is 5xx.
STATUSES: dict[str, int] = {
    each.__name__: status
    for status, classes in {
        400: (errors.MalformedRequest,),
        401: (errors.TokenNeeded,),
        403: (errors.MissingScope, errors.OriginRefused, errors.ChangesRefused),
        404: (
            errors.EmbeddingsNotOffered,
            errors.NothingThere,
            errors.UnknownBatch,
            errors.UnknownDeadLetter,
            errors.UnknownModel,
            errors.UnknownQuery,
            errors.UnknownSession,
        ),
        408: (errors.RequestTooSlow,),
        409: (
            errors.AlreadyDecided,
            errors.DecisionNotTaken,
            errors.EarlierTurnAsks,
            errors.InputRequired,
            errors.NothingToDecide,
            errors.QueryCancelled,
        ),
        410: (errors.QueryRemoved,),
        413: (errors.RequestTooLarge,),
        422: (
            errors.ContentFiltered,
            errors.ContextTooLong,
            errors.FilesRefused,
            errors.FlowUnable,
            errors.FormRefused,
            errors.IdempotencyConflict,
            errors.InvalidDecision,
            errors.InvalidProfile,
            errors.InvalidQuery,
            errors.InvalidRequest,
            errors.InvalidScore,
            errors.PromptTooLong,
            errors.SideCallRefused,
            errors.UnknownDomain,
            errors.UnknownFlow,
            errors.UnknownProfile,
            errors.UnsupportedParameter,
            errors.UploadLost,
            errors.UploadRefused,
        ),
        429: (errors.OwnerLimitReached, errors.TooManyCalls, errors.TooManyOpen),
        431: (errors.HeadTooLarge,),
        500: (
            errors.CallFailed,
            errors.ExecutionLost,
            errors.InvalidSetting,
            errors.InvalidTokens,
            errors.QueryFailed,
            errors.RecordUnreadable,
            errors.RequestFailed,
            errors.UnexpectedFault,
            errors.UnreadableQuery,
        ),
        502: (
            errors.AnswerTooLong,
            errors.DecisionUnderWay,
            errors.FlowFailed,
            errors.FlowNotFound,
            errors.FlowProtocolError,
            errors.FlowRefused,
            errors.FlowUnauthorized,
            errors.QuotaUsedUp,
            errors.ServerUnknown,
            errors.StoppedRunGone,
        ),
        503: (
            errors.BrokerRefused,
            errors.BrokerUnavailable,
            errors.CircuitOpen,
            errors.FlowNotServed,
            errors.FlowRateLimited,
            errors.GatewayStopping,
            errors.InvalidRegistry,
            errors.ProfileNotServed,
            errors.ProviderUnavailable,
            errors.QueryLost,
            errors.QueueFull,
            errors.ServerUnavailable,
            errors.ServerUnreachable,
            errors.TooManyAsk,
            errors.UploadNotKept,
            errors.UploadsFull,
            errors.VersionNotServed,
        ),
        504: (errors.DeadlineExceeded, errors.FlowTimeout, errors.NobodyDecided, errors.WaitTimeout),
    }.items()
    for each in classes
}
#: With these, a client is told when to come again.
_COME_AGAIN = (408, 429, 503)


def status_of(info: ErrorInfo) -> int:
    """Return the HTTP status of an error."""
    return STATUSES.get(info.error_type, 500)


def headers_of(info: ErrorInfo, status: int) -> dict[str, str]:
    """Return the headers that go with an error, whatever shape its body has."""
    headers = {}
    if status in _COME_AGAIN:
        headers["Retry-After"] = str(max(1, math.ceil(info.retry_after)))
    if status == 401:
        headers["WWW-Authenticate"] = f'{REALM}, error="invalid_token"'
    if status == 403 and info.error_type == "MissingScope":
        headers["WWW-Authenticate"] = f'{REALM}, error="insufficient_scope", scope="{info.details.get("scope", "")}"'
    if status == 408:
        # What is left of the body is not waited for. After a 413 it is thrown away for a while: a client that is still
        # sending would not see the answer otherwise.
        headers["Connection"] = "close"
    return headers


def problem_of(info: ErrorInfo, status: int) -> dict[str, object]:
    """Return the problem details of an error, as JSON."""
    return {
        "type": f"urn:agentic-flywheel:error:{info.error_type}",
        "title": _title(info.error_type),
        "status": status,
        "detail": info.error,
        "error": info.model_dump(mode="json"),
    }


def problem_response(info: ErrorInfo, status: int) -> Response:
    """Return an error as problem details."""
    body = json.dumps(problem_of(info, status), ensure_ascii=False)
    return Response(body, status, headers_of(info, status), PROBLEM)


def _title(error_type: str) -> str:
    """Return the first sentence of what the class says of itself."""
    about = (getattr(errors, error_type, FlywheelError).__doc__ or error_type).split("\n")[0]
    return about.split(". ")[0].rstrip(".")
