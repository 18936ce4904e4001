"""Python's side of the scripts, made by ``generate.py`` from their heads. Change those, and run it again.

Each function runs one script and returns what it replied, a closed type. All raise BrokerUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentic_flywheel.broker.batch import Batch
from agentic_flywheel.broker.declaration import Replied, Script, UndeclaredReply


class AdoptAdopted(Replied):
    """The caller goes on with it."""

    __slots__ = ()


class AdoptWaits(Replied):
    """It waits: for an earlier turn of its session, or until it is due."""

    __slots__ = ()


class AdoptOver(Replied):
    """Its deadline had passed before; it has ended as expired."""

    __slots__ = ()


class AdoptExists(Replied):
    """This id was accepted before."""

    __slots__ = ()


class AdoptAsks(Replied):
    """Recorded, but the turn before, this query, waits for a person: the caller ends it."""

    __slots__ = ("query_id",)

    def __init__(self, query_id: str) -> None:
        self.query_id = query_id


class AdoptLimited(Replied):
    """Recorded, but beyond a limit: the caller ends it."""

    __slots__ = (
        "most",
        "name",
        "value",
        "wait_ms",
    )

    def __init__(self, name: str, most: int, value: int, wait_ms: int) -> None:
        self.name, self.most, self.value, self.wait_ms = name, most, value, wait_ms


AdoptReply = AdoptAdopted | AdoptWaits | AdoptOver | AdoptExists | AdoptAsks | AdoptLimited

_ADOPT = Script("adopt")


async def adopt(
    batch: Batch,
    *,
    id: str,
    owner: str,
    asker: str,
    query: str,
    place: str,
    minute_most: int,
    open_most: int,
    bytes_most: int,
    day_most: int,
    weight: int,
    deadline: str,
    due: str,
    continuation: str,
    ttl: int,
    priority: str,
    session: str,
    life: str,
    session_ttl: int,
    turns: int,
) -> AdoptReply:
    """Record a query that a plain Celery client sent to `flywheel.classify`, so that it is one like any other.

    ``asker``: owner and user; '' where no user is named.
    ``query``: the query as JSON.
    ``place``: where it comes back when its turn in its session comes.
    ``minute_most``: queries of the owner within a minute; 0 for no limit, as for the next three.
    ``open_most``: queries of the owner under way.
    ``bytes_most``: bytes of them.
    ``day_most``: calls of flows for the owner in a day.
    ``weight``: turns of the owner for each of another one's.
    ``deadline``: milliseconds since 1970, '' for none.
    ``due``: milliseconds since 1970 before which it does not go on; '' for at once.
    ``continuation``: the place of the message that carries on after its end; '' where nothing follows.
    ``ttl``: seconds that record, events and result are kept after the end.
    ``session``: its name; '' for none.
    ``life``: random, for a session that begins.
    ``session_ttl``: seconds.
    ``turns``: most turns that a session keeps.
    """
    reply = await batch.run(
        _ADOPT,
        id,
        owner,
        asker,
        query,
        place,
        minute_most,
        open_most,
        bytes_most,
        day_most,
        weight,
        deadline,
        due,
        continuation,
        ttl,
        priority,
        session,
        life,
        session_ttl,
        turns,
    )
    match reply:
        case ["adopted"]:
            return AdoptAdopted()
        case ["waits"]:
            return AdoptWaits()
        case ["over"]:
            return AdoptOver()
        case ["exists"]:
            return AdoptExists()
        case ["asks", query_id]:
            return AdoptAsks(query_id)
        case ["limited", name, most, value, wait_ms]:
            return AdoptLimited(name, int(most), int(value), int(wait_ms))
        case _:
            raise UndeclaredReply("adopt", reply)


class AnnounceAnnounced(Replied):
    """``announce`` replied ``announced``."""

    __slots__ = ()


AnnounceReply = AnnounceAnnounced

_ANNOUNCE = Script("announce")


async def announce(batch: Batch, *, worker: str, kept_ms: int, names: Sequence[str]) -> AnnounceReply:
    """Say what a worker's registry has, for the others. It is forgotten unless it is said again.

    ``kept_ms``: for how long it is known.
    ``names``: `flow`, `domain`, `intent` or `profile` before each name.
    """
    reply = await batch.run(_ANNOUNCE, worker, kept_ms, len(names), *names)
    match reply:
        case ["announced"]:
            return AnnounceAnnounced()
        case _:
            raise UndeclaredReply("announce", reply)


class AttachAttached(Replied):
    """``attach`` replied ``attached``."""

    __slots__ = ()


class AttachAgain(Replied):
    """The leader has ended meanwhile: begin again."""

    __slots__ = ()


class AttachGone(Replied):
    """The query has ended, or asks a person."""

    __slots__ = ()


AttachReply = AttachAttached | AttachAgain | AttachGone

_ATTACH = Script("attach")


async def attach(batch: Batch, *, id: str, part: str, flow: str, lease: str, place: str) -> AttachReply:
    """Wait for an identical call under way instead of making a second one.

    ``place``: where it comes back.
    """
    reply = await batch.run(_ATTACH, id, part, flow, lease, place)
    match reply:
        case ["attached"]:
            return AttachAttached()
        case ["again"]:
            return AttachAgain()
        case ["gone"]:
            return AttachGone()
        case _:
            raise UndeclaredReply("attach", reply)


class BeginRun(Replied):
    """Call the flow."""

    __slots__ = (
        "about",
        "attempts",
        "decided",
        "fence",
        "lease",
        "previous",
    )

    def __init__(
        self, about: tuple[str, ...], fence: str, attempts: int, previous: tuple[str, ...], lease: str, decided: str
    ) -> None:
        self.about, self.fence, self.attempts, self.previous, self.lease, self.decided = (
            about,
            fence,
            attempts,
            previous,
            lease,
            decided,
        )


class BeginHit(Replied):
    """The stored answer."""

    __slots__ = (
        "about",
        "answer",
    )

    def __init__(self, about: tuple[str, ...], answer: str) -> None:
        self.about, self.answer = about, answer


class BeginStale(Replied):
    """Serve this; fence '0', or that of its renewal."""

    __slots__ = (
        "about",
        "answer",
        "fence",
    )

    def __init__(self, about: tuple[str, ...], answer: str, fence: str) -> None:
        self.about, self.answer, self.fence = about, answer, fence


class BeginFailed(Replied):
    """The stored failure: JSON, and Celery's form."""

    __slots__ = (
        "about",
        "error",
        "failure",
    )

    def __init__(self, about: tuple[str, ...], error: str, failure: str) -> None:
        self.about, self.error, self.failure = about, error, failure


