"""Scores: what readers say of an answer. Stored beside the query for learning and health, then sent to Langfuse.

A score is stored first and sent later. So no score is lost, and no caller waits, while Langfuse is away.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, assert_never

from pydantic import AwareDatetime, ValidationError
from pydantic.types import StrictBool, StrictFloat, StrictInt, StrictStr

from agentic_flywheel.asker import Asker
from agentic_flywheel.broker import scripts, wire
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.clock import broker_now
from agentic_flywheel.broker.stored import passing_over, reading
from agentic_flywheel.errors import BrokerRefused, InvalidScore, RecordUnreadable, UnknownQuery
from agentic_flywheel.learning.lessons import keep_rating
from agentic_flywheel.models import Model, Slug
from agentic_flywheel.settings import Settings
from agentic_flywheel.texts import fault_in
from agentic_flywheel.tracing.observation import trace_id

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

#: Name of a score that was given without a name. Health shows the mean of these scores for each flow.
RATING = "rating"
#: Bounds of a numeric score, both included.
LOWEST, HIGHEST = 1, 10
#: Longest category and longest comment, in characters.
MAX_CATEGORY = 100
MAX_COMMENT = 2000
#: How long scores are kept: longer than their query's record, because learning looks back further.
KEPT = timedelta(days=90)
#: Age at which a score that Langfuse has not accepted is no longer sent. It stays in Redis.
SENT_WITHIN = timedelta(days=2)
#: Shortest and longest pause before a score is sent again, in seconds.
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 3600.0
#: Most scores that one ``send_scores`` sends.
_AT_ONCE = 100
#: Seconds between two calls of ``send_scores`` in ``keep_sending``.
_PAUSE = 2.0

Verdict = Literal["arrived", "again", "refused"]
Value = StrictBool | StrictInt | StrictFloat | StrictStr


class Score(Model):
    """One score of one query's answer. A second score with the same query and name replaces the first."""

    query_id: str
    name: Slug = RATING
    #: A number from 1 to 10, a boolean, or a category.
    value: Value
    comment: str = ""
    #: The name of the asker who gave it; empty where that is not known.
    by: str = ""
    flow: str = ""
    #: When the first score of this name was given; a correction keeps this time.
    at: AwareDatetime

    @property
    def score_id(self) -> str:
        """The score's id in Langfuse, made from query and name, so that a repetition is no second score."""
        return hashlib.sha256(f"{self.query_id}|{self.name}".encode()).hexdigest()[:32]

    @property
    def shown_value(self) -> str:
        """The value as a person writes it: ``8``, ``true``, ``helpful``."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return self.value if isinstance(self.value, str) else f"{self.value:g}"

    @property
    def kind(self) -> Literal["NUMERIC", "BOOLEAN", "CATEGORICAL"]:
        """Langfuse's name for the type of the value."""
        if isinstance(self.value, bool):
            return "BOOLEAN"
        return "CATEGORICAL" if isinstance(self.value, str) else "NUMERIC"


def read_value(text: str) -> bool | float | str:
    """Return the value that a person typed: a boolean for ``true`` and ``false``, else a number, else a category."""
    if text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text.strip()


def check(value: bool | float | str, *, name: str = RATING, comment: str = "") -> None:
    """Raise InvalidScore where value, name or comment is not acceptable."""
    if not isinstance(value, str | int | float):
        raise InvalidScore("value", "it is a number, a boolean or a category")
    if isinstance(value, str):
        if not 0 < len(value.strip()) <= MAX_CATEGORY:
            raise InvalidScore("value", f"a category has 1 to {MAX_CATEGORY} characters")
        if fault := fault_in(value):
            raise InvalidScore("value", fault)
    elif not isinstance(value, bool) and not LOWEST <= value <= HIGHEST:
        raise InvalidScore("value", f"a number is from {LOWEST} to {HIGHEST}")
    if len(comment) > MAX_COMMENT:
        raise InvalidScore("comment", f"it has {len(comment)} characters, at most {MAX_COMMENT} are kept")
    if fault := fault_in(comment):
        raise InvalidScore("comment", fault)
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
    asker: Asker | None = None,
) -> Score:
    """Store a score and return it. A process that has Langfuse's keys sends it later. A repetition changes nothing.

    Raises InvalidScore; UnknownQuery where there is no such query, or where it is another asker's;
    BrokerUnavailable.
    """
    check(value, name=name, comment=comment)
    stored = json.dumps({"value": value, "comment": comment, "by": asker.name if asker else ""}, ensure_ascii=False)
    tenths = "" if isinstance(value, bool | str) else str(round(value * 10))
    reply = await scripts.score(
        batch,
        id=query_id,
        owner=asker.owner if asker else "",
        asker=asker.named if asker else "",
        name=name,
        score=stored,
        tenths=tenths,
        ttl=int(KEPT.total_seconds()),
        patience=int(SENT_WITHIN.total_seconds()),
    )
    match reply:
        case scripts.ScoreUnknown():
            raise UnknownQuery(query_id)
        case scripts.ScoreKept():
            if name == RATING:
                await keep_rating(batch, query_id, value, asker=asker)
            return _read(query_id, name, reply.score)
        case _:
            assert_never(reply)


