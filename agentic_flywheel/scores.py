"""How good an answer was, said by who read it: kept beside the query for learning and health, and sent to Langfuse.

A score is kept first and sent later, so it is neither lost nor waited for where Langfuse is away.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, ValidationError
from pydantic.types import StrictBool, StrictFloat, StrictInt, StrictStr

from agentic_flywheel import wire
from agentic_flywheel.batch import Batch, Script
from agentic_flywheel.errors import InvalidScore, UnknownQuery
from agentic_flywheel.learning.lessons import keep_rating
from agentic_flywheel.models import Model, Slug
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.observation import trace_id

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

#: The score that health shows as a flow's mean, and that is meant where no name is given.
RATING = "rating"
LOWEST, HIGHEST = 1, 10
MAX_CATEGORY = 100
MAX_COMMENT = 2000
#: Scores outlive their query's record: learning looks back further than a result is kept.
KEPT = timedelta(days=90)
#: How long Langfuse is tried, ever less often; then the score is kept here only.
SENT_WITHIN = timedelta(days=2)
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 3600.0
_AT_ONCE = 100
#: Seconds between two looks at what is due.
_PAUSE = 2.0

_SCORE = Script("score")

Verdict = Literal["arrived", "again", "refused"]
Value = StrictBool | StrictInt | StrictFloat | StrictStr


class Score(Model):
    """One judgement of one answer. The same name on the same query is the same score."""

    query_id: str
    name: Slug = RATING
    #: 1 to 10, or whether, or a category.
    value: Value
    comment: str = ""
    #: Who gave it.
    by: str = ""
    flow: str = ""
    #: When it was first given; a later correction keeps this.
    at: AwareDatetime

    @property
    def score_id(self) -> str:
        """The id in Langfuse, the same for every repetition."""
        return hashlib.sha256(f"{self.query_id}|{self.name}".encode()).hexdigest()[:32]

    @property
    def shown_value(self) -> str:
        """The value as a person writes it: 8, true, helpful."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return self.value if isinstance(self.value, str) else f"{self.value:g}"

    @property
    def kind(self) -> Literal["NUMERIC", "BOOLEAN", "CATEGORICAL"]:
        """Langfuse's word for the kind of value."""
        if isinstance(self.value, bool):
            return "BOOLEAN"
        return "CATEGORICAL" if isinstance(self.value, str) else "NUMERIC"


def read_value(text: str) -> bool | float | str:
    """Return the value that a person typed: a number, ``true`` or ``false``, else a category."""
    if text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text.strip()


def check(value: bool | float | str, *, name: str = RATING, comment: str = "") -> None:
    """Raise InvalidScore where a score cannot be accepted."""
    if isinstance(value, str):
        if not 0 < len(value.strip()) <= MAX_CATEGORY:
            raise InvalidScore("value", f"a category has 1 to {MAX_CATEGORY} characters")
    elif not isinstance(value, bool) and not (math.isfinite(value) and LOWEST <= value <= HIGHEST):
        raise InvalidScore("value", f"a number is from {LOWEST} to {HIGHEST}")
    if len(comment) > MAX_COMMENT:
        raise InvalidScore("comment", f"it has {len(comment)} characters, at most {MAX_COMMENT} are kept")
    try:
        Score(query_id="", name=name, value=value, at=datetime.now(UTC))
    except ValidationError as refused:
        raise InvalidScore("name", refused.errors(include_input=False, include_url=False)[0]["msg"]) from None


async def give_score(
    batch: Batch,
    query_id: str,
    value: bool | float | str,
    *,
    name: str = RATING,
    comment: str = "",
    owner: str | None = None,
) -> Score:
    """Keep a score of a query, for whoever has Langfuse's keys to send it there. Repeating it changes nothing.

    Raises InvalidScore; UnknownQuery, also where the query is another owner's; BrokerUnavailable.
    """
    check(value, name=name, comment=comment)
    stored = json.dumps({"value": value, "comment": comment, "by": owner or ""}, ensure_ascii=False)
    tenths = "" if isinstance(value, bool | str) else str(round(value * 10))
    reply = await batch.run(
        _SCORE,
        query_id,
        owner or "",
        name,
        stored,
        tenths,
        int(KEPT.total_seconds()),
        int(SENT_WITHIN.total_seconds()),
    )
    if reply[0] == "unknown":
        raise UnknownQuery(query_id)
    if name == RATING:
        await keep_rating(batch, query_id, value, owner=owner)
    return _read(query_id, name, reply[1])