class BeginGaveUp(Replied):
    """Its call failed for a query that this one had joined."""

    __slots__ = (
        "about",
        "error",
        "failure",
    )

    def __init__(self, about: tuple[str, ...], error: str, failure: str) -> None:
        self.about, self.error, self.failure = about, error, failure


class BeginFallback(Replied):
    """This flow is the fallback of that one."""

    __slots__ = ("asked",)

    def __init__(self, asked: str) -> None:
        self.asked = asked


class BeginSpent(Replied):
    """Its owner's calls of today are used up."""

    __slots__ = (
        "about",
        "most",
        "owner",
        "value",
        "wait_ms",
    )

    def __init__(self, about: tuple[str, ...], owner: str, most: int, value: int, wait_ms: int) -> None:
        self.about, self.owner, self.most, self.value, self.wait_ms = about, owner, most, value, wait_ms


class BeginExhausted(Replied):
    """Begun too often: its message ends whoever takes it."""

    __slots__ = (
        "about",
        "attempts",
    )

    def __init__(self, about: tuple[str, ...], attempts: int) -> None:
        self.about, self.attempts = about, attempts


class BeginAttach(Replied):
    """An identical call is under way."""

    __slots__ = ("leader",)

    def __init__(self, leader: str) -> None:
        self.leader = leader


class BeginBusy(Replied):
    """Another delivery of this message has the lease, or."""

    __slots__ = ("wait_ms",)

    def __init__(self, wait_ms: int) -> None:
        self.wait_ms = wait_ms


class BeginPark(Replied):
    """The flow may not be called now; 1 after a decision."""

    __slots__ = (
        "decided",
        "reason",
        "wait_ms",
    )

    def __init__(self, reason: str, wait_ms: int, decided: int) -> None:
        self.reason, self.wait_ms, self.decided = reason, wait_ms, decided


class BeginGone(Replied):
    """The query, or this part of it, has ended or asks a person."""

    __slots__ = ()


BeginReply = (
    BeginRun
    | BeginHit
    | BeginStale
    | BeginFailed
    | BeginGaveUp
    | BeginFallback
    | BeginSpent
    | BeginExhausted
    | BeginAttach
    | BeginBusy
    | BeginPark
    | BeginGone
)

_BEGIN = Script("begin")


async def begin(
    batch: Batch,
    *,
    id: str,
    part: str,
    flow: str,
    domain: str,
    cache_key: str,
    lease: str,
    lease_ms: int,
    policy: str,
    stale_ms: int,
    concurrency: int,
    rate: float,
    server: str,
    at_once: int,
    attempts_max: int,
    asked: str,
) -> BeginReply:
    """May this execution call its flow now? Cache, identical calls under way, admission, in that order.

    ``part``: '' for the whole query.
    ``cache_key``: '' where nothing is cached.
    ``lease``: what identical executions share.
    ``policy``: use, refresh or bypass the cache.
    ``stale_ms``: for how long an expired answer may be served while it is renewed.
    ``concurrency``: calls of the flow at once.
    ``rate``: calls of the flow a second; 0 for no limit.
    ``server``: where the flow is.
    ``at_once``: calls of that server at once, of all its flows.
    ``asked``: the flow that was asked, where this one is known to be its fallback; else ''.
    """
    reply = await batch.run(
        _BEGIN,
        id,
        part,
        flow,
        domain,
        cache_key,
        lease,
        lease_ms,
        policy,
        stale_ms,
        concurrency,
        rate,
        server,
        at_once,
        attempts_max,
        asked,
    )
    match reply:
        case ["run", about, fence, attempts, previous, lease, decided]:
            return BeginRun(tuple(about), fence, int(attempts), tuple(previous), lease, decided)
        case ["hit", about, answer]:
            return BeginHit(tuple(about), answer)
        case ["stale", about, answer, fence]:
            return BeginStale(tuple(about), answer, fence)
        case ["failed", about, error, failure]:
            return BeginFailed(tuple(about), error, failure)
        case ["gave_up", about, error, failure]:
            return BeginGaveUp(tuple(about), error, failure)
        case ["fallback", asked]:
            return BeginFallback(asked)
        case ["spent", about, owner, most, value, wait_ms]:
            return BeginSpent(tuple(about), owner, int(most), int(value), int(wait_ms))
        case ["exhausted", about, attempts]:
            return BeginExhausted(tuple(about), int(attempts))
        case ["attach", leader]:
            return BeginAttach(leader)
        case ["busy", wait_ms]:
            return BeginBusy(int(wait_ms))
        case ["park", reason, wait_ms, decided]:
            return BeginPark(reason, int(wait_ms), int(decided))
        case ["gone"]:
            return BeginGone()
        case _:
            raise UndeclaredReply("begin", reply)


class BeginSessionThere(Replied):
    """``begin_session`` replied ``there``."""

    __slots__ = ()


BeginSessionReply = BeginSessionThere

_BEGIN_SESSION = Script("begin_session")


async def begin_session(batch: Batch, *, session: str, asker: str, life: str, ttl: int) -> BeginSessionReply:
    """Begin a session where there is none.

    ``asker``: owner and user.
    ``life``: random; its own where it begins now.
    ``ttl``: seconds.
    """
    reply = await batch.run(_BEGIN_SESSION, session, asker, life, ttl)
    match reply:
        case ["there"]:
            return BeginSessionThere()
        case _:
            raise UndeclaredReply("begin_session", reply)


class CancelCancelled(Replied):
    """The state of each before, 'unknown' where it is not the asker's."""

    __slots__ = ("states",)

    def __init__(self, states: tuple[str, ...]) -> None:
        self.states = states


CancelReply = CancelCancelled

_CANCEL = Script("cancel")


async def cancel(batch: Batch, *, owner: str, asker: str, reason: str, ids: Sequence[str]) -> CancelReply:
    """Cancel queries. What runs is cut unless others wait for the same answer; what waits never starts. The ids go
    on a list, from which a worker takes each once to trace it: only workers know the steps of a query.

    ``owner``: '' for any.
    ``asker``: owner and user; '' where no user is named.
    """
    reply = await batch.run(_CANCEL, owner, asker, reason, len(ids), *ids)
    match reply:
        case ["cancelled", states]:
            return CancelCancelled(tuple(states))
        case _:
            raise UndeclaredReply("cancel", reply)


class ComeBackWaits(Replied):
    """``come_back`` replied ``waits``."""

    __slots__ = ()


class ComeBackGone(Replied):
    """The query has ended, or asks a person."""

    __slots__ = ()


ComeBackReply = ComeBackWaits | ComeBackGone

_COME_BACK = Script("come_back")


