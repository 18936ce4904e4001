"""The public face of the package: submit questions, wait for answers, watch them come, cancel and rate them."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self, Unpack

from agentic_flywheel.access.limits import OwnLimits
from agentic_flywheel.asker import LOCAL
from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.records import load_record, readable_records, recent_queries
from agentic_flywheel.broker.scores import RATING, Score, give_score
from agentic_flywheel.broker.sessions import Session, load_session, recent_turns
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.given import asker_of
from agentic_flywheel.models import Answer, Event, Query, Record, State, Turn
from agentic_flywheel.settings import Settings
from agentic_flywheel.stops import Decision
from producer import controlling, deciding, submitting, waiting
from producer.connections import SUBMIT_PATIENCE, Caller, Connections
from producer.fields import QueryFields
from producer.submitting import Submission

if TYPE_CHECKING:
    from agentic_flywheel.profiles import ProfileWatch

#: Seconds in which a broker that was started anew has to be reached again: the first call finds the old connection cut.
_RECONNECTED = 1.0


class AsyncProducer:
    """Submits and follows the queries of one owner, or of one of its users.

    Use it as an async context manager, from one event loop.

    Every method that talks to the broker raises BrokerUnavailable when it gives no answer (whether the call was carried
    out is not known then), BrokerRefused when a person must act first, ProducerClosed after ``close``, and LoopInUse
    while another event loop uses this producer. A forked child connects anew. All errors are classes of
    ``agentic_flywheel.errors``; their ``recovery_suggestions`` say what to do next, and ``retry_after`` when to try
    again, in seconds.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        owner: str = LOCAL,
        user: str | None = None,
        client: str = "python",
        patience: float = 0.0,
    ) -> None:
        """Take the settings, or those of the environment and of a stack that runs here. Nothing is connected yet.

        ``owner`` is whose queries these are: only that owner finds them again. ``user``: for whom the owner asks. With
        one, only what is that user's is found; without one, queries of all the owner's users, and sessions of none.
        ``client`` names the calling program in records and traces. ``patience``: seconds for which a submission is
        repeated that the broker did not answer; a broker that was never reached fails it at once. Raises
        InvalidSetting, InvalidQuery.
        """
        asker = asker_of(owner, user)
        self._shared = Connections(settings)
        self._caller = Caller(self._shared, asker, client, patience)
        self.settings = self._shared.settings
        self.asker, self.owner = asker, owner

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Queries under way go on; whoever waits for one here gets ProducerClosed.

        Closing twice does nothing.
        """
        await self._shared.close()

    def acting_for(
        self, owner: str, user: str | None = None, *, limits: OwnLimits | None = None, client: str | None = None
    ) -> Self:
        """Return a producer for another owner, or user, over the same connections. Close the first one only.

        ``limits``: those of the owner's token, which replace the settings'. ``client``: the calling program, if it is
        another one. Raises InvalidQuery.
        """
        twin = copy.copy(self)
        twin.asker, twin.owner = asker_of(owner, user), owner
        twin._caller = replace(self._caller, asker=twin.asker, own=limits, client=client or self._caller.client)
        return twin

    @property
    def batch(self) -> Batch:
        """Plain calls to the broker, over this producer's connection. Raises ProducerClosed, LoopInUse."""
        return self._shared.batch

    @property
    def profiles(self) -> ProfileWatch:
        """The domain profiles that are kept here; changed files are noticed."""
        return self._shared.profiles

    @property
    def catalog(self) -> Catalog:
        """The flow registry in force; a changed file is noticed.

        Raises InvalidRegistry if it is faulty from the start; a faulty change leaves the former one in force.
        """
        return self._shared.catalog

    async def submit(
        self, question: str | Query = "", *, idempotency_key: str | None = None, **fields: Unpack[QueryFields]
    ) -> Submission:
        """Accept a question into the queue and return its id, without waiting for the answer.

        ``fields`` are those of ``Query``, checked as it checks them; ``timeout`` (seconds, or a timedelta) may stand
        for ``deadline``. Of a ``Query``, they replace its own. A ``form`` stands in place of the question, and is
        checked against the registry. What is accepted is not lost any more.

        ``idempotency_key``, of 1 to 200 visible characters, names the submission: the same fields under the same key of
        the same user are the same query, and the submission that was accepted is returned, with its answer if that is
        there. Only ``deadline``, ``timeout`` and ``client`` may differ. A key lives as long as the query's record:
        FLYWHEEL_RESULT_TTL after its end, an hour where the cache answered at once. A query that failed or was
        cancelled keeps its key: ask again under a new one.

        Raises InvalidQuery, IdempotencyConflict where the key stands for other fields, UnknownFlow, UnknownDomain,
        UnknownProfile, InvalidProfile, InvalidRegistry, QueueFull, OwnerLimitReached, EarlierTurnAsks where an earlier
        turn of the session waits for a person, DeadlineExceeded where its deadline has passed already, BrokerRefused:
        then nothing was accepted. After BrokerUnavailable it may
        have been accepted, where the broker took the question and its reply was lost: repeat it with its key.
        """
        query = submitting.query_from(self._caller, question, fields)
        name = submitting.name_for(self._caller, query, idempotency_key)
        return await submitting.put(self._caller, name, query)

    async def submit_many(
        self,
        questions: Iterable[str | Query],
        *,
        idempotency_keys: Iterable[str | None] | None = None,
        limit_wait: float = SUBMIT_PATIENCE,
        **fields: Unpack[QueryFields],
    ) -> list[Submission | FlywheelError]:
        """Submit many questions at once, all with the same ``fields``. Raises nothing that ``submit`` raises.

        The list has the order of the questions; in the place of one that was refused stands its error. What a broker
        that was reached did not answer is repeated for 20 s, under the same id, so that nothing is accepted twice. What
        is beyond a limit of the owner is submitted again when there is room, for ``limit_wait`` seconds; what cannot
        have room within them is refused at once.
        ``idempotency_keys``: one key, or None, for each question. Raises InvalidQuery where their number is another.
        """
        return await submitting.put_many(self._caller, questions, idempotency_keys, fields, limit_wait=limit_wait)

    async def ask(
        self,
        question: str | Query = "",
        *,
        wait: float | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[QueryFields],
    ) -> Answer:
        """Submit a question and return its answer; wait for it for ``wait`` seconds, or as long as it takes.

        An answer of the kind ``clarify`` offers ``choices`` instead: ask again with one of their flows. The query goes
        on when the wait is over, or when this call is cancelled. ``wait`` counts from the call; a submission has three
        seconds at least. ``idempotency_key``: see ``submit``.

        Raises what ``submit`` raises and what ``wait`` raises.
        """
        return await waiting.ask(self._caller, question, fields, wait, idempotency_key)

    async def wait(self, query_id: str, timeout: float | None = None) -> Answer:
        """Return a query's answer as soon as it is there; also later, for as long as its result is kept.

        Raises the error that the query ended with, such as FlowFailed or DeadlineExceeded; InputRequired as soon as its
        flow asks a person; WaitTimeout after ``timeout`` seconds (the query goes on); UnknownQuery; BrokerUnavailable
        after a minute of its absence, QueryLost where it comes back without the query, QueryRemoved where the record is
        removed meanwhile.
        """
        return await waiting.wait(self._caller, query_id, timeout)

    def stream(self, query_id: str, *, after: str = "-") -> AsyncGenerator[Event, None]:
        """Yield a query's events, those of the past first, then as they come, up to the one of the kind ``final``.

        After ``input_required`` nothing comes until a person has decided.

        ``after`` is the ``id`` of an event: a reader that was cut off goes on behind it, also after the query's end.
        Raises, at the first step of the iteration, UnknownQuery, BrokerUnavailable, and InvalidQuery where ``after`` is
        none; QueryLost and QueryRemoved as ``wait`` does.
        """
        return waiting.stream(self._caller, query_id, after)

    async def status(self, query_id: str) -> Record:
        """Return all that is known of a query: state, route, answer or error, and when what happened.

        Raises UnknownQuery (also where the query is another asker's), BrokerUnavailable.
        """
        return await load_record(self.batch, query_id, asker=self.asker, patience=_RECONNECTED)

    async def recent(self, *, limit: int = 20) -> list[Record]:
        """Return this asker's latest queries, ``limit`` at most, the newest first. Raises BrokerUnavailable."""
        return await recent_queries(self.batch, self.asker, limit=limit)

    async def records(self, query_ids: Sequence[str]) -> list[Record | None]:
        """Return the records of these queries in their order; None for those that this asker does not have.

        None for a damaged one, too. Raises BrokerUnavailable.
        """
        return await readable_records(self.batch, query_ids, asker=self.asker)

    async def cancel(
        self, query_id: str | None = None, *, session_id: str | None = None, everything: bool = False
    ) -> dict[str, State]:
        """Cancel one query, those of a session, or all of this asker's; the first of these that is given counts.

        A flow that is being called is cut off; what waits never starts. Returns the state that each query was in
        before. One that had ended stays as it was, and its state is ``terminal``.

        Raises UnknownQuery, UnknownSession, BrokerUnavailable.
        """
        if query_id is not None:
            return await controlling.cancel_query(self._caller, query_id)
        if session_id is not None:
            return await controlling.cancel_session(self._caller, session_id)
        return await controlling.cancel_everything(self._caller) if everything else {}

    async def resume(
        self, query_id: str, decision: Decision, *, feedback: str | None = None, stop: int | None = None
    ) -> int:
        """Have a query whose flow has stopped go on with a person's decision, ``proceed`` or ``reject``.

        ``feedback``: what the person says to the flow, at most 8,000 characters. ``stop``: the number of the stop that
        is meant, as ``status`` tells it; needed once the query has asked for more than one decision. The query goes on
        under the same id, and may stop again. Returns the number of the stop. The same decision twice is one.

        Raises AlreadyDecided where another decision was taken before, NothingToDecide, UnknownQuery (also where the
        query is another asker's), InvalidQuery, BrokerUnavailable: then it may have been taken, and can be repeated.
        """
        return await deciding.resume(self._caller, query_id, decision, feedback, stop)

    async def waiting(self, *, limit: int = 100) -> list[Record]:
        """Return this asker's queries that wait for a person, ``limit`` at most; those that expire first come first.

        Their ``stops`` say what is asked. Raises BrokerUnavailable.
        """
        return await deciding.waiting(self._caller, limit)

    async def reroute(self, query_id: str, flow: str, *, idempotency_key: str | None = None) -> Submission:
        """Ask a query's question again of the flow that it should have gone to, and keep that for learning.

        The new query has every field of the old one but its deadline; its ``metadata["reroute_of"]`` names it.
        ``idempotency_key``: as for ``submit``.

        Raises UnknownQuery, UnknownFlow, InvalidQuery where it went to that very flow, and what ``submit`` raises.
        """
        return await controlling.reroute(self._caller, query_id, flow, idempotency_key)

    async def score(self, query_id: str, value: bool | float | str, *, name: str = RATING, comment: str = "") -> Score:
        """Keep how good an answer was: a number from 1 to 10, true or false, or a category.

        The score ``name`` of a query exists once: giving it again corrects it. Workers send it to Langfuse.

        Raises InvalidScore, UnknownQuery, BrokerUnavailable.
        """
        return await give_score(self.batch, query_id, value, name=name, comment=comment, asker=self.asker)

    async def history(self, session_id: str, *, limit: int = 50) -> list[Turn]:
        """Return the last ``limit`` turns of a session, the oldest first. Raises UnknownSession, BrokerUnavailable."""
        await load_session(self.batch, session_id, asker=self.asker)
        return await recent_turns(self.batch, session_id, limit, asker=self.asker)

    async def use_profile(self, session_id: str, profile: str | None) -> Session:
        """Let a session carry a domain profile from now on, or none; a session that does not exist yet begins.

        Raises InvalidQuery, UnknownProfile, InvalidProfile, BrokerUnavailable.
        """
        return await controlling.use_profile(self._caller, session_id, profile)