async def scores_of(batch: Batch, query_ids: Sequence[str]) -> dict[str, list[Score]]:
    """Return the scores of each query, by query id; without damaged ones. Raises BrokerUnavailable."""
    return dict(zip(query_ids, await asyncio.gather(*(_scores(batch, each) for each in query_ids)), strict=True))


async def _scores(batch: Batch, query_id: str) -> list[Score]:
    found: list[Score] = []
    with passing_over("scores of query", query_id):
        for name, stored in sorted((await batch.call("HGETALL", wire.scores_key(query_id))).items()):
            with passing_over("a score of query", query_id):
                found.append(_read(query_id, name, stored))
    return found


async def send_scores(batch: Batch, settings: Settings) -> int:
    """Send the due scores to Langfuse. Returns how many it accepted; 0 without Langfuse's keys.

    Several processes may run this at once: a score that is sent twice is one score in Langfuse.
    Raises BrokerUnavailable.
    """
    login = settings.langfuse_login
    if login is None:
        return 0
    now = (await broker_now(batch)).timestamp() * 1000
    due = await batch.call("ZRANGEBYSCORE", wire.UNSENT_SCORES, "-inf", int(now), "LIMIT", 0, _AT_ONCE)
    if not due:
        return 0
    # Imported here: aiohttp takes 9 MB, and processes that only give or read scores do not need it.
    import aiohttp

    from agentic_flywheel.proxies import proxy_to

    # Postpone the scores before sending them, so that other processes do not send them too.
    claimed = [part for member in due for part in (int(now + _FIRST_WAIT * 1000), member)]
    await batch.call("ZADD", wire.UNSENT_SCORES, "XX", *claimed)
    address, public, secret = login
    async with aiohttp.ClientSession(
        headers={"Authorization": aiohttp.encode_basic_auth(public, secret)},
        timeout=aiohttp.ClientTimeout(total=5),
        proxy=proxy_to(address),
    ) as session:

        async def post(score: Score) -> Verdict:
            return await _post(session, f"{address}/api/public/scores", settings.langfuse_environment, score)

        return sum([await _send_alone(batch, member, post) for member in due])


async def keep_sending(batch: Batch, settings: Settings) -> None:
    """Call ``send_scores`` every ``_PAUSE`` seconds until cancelled. Raises BrokerUnavailable."""
    while True:
        await send_scores(batch, settings)
        await asyncio.sleep(_PAUSE)


async def _send_alone(batch: Batch, member: str, post: Callable[[Score], Awaitable[Verdict]]) -> bool:
    """Send one score. One that cannot be read, such as another program's, must not keep the others from being sent."""
    try:
        return await _send(batch, member, post)
    except (BrokerRefused, RecordUnreadable) as unreadable:
        logger.error("the score %r cannot be read, and is not sent: %s", member, unreadable)
        await batch.call("ZREM", wire.UNSENT_SCORES, member)
        return False


async def _send(batch: Batch, member: str, post: Callable[[Score], Awaitable[Verdict]]) -> bool:
    """Send one score, and remove it from the unsent ones unless it is to be sent again. Return whether it arrived."""
    query_id, _, name = member.partition("\n")
    stored = await batch.call("HGET", wire.scores_key(query_id), name)
    verdict: Verdict = "refused"
    if stored:
        score = _read(query_id, name, stored)
        verdict = await post(score)
        if verdict == "again" and (wait := next_wait((now := await broker_now(batch)) - score.at)):
            await batch.call("ZADD", wire.UNSENT_SCORES, "XX", int((now.timestamp() + wait) * 1000), member)
            return False
        if verdict != "arrived":
            logger.warning("a score of query %s is kept here only: Langfuse did not take it", query_id)
        if await batch.call("HGET", wire.scores_key(query_id), name) != stored:
            return False  # corrected while it was sent: the correction stays in the list
    await batch.call("ZREM", wire.UNSENT_SCORES, member)
    return verdict == "arrived"


def next_wait(age: timedelta) -> float | None:
    """Return the seconds to wait before a score of this age is sent again; None where it is given up."""
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
        # Langfuse treats two scores with the same id and time as one.
        "timestamp": score.at.isoformat(),
        "environment": environment,
    }
    try:
        async with session.post(url, json=body) as answer:
            if answer.status < 300:
                return "arrived"
            # All but a refused body is tried again: after a person corrects a wrong key, the score should arrive.
            return "refused" if answer.status in (400, 413, 422) else "again"
    except (aiohttp.ClientError, TimeoutError, OSError):
        return "again"


def _read(query_id: str, name: str, stored: str) -> Score:
    """Return a score that is stored. Raises RecordUnreadable."""
    with reading("a score of query", query_id):
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