async def come_back(batch: Batch, *, id: str, part: str, queue: str, place: str, delay_ms: int) -> ComeBackReply:
    """Deliver an execution's message once more after a pause: another delivery of it runs, or its lease is
    another's now.

    ``queue``: base queue in whose delayed set it waits.
    ``place``: where it comes back.
    """
    reply = await batch.run(_COME_BACK, id, part, queue, place, delay_ms)
    match reply:
        case ["waits"]:
            return ComeBackWaits()
        case ["gone"]:
            return ComeBackGone()
        case _:
            raise UndeclaredReply("come_back", reply)


class DeferDeferred(Replied):
    """``defer`` replied ``deferred``."""

    __slots__ = ()


class DeferLate(Replied):
    """Another execution has the lease now: nothing was put off."""

    __slots__ = ()


class DeferGone(Replied):
    """The query has ended, or asks a person."""

    __slots__ = ()


DeferReply = DeferDeferred | DeferLate | DeferGone

_DEFER = Script("defer")


async def defer(
    batch: Batch,
    *,
    id: str,
    part: str,
    fence: str,
    lease: str,
    flow: str,
    queue: str,
    place: str,
    delay_ms: int,
    event: str,
    throttled_ms: int,
    server: str,
    at_once: int,
    heard: str,
    counted: bool,
) -> DeferReply:
    """Give up an execution's lease and put the execution off: its call failed in a way that may pass.

    ``queue``: base queue in whose delayed set it waits.
    ``place``: where it comes back.
    ``event``: what readers of the stream are told, as JSON.
    ``throttled_ms``: for how long the flow asked not to be called.
    ``server``: where the flow is.
    ``at_once``: calls of that server at once, of all its flows.
    ``heard``: what the call says of its server: up, down, or '' for nothing.
    ``counted``: whether the attempt is used up; one that is not has not reached its flow.
    """
    reply = await batch.run(
        _DEFER,
        id,
        part,
        fence,
        lease,
        flow,
        queue,
        place,
        delay_ms,
        event,
        throttled_ms,
        server,
        at_once,
        heard,
        int(counted),
    )
    match reply:
        case ["deferred"]:
            return DeferDeferred()
        case ["late"]:
            return DeferLate()
        case ["gone"]:
            return DeferGone()
        case _:
            raise UndeclaredReply("defer", reply)


class ExamineExamined(Replied):
    """``examine`` replied ``examined``."""

    __slots__ = (
        "expired",
        "faults",
        "flows",
        "ids",
        "looked",
        "movers",
        "parts",
        "stages",
        "unread",
        "versions",
    )

    def __init__(
        self,
        looked: int,
        ids: tuple[str, ...],
        parts: tuple[str, ...],
        movers: tuple[str, ...],
        flows: tuple[str, ...],
        stages: tuple[str, ...],
        versions: tuple[str, ...],
        expired: tuple[str, ...],
        unread: tuple[str, ...],
        faults: tuple[str, ...],
    ) -> None:
        (
            self.looked,
            self.ids,
            self.parts,
            self.movers,
            self.flows,
            self.stages,
            self.versions,
            self.expired,
            self.unread,
            self.faults,
        ) = looked, ids, parts, movers, flows, stages, versions, expired, unread, faults


class ExamineSettling(Replied):
    """The server has just started."""

    __slots__ = ()


ExamineReply = ExamineExamined | ExamineSettling

_EXAMINE = Script("examine")


async def examine(
    batch: Batch, *, limit: int, confirm_ms: int, longest_ms: int, age_ms: int, patience_ms: int, settle_ms: int
) -> ExamineReply:
    """Look at open queries whose time to be looked at has come: does what their records name as their mover exist?
    What seems lost is looked at again after `confirm_ms`; only if the same mover is still lost is it reported.

    ``limit``: most queries in one look.
    ``confirm_ms``: between the two looks that find an execution lost.
    ``longest_ms``: the longest pause between two looks.
    ``age_ms``: queries that are open for longer end as expired.
    ``patience_ms``: for how long what a later version has recorded may be lost while nobody of that version lives.
    ``settle_ms``: nothing is judged so soon after a start of the server: workers have still to come back.
    """
    reply = await batch.run(_EXAMINE, limit, confirm_ms, longest_ms, age_ms, patience_ms, settle_ms)
    match reply:
        case ["examined", looked, ids, parts, movers, flows, stages, versions, expired, unread, faults]:
            return ExamineExamined(
                int(looked),
                tuple(ids),
                tuple(parts),
                tuple(movers),
                tuple(flows),
                tuple(stages),
                tuple(versions),
                tuple(expired),
                tuple(unread),
                tuple(faults),
            )
        case ["settling"]:
            return ExamineSettling()
        case _:
            raise UndeclaredReply("examine", reply)


class FinishWon(Replied):
    """It was the first outcome; the ids of attached queries that ended by it, the others follow."""

    __slots__ = ("followers",)

    def __init__(self, followers: tuple[str, ...]) -> None:
        self.followers = followers


class FinishGone(Replied):
    """It had ended before."""

    __slots__ = ("followers",)

    def __init__(self, followers: tuple[str, ...]) -> None:
        self.followers = followers


class FinishLate(Replied):
    """Another execution has the lease now: nothing was written."""

    __slots__ = ()


FinishReply = FinishWon | FinishGone | FinishLate

_FINISH = Script("finish")


async def finish(
    batch: Batch,
    *,
    id: str,
    part: str,
    fence: str,
    lease: str,
    flow: str,
    state: str,
    answer: str,
    cached: bool,
    error: str,
    error_type: str,
    failure: str,
    cache_key: str,
    cached_value: str,
    cache_ms: int,
    stale_ms: int,
    flow_most: int,
    all_most: int,
    failure_ms: int,
    transient: bool,
    throttled_ms: int,
    server: str,
    at_once: int,
    heard: str,
    queue: str,
    letter: str,
    letter_ttl: int,
    spent: str,
    currency: str,
    worker: str,
) -> FinishReply:
    """Write the outcome of an execution once: cache, record, session turn, result, events; for it and all attached
    to it.

    ``fence``: '0' where no flow was called (a cache hit, a merged answer, a refusal): there is no lease.
    ``flow``: '' where no flow was to be asked.
    ``state``: succeeded or failed.
    ``answer``: JSON; '' where it failed.
    ``cached``: whether the answer came from the cache.
    ``error``: JSON; '' where it succeeded.
    ``error_type``: class of the error; '' where it succeeded.
    ``failure``: Celery's form of the error, JSON.
    ``cache_key``: '' where nothing is cached.
    ``cached_value``: what is stored under the key; '' where nothing is to be stored.
    ``cache_ms``: for how long.
    ``stale_ms``: the part of it in which the answer is stale.
    ``flow_most``: bytes of cached answers of the flow; 0 for no limit, as for the next.
    ``all_most``: bytes of all cached answers.
    ``failure_ms``: for how long a permanent failure is remembered; 0 for not at all.
    ``transient``: whether the failure says nothing about the question.
    ``throttled_ms``: for how long the flow asks not to be called, with its answer.
    ``server``: where the flow is.
    ``at_once``: calls of that server at once, of all its flows.
    ``heard``: what the call says of its server: up, down, or '' for nothing.
    ``queue``: whose completions are counted.
    ``letter``: the dead letter as JSON; '' for none.
    ``letter_ttl``: seconds.
    ``spent``: what the call has cost, in billionths of the currency's unit; '' where that is not known.
    ``currency``: '' where nothing is said of costs.
    ``worker``: who sends the roots of the traces; '' for one that traces nothing.
    """
    reply = await batch.run(
        _FINISH,
        id,
        part,
        fence,
        lease,
        flow,
        state,
        answer,
        int(cached),
        error,
        error_type,
        failure,
        cache_key,
        cached_value,
        cache_ms,
        stale_ms,
        flow_most,
        all_most,
        failure_ms,
        int(transient),
        throttled_ms,
        server,
        at_once,
        heard,
        queue,
        letter,
        letter_ttl,
        spent,
        currency,
        worker,
    )
    match reply:
        case ["won", followers]:
            return FinishWon(tuple(followers))
        case ["gone", followers]:
            return FinishGone(tuple(followers))
        case ["late"]:
            return FinishLate()
        case _:
            raise UndeclaredReply("finish", reply)