async def scores_of(batch: Batch, query_ids: Sequence[str]) -> dict[str, list[Score]]:
    """Return the scores of queries, by query. Raises BrokerUnavailable."""
    found = await asyncio.gather(*(batch.call("HGETALL", wire.scores_key(query_id)) for query_id in query_ids))
    return {
        query_id: [_read(query_id, name, stored) for name, stored in sorted(fields.items())]
        for query_id, fields in zip(query_ids, found, strict=True)
    }


async def scored_queries(batch: Batch, since: datetime, *, limit: int = 1000) -> list[str]:
    """Return queries scored since then, the latest first. Raises BrokerUnavailable."""
    earliest = int(since.timestamp() * 1000)
    return list(await batch.call("ZREVRANGEBYSCORE", wire.SCORED, "+inf", earliest, "LIMIT", 0, limit))


async def send_scores(batch: Batch, settings: Settings) -> int:
    """Send the scores that are due to Langfuse, and return how many arrived. Raises BrokerUnavailable.

    Safe to run in many processes: Langfuse takes a repetition for the same score.
    """
    login = settings.langfuse_login
    if login is None:
        return 0
    now = time.time() * 1000
    due = await batch.call("ZRANGEBYSCORE", wire.UNSENT_SCORES, "-inf", int(now), "LIMIT", 0, _AT_ONCE)
    if not due:
        return 0
    # Imported by who sends: most only give or read scores, and it takes 9 MB.
    import aiohttp

    # Until the answer is there nobody else needs to try.
    claimed = [part for member in due for part in (int(now + _FIRST_WAIT * 1000), member)]
    await batch.call("ZADD", wire.UNSENT_SCORES, "XX", *claimed)
    address, public, secret = login
    async with aiohttp.ClientSession(
        headers={"Authorization": aiohttp.encode_basic_auth(public, secret)},
        timeout=aiohttp.ClientTimeout(total=5),
        trust_env=True,
    ) as session:

        async def post(score: Score) -> Verdict:
            return await _post(session, f"{address}/api/public/scores", settings.langfuse_environment, score)

        return sum([await _send(batch, member, post) for member in due])


async def keep_sending(batch: Batch, settings: Settings) -> None:
    """Send scores as they come due, until cancelled. Raises BrokerUnavailable."""
    while True:
        await send_scores(batch, settings)
        await asyncio.sleep(_PAUSE)


async def _send(batch: Batch, member: str, post: Callable[[Score], Awaitable[Verdict]]) -> bool:
    """Send one score and take it off the list where that is over; return whether it arrived."""
    query_id, _, name = member.partition("\n")
    stored = await batch.call("HGET", wire.scores_key(query_id), name)
    verdict: Verdict = "refused"
    if stored:
        score = _read(query_id, name, stored)
        verdict = await post(score)
        if verdict == "again" and (wait := next_wait(datetime.now(UTC) - score.at)):
            await batch.call("ZADD", wire.UNSENT_SCORES, "XX", int((time.time() + wait) * 1000), member)
            return False
        if verdict != "arrived":
            logger.warning("a score of query %s is kept here only: Langfuse did not take it", query_id)
        if await batch.call("HGET", wire.scores_key(query_id), name) != stored:
            return False  # corrected meanwhile: the correction has still to be sent
    await batch.call("ZREM", wire.UNSENT_SCORES, member)
    return verdict == "arrived"


def next_wait(age: timedelta) -> float | None:
    """Return how many seconds to wait before a score of this age is tried again; None: it is given up."""
    if age > SENT_WITHIN:
        return None
    return min(_LONGEST_WAIT, max(_FIRST_WAIT, age.total_seconds()))


async def _post(session: aiohttp.ClientSession, url: str, environment: str, score: Score) -> Verdict:
    import aiohttp

    body: dict[str, Any] = {
        "id": score.score_id,
        "traceId": trace_id(score.query_id),
        "name": score.name,
        "value": int(score.value) if isinstance(score.value, bool) else score.value,
        "dataType": score.kind,
        "comment": score.comment or None,
        # Langfuse takes the same id with the same time for the same score.
        "timestamp": score.at.isoformat(),
        "environment": environment,
    }
    try:
        async with session.post(url, json=body) as answer:
            if answer.status < 300:
                return "arrived"
            # A wrong key is mended by a person, and then the score should arrive.
            return "refused" if answer.status in (400, 413, 422) else "again"
    except (aiohttp.ClientError, TimeoutError, OSError):
        return "again"


def _read(query_id: str, name: str, stored: str) -> Score:
    fields = json.loads(stored)
    return Score(
        query_id=query_id,
        name=name,
        value=fields["value"],
        comment=fields["comment"],
        by=fields["by"],
        flow=fields["flow"],
        at=datetime.fromtimestamp(fields["at"] / 1000, UTC),
    )