class HandBackWaits(Replied):
    """``hand_back`` replied ``waits``."""

    __slots__ = ()


class HandBackTaken(Replied):
    """Another worker has it by now."""

    __slots__ = ()


class HandBackUnserved(Replied):
    """Nobody of this version was there for so long: it is among the unreadable messages; 1: its query."""

    __slots__ = ("open",)

    def __init__(self, open: int) -> None:
        self.open = open


class HandBackAsks(Replied):
    """It waits for a person, so another delivery was served: the message is dropped."""

    __slots__ = ()


class HandBackUnknown(Replied):
    """There is no record: it is among the unreadable messages."""

    __slots__ = ()


HandBackReply = HandBackWaits | HandBackTaken | HandBackUnserved | HandBackAsks | HandBackUnknown

_HAND_BACK = Script("hand_back")


async def hand_back(
    batch: Batch, *, id: str, part: str, delivery: str, version: int, queue: str, place: str, patience_ms: int
) -> HandBackReply:
    """Put the message of a later version back: out of this worker's hands, unread, for a worker that can read it. A
    query that has ended may still have one, for what follows it.

    ``id``: its query.
    ``delivery``: the tag under which the worker has it.
    ``version``: what a worker must have at least.
    ``queue``: base queue in whose delayed set it waits.
    ``place``: where it comes back.
    ``patience_ms``: for how long it may wait while nobody of this version lives.
    """
    reply = await batch.run(_HAND_BACK, id, part, delivery, version, queue, place, patience_ms)
    match reply:
        case ["waits"]:
            return HandBackWaits()
        case ["taken"]:
            return HandBackTaken()
        case ["unserved", open]:
            return HandBackUnserved(int(open))
        case ["asks"]:
            return HandBackAsks()
        case ["unknown"]:
            return HandBackUnknown()
        case _:
            raise UndeclaredReply("hand_back", reply)


class HandOnWaits(Replied):
    """``hand_on`` replied ``waits``."""

    __slots__ = ()


class HandOnUnserved(Replied):
    """For so long no living worker could have served it: the caller ends it."""

    __slots__ = ()


class HandOnGone(Replied):
    """The query, or this part of it, has ended, gone on or asks a person."""

    __slots__ = ()


class HandOnUnknown(Replied):
    """There is no record."""

    __slots__ = ()


HandOnReply = HandOnWaits | HandOnUnserved | HandOnGone | HandOnUnknown

_HAND_ON = Script("hand_on")


async def hand_on(
    batch: Batch,
    *,
    id: str,
    part: str,
    flow: str,
    stage: str,
    reason: str,
    version: int,
    queue: str,
    place: str,
    patience_ms: int,
    names: Sequence[str],
) -> HandOnReply:
    """Put an execution off for another worker: this one lacks what it asks for, or its version is older.

    ``flow``: '' where it has none yet.
    ``stage``: what its message is for.
    ``reason``: registry or version.
    ``version``: what a worker must have at least.
    ``queue``: base queue in whose delayed set it waits.
    ``place``: where it comes back.
    ``patience_ms``: for how long it may wait while nobody who could serve it lives.
    ``names``: one of them a worker must have: `flow`, `domain`, `intent` or `profile`, and its name; where several.
    """
    reply = await batch.run(
        _HAND_ON, id, part, flow, stage, reason, version, queue, place, patience_ms, len(names), *names
    )
    match reply:
        case ["waits"]:
            return HandOnWaits()
        case ["unserved"]:
            return HandOnUnserved()
        case ["gone"]:
            return HandOnGone()
        case ["unknown"]:
            return HandOnUnknown()
        case _:
            raise UndeclaredReply("hand_on", reply)


class KeepAnswerKept(Replied):
    """``keep_answer`` replied ``kept``."""

    __slots__ = ()


KeepAnswerReply = KeepAnswerKept

_KEEP_ANSWER = Script("keep_answer")


async def keep_answer(batch: Batch, *, cache_key: str, value: str, cache_ms: int) -> KeepAnswerReply:
    """Cache an answer without the end of its query. The next one that ends drops what is too much.

    ``cache_ms``: for how long.
    """
    reply = await batch.run(_KEEP_ANSWER, cache_key, value, cache_ms)
    match reply:
        case ["kept"]:
            return KeepAnswerKept()
        case _:
            raise UndeclaredReply("keep_answer", reply)


class KeepBlobKept(Replied):
    """``keep_blob`` replied ``kept``."""

    __slots__ = ()


class KeepBlobFull(Replied):
    """Bytes that the files take up without this one."""

    __slots__ = ("taken",)

    def __init__(self, taken: int) -> None:
        self.taken = taken


class KeepBlobLost(Replied):
    """Its pieces have expired."""

    __slots__ = ()


KeepBlobReply = KeepBlobKept | KeepBlobFull | KeepBlobLost

_KEEP_BLOB = Script("keep_blob")


async def keep_blob(batch: Batch, *, name: str, part: str, size: int, most: int, ttl_ms: int) -> KeepBlobReply:
    """Keep a file whose pieces were written under another name, if there is room for it.

    ``name``: its asker's name and the digest of what is in it.
    ``part``: the name under which its pieces were written.
    ``size``: bytes that it takes up; 0 where it is in the folder.
    ``most``: bytes that all files may take up together.
    """
    reply = await batch.run(_KEEP_BLOB, name, part, size, most, ttl_ms)
    match reply:
        case ["kept"]:
            return KeepBlobKept()
        case ["full", taken]:
            return KeepBlobFull(int(taken))
        case ["lost"]:
            return KeepBlobLost()
        case _:
            raise UndeclaredReply("keep_blob", reply)


class LessonKept(Replied):
    """``lesson`` replied ``kept``."""

    __slots__ = ()


class LessonUnknown(Replied):
    """It is not the asker's."""

    __slots__ = ()


class LessonPrivate(Replied):
    """Asked under a domain profile: what is learned ends in a registry that all may read."""

    __slots__ = ()


class LessonLong(Replied):
    """Too long for an example."""

    __slots__ = ()


LessonReply = LessonKept | LessonUnknown | LessonPrivate | LessonLong

_LESSON = Script("lesson")


async def lesson(
    batch: Batch, *, id: str, owner: str, asker: str, shelf: str, kind: str, told: str, most: int, ttl: int
) -> LessonReply:
    """Keep what a query taught about routing, once per query and kind: the latest word counts. The oldest give way.

    ``owner``: '' for any.
    ``asker``: owner and user; '' where no user is named.
    ``told``: what is told, a JSON object.
    ``most``: most lessons on the shelf.
    ``ttl``: seconds.
    """
    reply = await batch.run(_LESSON, id, owner, asker, shelf, kind, told, most, ttl)
    match reply:
        case ["kept"]:
            return LessonKept()
        case ["unknown"]:
            return LessonUnknown()
        case ["private"]:
            return LessonPrivate()
        case ["long"]:
            return LessonLong()
        case _:
            raise UndeclaredReply("lesson", reply)


class ParkParked(Replied):
    """``park`` replied ``parked``."""

    __slots__ = ()


class ParkGone(Replied):
    """The query has ended, or asks a person."""

    __slots__ = ()


ParkReply = ParkParked | ParkGone

_PARK = Script("park")


async def park(
    batch: Batch,
    *,
    id: str,
    part: str,
    flow: str,
    domain: str,
    reason: str,
    rank: int,
    place: str,
    concurrency: int,
    rate: float,
    server: str,
    at_once: int,
) -> ParkReply:
    """Keep a message beside its queue until the flow may be called again; put it back at once where it may be
    already.

    ``reason``: paused, rate, circuit or concurrency.
    ``rank``: of the priority, the most urgent first.
    ``place``: where it comes back.
    ``server``: where the flow is.
    ``at_once``: calls of that server at once, of all its flows.
    """
    reply = await batch.run(_PARK, id, part, flow, domain, reason, rank, place, concurrency, rate, server, at_once)
    match reply:
        case ["parked"]:
            return ParkParked()
        case ["gone"]:
            return ParkGone()
        case _:
            raise UndeclaredReply("park", reply)


class RebuildRebuilt(Replied):
    """``rebuild`` replied ``rebuilt``."""

    __slots__ = ()


class RebuildLinedUp(Replied):
    """It waits behind an earlier turn of its session again."""

    __slots__ = ()


class RebuildMoved(Replied):
    """Something, or a person, moves it by now, or it has ended."""

    __slots__ = ()


class RebuildExhausted(Replied):
    """It was rebuilt too often; the caller ends it."""

    __slots__ = ()


RebuildReply = RebuildRebuilt | RebuildLinedUp | RebuildMoved | RebuildExhausted

_REBUILD = Script("rebuild")


async def rebuild(batch: Batch, *, id: str, part: str, mover: str, place: str, most: int) -> RebuildReply:
    """Give an execution that has lost its mover another one, unless it has one by now, or was given too many. What
    is rebuilt has waited: its message goes to the end of the queue that is taken from. Its attempt is given back.

    ``mover``: what its record named when it was found lost.
    ``place``: where it comes back.
    ``most``: rebuilds of one execution.
    """
    reply = await batch.run(_REBUILD, id, part, mover, place, most)
    match reply:
        case ["rebuilt"]:
            return RebuildRebuilt()
        case ["lined_up"]:
            return RebuildLinedUp()
        case ["moved"]:
            return RebuildMoved()
        case ["exhausted"]:
            return RebuildExhausted()
        case _:
            raise UndeclaredReply("rebuild", reply)


class RecountCounted(Replied):
    """``recount`` replied ``counted``."""

    __slots__ = (
        "bytes",
        "open",
    )

    def __init__(self, open: int, bytes: int) -> None:
        self.open, self.bytes = open, bytes


RecountReply = RecountCounted

_RECOUNT = Script("recount")


async def recount(batch: Batch, *, owner: str, id: str) -> RecountReply:
    """Count anew what an owner has under way: whether one query belongs to it, and the sum of all bytes.

    ``id``: '' for the sum alone.
    """
    reply = await batch.run(_RECOUNT, owner, id)
    match reply:
        case ["counted", open, bytes]:
            return RecountCounted(int(open), int(bytes))
        case _:
            raise UndeclaredReply("recount", reply)


class ReleaseReleased(Replied):
    """``release`` replied ``released``."""

    __slots__ = ()


class ReleaseLate(Replied):
    """Another execution has the lease now."""

    __slots__ = ()


ReleaseReply = ReleaseReleased | ReleaseLate

_RELEASE = Script("release")


async def release(
    batch: Batch, *, id: str, part: str, fence: str, lease: str, flow: str, server: str, at_once: int
) -> ReleaseReply:
    """Give up an execution that its worker hands back: the next delivery may begin at once, and the attempt is not
    counted.

    ``server``: where the flow is.
    ``at_once``: calls of that server at once, of all its flows.
    """
    reply = await batch.run(_RELEASE, id, part, fence, lease, flow, server, at_once)
    match reply:
        case ["released"]:
            return ReleaseReleased()
        case ["late"]:
            return ReleaseLate()
        case _:
            raise UndeclaredReply("release", reply)


class RenewRenewed(Replied):
    """``renew`` replied ``renewed``."""

    __slots__ = (
        "faults",
        "lost",
    )

    def __init__(self, lost: tuple[str, ...], faults: tuple[str, ...]) -> None:
        self.lost, self.faults = lost, faults


RenewReply = RenewRenewed

_RENEW = Script("renew")


async def renew(
    batch: Batch,
    *,
    lease_ms: int,
    executions: Sequence[str],
    leases: Sequence[str],
    fences: Sequence[str],
    flows: Sequence[str],
    servers: Sequence[str],
) -> RenewReply:
    """Renew the leases of one worker's executions.

    ``executions``: their names.
    ``leases``: the lease of each.
    ``fences``: the fence of each.
    ``flows``: the flow of each.
    ``servers``: the server of each.
    """
    reply = await batch.run(
        _RENEW,
        lease_ms,
        len(executions),
        *executions,
        len(leases),
        *leases,
        len(fences),
        *fences,
        len(flows),
        *flows,
        len(servers),
        *servers,
    )
    match reply:
        case ["renewed", lost, faults]:
            return RenewRenewed(tuple(lost), tuple(faults))
        case _:
            raise UndeclaredReply("renew", reply)


class RerouteRerouted(Replied):
    """``reroute`` replied ``rerouted``."""

    __slots__ = ()


class RerouteLate(Replied):
    """Another execution has the lease now: nothing was sent."""

    __slots__ = ()


class RerouteGone(Replied):
    """The query has ended, or asks a person."""

    __slots__ = ()


RerouteReply = RerouteRerouted | RerouteLate | RerouteGone

_REROUTE = Script("reroute")


async def reroute(
    batch: Batch,
    *,
    id: str,
    part: str,
    fence: str,
    lease: str,
    flow: str,
    domain: str,
    transient: bool,
    server: str,
    at_once: int,
    heard: str,
    fallback: str,
    fallback_domain: str,
    place: str,
    event: str,
    error_type: str,
    gave_up: str,
) -> RerouteReply:
    """Send an execution to another flow: its own one is down, or gave up, and names a fallback.

    ``fence``: '0' where its flow was not called: there is no lease.
    ``transient``: whether the failure counts for the flow's circuit.
    ``server``: where the flow is.
    ``at_once``: calls of that server at once, of all its flows.
    ``heard``: what the call says of its server: up, down, or '' for nothing.
    ``place``: where it waits for the fallback.
    ``event``: what readers of the stream are told, as JSON.
    ``error_type``: class of the error.
    ``gave_up``: where the fallback's answer reaches fewer people: the error as JSON, and its Celery form; else ''.
    """
    reply = await batch.run(
        _REROUTE,
        id,
        part,
        fence,
        lease,
        flow,
        domain,
        int(transient),
        server,
        at_once,
        heard,
        fallback,
        fallback_domain,
        place,
        event,
        error_type,
        gave_up,
    )
    match reply:
        case ["rerouted"]:
            return RerouteRerouted()
        case ["late"]:
            return RerouteLate()
        case ["gone"]:
            return RerouteGone()
        case _:
            raise UndeclaredReply("reroute", reply)


class ResumeResumed(Replied):
    """``resume`` replied ``resumed``."""

    __slots__ = ()


class ResumeAlready(Replied):
    """This very decision was taken before."""

    __slots__ = ()


class ResumeDecided(Replied):
    """Another decision was taken before."""

    __slots__ = ("decision",)

    def __init__(self, decision: str) -> None:
        self.decision = decision


class ResumeNever(Replied):
    """It has no stop of this number, or has ended."""

    __slots__ = ()


class ResumeUnserved(Replied):
    """Workers live, and none of them knows one of these names: it waits on, nothing was decided."""

    __slots__ = ()


class ResumeUnknown(Replied):
    """There is no record, or it is another asker's."""

    __slots__ = ()


ResumeReply = ResumeResumed | ResumeAlready | ResumeDecided | ResumeNever | ResumeUnserved | ResumeUnknown

_RESUME = Script("resume")


async def resume(
    batch: Batch, *, id: str, owner: str, asker: str, number: int, decision: str, feedback: str, names: Sequence[str]
) -> ResumeReply:
    """Carry out a person's decision: the execution that asked goes back into its queue. A decision is taken once.

    ``asker``: owner and user; '' where no user is named.
    ``number``: of the stop.
    ``decision``: proceed or reject.
    ``feedback``: what the person says; '' for nothing.
    ``names``: one of them a worker must have to go on with it, as `hand_on` is told them; none for any.
    """
    reply = await batch.run(_RESUME, id, owner, asker, number, decision, feedback, len(names), *names)
    match reply:
        case ["resumed"]:
            return ResumeResumed()
        case ["already"]:
            return ResumeAlready()
        case ["decided", decision]:
            return ResumeDecided(decision)
        case ["never"]:
            return ResumeNever()
        case ["unserved"]:
            return ResumeUnserved()
        case ["unknown"]:
            return ResumeUnknown()
        case _:
            raise UndeclaredReply("resume", reply)


class RightsTold(Replied):
    """``rights`` replied ``told``."""

    __slots__ = ("refused",)

    def __init__(self, refused: tuple[str, ...]) -> None:
        self.refused = refused


RightsReply = RightsTold

_RIGHTS = Script("rights")


async def rights(batch: Batch, *, calls: Sequence[str]) -> RightsReply:
    """Say which of these calls the caller's user may not make. None of them is made.

    ``calls``: each a whole call, with one space between two words; a server may crash over one that is not.
    """
    reply = await batch.run(_RIGHTS, len(calls), *calls)
    match reply:
        case ["told", refused]:
            return RightsTold(tuple(refused))
        case _:
            raise UndeclaredReply("rights", reply)


class RouteRouted(Replied):
    """When the query was accepted, milliseconds since 1970."""

    __slots__ = ("created",)

    def __init__(self, created: int) -> None:
        self.created = created


class RouteAlready(Replied):
    """Another delivery has stored a route."""

    __slots__ = ()


class RouteVersioned(Replied):
    """Nothing was stored: the record, and so its messages, have this version."""

    __slots__ = ("version",)

    def __init__(self, version: int) -> None:
        self.version = version


class RouteGone(Replied):
    """The query has ended."""

    __slots__ = ()


class RouteUnknown(Replied):
    """There is no record: a plain Celery client sent it."""

    __slots__ = ()


RouteReply = RouteRouted | RouteAlready | RouteVersioned | RouteGone | RouteUnknown

_ROUTE = Script("route")


async def route(
    batch: Batch,
    *,
    id: str,
    version: int,
    route: str,
    flow: str,
    domain: str,
    intent: str,
    event: str,
    synthesis: str,
    alone: bool,
    parts: Sequence[str],
    places: Sequence[str],
) -> RouteReply:
    """Store the route and enqueue what answers: one message, or one for each part of a fan-out; none for a
    clarification. Atomic, so a redelivered classification enqueues nothing twice.

    ``version``: of the messages.
    ``route``: the route as JSON.
    ``flow``: the first flow of the route.
    ``domain``: its domain.
    ``intent``: the topic that decided; '' for none.
    ``event``: what readers of the stream are told, as JSON.
    ``synthesis``: the place of what follows the last part; '' where there are no parts.
    ``alone``: whether a flow of the route answers each query by itself: nothing is shared.
    ``parts``: the name of each part; '' for the whole query.
    ``places``: the place of each message.
    """
    reply = await batch.run(
        _ROUTE,
        id,
        version,
        route,
        flow,
        domain,
        intent,
        event,
        synthesis,
        int(alone),
        len(parts),
        *parts,
        len(places),
        *places,
    )
    match reply:
        case ["routed", created]:
            return RouteRouted(int(created))
        case ["already"]:
            return RouteAlready()
        case ["versioned", version]:
            return RouteVersioned(int(version))
        case ["gone"]:
            return RouteGone()
        case ["unknown"]:
            return RouteUnknown()
        case _:
            raise UndeclaredReply("route", reply)


class ScoreKept(Replied):
    """JSON."""

    __slots__ = ("score",)

    def __init__(self, score: str) -> None:
        self.score = score


class ScoreUnknown(Replied):
    """It is not the asker's."""

    __slots__ = ()


ScoreReply = ScoreKept | ScoreUnknown

_SCORE = Script("score")


async def score(
    batch: Batch, *, id: str, owner: str, asker: str, name: str, score: str, tenths: str, ttl: int, patience: int
) -> ScoreReply:
    """Keep a score of a query, once per name: a second one replaces it and keeps its time.

    ``owner``: '' for any.
    ``asker``: owner and user; '' where no user is named.
    ``score``: a JSON object.
    ``tenths``: ten times its value; '' where it is no number.
    ``ttl``: seconds.
    ``patience``: seconds for which it may wait for somebody who sends it to Langfuse.
    """
    reply = await batch.run(_SCORE, id, owner, asker, name, score, tenths, ttl, patience)
    match reply:
        case ["kept", score]:
            return ScoreKept(score)
        case ["unknown"]:
            return ScoreUnknown()
        case _:
            raise UndeclaredReply("score", reply)


class SpareBlobsSpared(Replied):
    """``spare_blobs`` replied ``spared``."""

    __slots__ = ()


SpareBlobsReply = SpareBlobsSpared

_SPARE_BLOBS = Script("spare_blobs")


async def spare_blobs(batch: Batch, *, names: Sequence[str]) -> SpareBlobsReply:
    """Delete those of these files that no open query needs: a submission that they were kept for was refused."""
    reply = await batch.run(_SPARE_BLOBS, len(names), *names)
    match reply:
        case ["spared"]:
            return SpareBlobsSpared()
        case _:
            raise UndeclaredReply("spare_blobs", reply)


class StopStopped(Replied):
    """``stop`` replied ``stopped``."""

    __slots__ = ()


class StopFull(Replied):
    """Too many wait for a person: nothing was put aside, and its lease is kept."""

    __slots__ = ()


class StopLate(Replied):
    """Another execution has the lease now: nothing was put aside."""

    __slots__ = ()


class StopGone(Replied):
    """The query has ended, or this was a renewal."""

    __slots__ = ()


StopReply = StopStopped | StopFull | StopLate | StopGone

_STOP = Script("stop")


async def stop(
    batch: Batch,
    *,
    id: str,
    part: str,
    fence: str,
    lease: str,
    flow: str,
    asked: str,
    run: str,
    place: str,
    kept_ms: int,
    most: int,
    server: str,
    at_once: int,
    queue: str,
) -> StopReply:
    """Put an execution aside until a person has decided: its flow has stopped. Those that wait for its call go on
    by themselves.

    ``part``: of a renewal: it is given up, since nobody could be asked.
    ``asked``: what is asked, as JSON.
    ``run``: chat, flow's id and server of the run that has stopped, a space between.
    ``place``: where it comes back.
    ``kept_ms``: for how long it may wait.
    ``most``: queries that may wait for a person.
    ``server``: where the flow is.
    ``at_once``: calls of that server at once, of all its flows.
    ``queue``: whose completions are counted.
    """
    reply = await batch.run(
        _STOP, id, part, fence, lease, flow, asked, run, place, kept_ms, most, server, at_once, queue
    )
    match reply:
        case ["stopped"]:
            return StopStopped()
        case ["full"]:
            return StopFull()
        case ["late"]:
            return StopLate()
        case ["gone"]:
            return StopGone()
        case _:
            raise UndeclaredReply("stop", reply)


class StumbleAgain(Replied):
    """``stumble`` replied ``again``."""

    __slots__ = ()


class StumbleExhausted(Replied):
    """It met too many: the caller ends it."""

    __slots__ = ()


class StumbleGone(Replied):
    """The query has ended, or asks a person."""

    __slots__ = ()


class StumbleUnknown(Replied):
    """There is no record."""

    __slots__ = ()


StumbleReply = StumbleAgain | StumbleExhausted | StumbleGone | StumbleUnknown

_STUMBLE = Script("stumble")


async def stumble(batch: Batch, *, id: str, part: str, queue: str, place: str, most: int) -> StumbleReply:
    """Note that a task met a fault that nobody foresaw, and let it come back after 1, 4, 16 ... seconds.

    ``queue``: base queue in whose delayed set it waits.
    ``place``: where it comes back.
    ``most``: faults of one execution that are borne.
    """
    reply = await batch.run(_STUMBLE, id, part, queue, place, most)
    match reply:
        case ["again"]:
            return StumbleAgain()
        case ["exhausted"]:
            return StumbleExhausted()
        case ["gone"]:
            return StumbleGone()
        case ["unknown"]:
            return StumbleUnknown()
        case _:
            raise UndeclaredReply("stumble", reply)


class SubmitHit(Replied):
    """Answered from the cache: JSON, or what was put there by hand."""

    __slots__ = (
        "answer",
        "cache_key",
    )

    def __init__(self, cache_key: str, answer: str) -> None:
        self.cache_key, self.answer = cache_key, answer


class SubmitAttached(Replied):
    """Waits for the answer of this execution."""

    __slots__ = ("leader",)

    def __init__(self, leader: str) -> None:
        self.leader = leader


class SubmitAccepted(Replied):
    """``submit`` replied ``accepted``."""

    __slots__ = ()


class SubmitExists(Replied):
    """This id was accepted before, with this content."""

    __slots__ = ()


class SubmitConflict(Replied):
    """Nothing was accepted: this id was accepted before with other content."""

    __slots__ = ()


class SubmitLate(Replied):
    """Nothing was accepted: its deadline has passed."""

    __slots__ = ()


class SubmitLacking(Replied):
    """Nothing was accepted: files of it are not kept here, give them first."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names


class SubmitFull(Replied):
    """Nothing was accepted; open queries, and completions within the last minute."""

    __slots__ = (
        "drained",
        "length",
    )

    def __init__(self, length: int, drained: int) -> None:
        self.length, self.drained = length, drained


class SubmitLimited(Replied):
    """Nothing was accepted: a limit of the owner."""

    __slots__ = (
        "most",
        "name",
        "value",
        "wait_ms",
    )

    def __init__(self, name: str, most: int, value: int, wait_ms: int) -> None:
        self.name, self.most, self.value, self.wait_ms = name, most, value, wait_ms


class SubmitAsks(Replied):
    """Nothing was accepted: the turn before, this query, waits for a person."""

    __slots__ = ("query_id",)

    def __init__(self, query_id: str) -> None:
        self.query_id = query_id


class SubmitProfiled(Replied):
    """Nothing was accepted: the session carries this profile, submit the query with it."""

    __slots__ = ("profile",)

    def __init__(self, profile: str) -> None:
        self.profile = profile


SubmitReply = (
    SubmitHit
    | SubmitAttached
    | SubmitAccepted
    | SubmitExists
    | SubmitConflict
    | SubmitLate
    | SubmitLacking
    | SubmitFull
    | SubmitLimited
    | SubmitAsks
    | SubmitProfiled
)

_SUBMIT = Script("submit")


async def submit(
    batch: Batch,
    *,
    id: str,
    owner: str,
    asker: str,
    query: str,
    front: str,
    queue: str,
    message: str,
    tag: str,
    limit: int,
    minute_most: int,
    open_most: int,
    bytes_most: int,
    day_most: int,
    weight: int,
    span: str,
    ttl: int,
    policy: str,
    priority: str,
    session: str,
    life: str,
    session_ttl: int,
    turns: int,
    domain: str,
    profile: str,
    blob_ms: int,
    content: str,
) -> SubmitReply:
    """Accept a query: answer it from the cache front, attach it to an identical one under way, or record and
    enqueue it.

    ``asker``: owner and user; '' where no user is named.
    ``query``: the query as JSON.
    ``front``: what recognises the same question before its flow is known; '' for none.
    ``tag``: the message's delivery tag.
    ``limit``: most open queries: of the domain that it names, else of all together.
    ``minute_most``: queries of the owner within a minute; 0 for no limit, as for the next three.
    ``open_most``: queries of the owner under way.
    ``bytes_most``: bytes of them.
    ``day_most``: calls of flows for the owner in a day.
    ``weight``: turns of the owner for each of another one's.
    ``span``: milliseconds until its deadline, '' for none.
    ``ttl``: seconds that record, events and result are kept after the end.
    ``policy``: use, refresh or bypass the cache.
    ``session``: its name; '' for none.
    ``life``: random, for a session that begins.
    ``session_ttl``: seconds.
    ``turns``: most turns that a session keeps.
    ``domain``: the domain that the query names; '' for none.
    ``profile``: the profile that the query names; '' for none.
    ``blob_ms``: for how long a file of it is kept at most.
    ``content``: digest of the query, where its id is made from the caller's key; '' where the id is a new one.
    """
    reply = await batch.run(
        _SUBMIT,
        id,
        owner,
        asker,
        query,
        front,
        queue,
        message,
        tag,
        limit,
        minute_most,
        open_most,
        bytes_most,
        day_most,
        weight,
        span,
        ttl,
        policy,
        priority,
        session,
        life,
        session_ttl,
        turns,
        domain,
        profile,
        blob_ms,
        content,
    )
    match reply:
        case ["hit", cache_key, answer]:
            return SubmitHit(cache_key, answer)
        case ["attached", leader]:
            return SubmitAttached(leader)
        case ["accepted"]:
            return SubmitAccepted()
        case ["exists"]:
            return SubmitExists()
        case ["conflict"]:
            return SubmitConflict()
        case ["late"]:
            return SubmitLate()
        case ["lacking", names]:
            return SubmitLacking(tuple(names))
        case ["full", length, drained]:
            return SubmitFull(int(length), int(drained))
        case ["limited", name, most, value, wait_ms]:
            return SubmitLimited(name, int(most), int(value), int(wait_ms))
        case ["asks", query_id]:
            return SubmitAsks(query_id)
        case ["profiled", profile]:
            return SubmitProfiled(profile)
        case _:
            raise UndeclaredReply("submit", reply)


class SweepSwept(Replied):
    """``sweep`` replied ``swept``."""

    __slots__ = (
        "ended",
        "faults",
        "next_ms",
    )

    def __init__(self, ended: tuple[str, ...], next_ms: int, faults: tuple[str, ...]) -> None:
        self.ended, self.next_ms, self.faults = ended, next_ms, faults


SweepReply = SweepSwept

_SWEEP = Script("sweep")


async def sweep(
    batch: Batch,
    *,
    limit: int,
    worker: str,
    traces: bool,
    reads: str,
    flows: Sequence[str],
    domains: Sequence[str],
    concurrencies: Sequence[int],
    rates: Sequence[float],
    servers: Sequence[str],
    at_once: Sequence[int],
) -> SweepReply:
    """Expire overdue queries and those that no person has decided, requeue due retries, put parked messages back,
    move what plain Celery clients sent with a priority into the queues, and take over the traces of dead workers.

    ``limit``: most entries of a kind in one sweep.
    ``worker``: who sweeps.
    ``traces``: whether it sends traces.
    ``reads``: the queues that it reads, one a line.
    ``flows``: those of the registry.
    ``domains``: the domain of each flow.
    ``concurrencies``: the limit of each flow.
    ``rates``: the limit of each flow.
    ``servers``: where each flow is.
    ``at_once``: calls at once of the server of each flow, of all its flows.
    """
    reply = await batch.run(
        _SWEEP,
        limit,
        worker,
        int(traces),
        reads,
        len(flows),
        *flows,
        len(domains),
        *domains,
        len(concurrencies),
        *concurrencies,
        len(rates),
        *rates,
        len(servers),
        *servers,
        len(at_once),
        *at_once,
    )
    match reply:
        case ["swept", ended, next_ms, faults]:
            return SweepSwept(tuple(ended), int(next_ms), tuple(faults))
        case _:
            raise UndeclaredReply("sweep", reply)


class TellWritten(Replied):
    """``tell`` replied ``written``."""

    __slots__ = ()


class TellLate(Replied):
    """Another execution has the lease now: nothing was written."""

    __slots__ = ()


TellReply = TellWritten | TellLate

_TELL = Script("tell")


async def tell(
    batch: Batch, *, id: str, part: str, fence: str, lease: str, kinds: Sequence[str], data: Sequence[str]
) -> TellReply:
    """Append what a flow tells while it runs to a query's stream; whoever is attached to the query reads it there.

    ``kinds``: of events: `TOLD_BY_FLOW` in `models.py`.
    ``data``: of each, JSON.
    """
    reply = await batch.run(_TELL, id, part, fence, lease, len(kinds), *kinds, len(data), *data)
    match reply:
        case ["written"]:
            return TellWritten()
        case ["late"]:
            return TellLate()
        case _:
            raise UndeclaredReply("tell", reply)
