"""The contract between processes: task names, queue names, Redis keys, channels, and the layout of a task message.

Names are written out, not derived from code: renaming a function must not strand messages that are in a queue.
Lua scripts use the same names (see ``declaration``). An installation's prefix is in none of them (see ``prefixes``).
A key's comment says its Redis type, what it is named by, and what it holds.
"""

from __future__ import annotations

import enum
from typing import Literal

from agentic_flywheel.broker.families import Family as Family
from agentic_flywheel.models import Priority

CLASSIFY = "flywheel.classify"
ANSWER = "flywheel.answer"
SYNTHESIZE = "flywheel.synthesize"
CONTINUE = "flywheel.continue"

#: The version of the records (field `v`) and task messages (header `v`) that this code makes. See docs/engine.md.
VERSION = 1

PREFIX = "flywheel:"

CLASSIFY_QUEUE = "classify"
SYNTHESIS_QUEUE = "synthesis"
#: What stands between a queue and a priority in the name of the list in which a plain Celery client puts a message that
#: has a priority; and the least such priority: kombu puts 1 and 2 into the queue itself, unless it is told other steps.
PRIORITY_MARK = "\x06\x16"
LOW_FROM = 3
#: What stands in place of a part in the name of the execution that carries on after a query's end; and, behind the id,
#: in that of the copy of its events that takes their place.
CONTINUATION, PACKED = "~continue", "~packed"
#: Kind of an entry of a stream that has ended: the tokens that followed each other.
TOKENS = "tokens"
#: What stands before the flow, in place of a part, in the name of an execution that renews a cached answer.
RENEWAL = "~refresh."
#: Fence of an execution that has no lease, because no flow is called.
NO_FENCE = "0"
#: Class of the error with which a query ends whose owner is at a limit: figures count it apart from flows' errors.
OWNERS_REFUSAL = "OwnerLimitReached"
#: What stands between a message's first delivery tag and the number of its redeliveries.
REDELIVERY_MARK = "~"

#: What a call says of its server: it is up, down, or nothing.
Heard = Literal["up", "down", ""]


class QueryStage(enum.StrEnum):
    """The task that comes next for an execution. A record without one is to be classified."""

    CLASSIFY = "classify"
    ANSWER = "answer"
    SYNTHESIZE = "synthesize"


def field_of(name: str, part: str) -> str:
    """Return the field of a record that holds ``name`` for one part of a query; for the whole query where it is ''."""
    return f"{name}|{part}" if part else name


#: The queue of a domain.
domain_queue = Family("domain.")


def banded(queue: str, priority: Priority | str = Priority.NORMAL) -> str:
    """Return the queue of one priority band of a queue.

    Each band is a queue of its own: a message with a Redis priority would not overtake what a worker has prefetched.
    """
    return queue if priority == Priority.NORMAL else f"{queue}.{priority}"


def bands(queue: str) -> tuple[str, str, str]:
    """Return the queues of the three bands of a queue, the most urgent first."""
    return banded(queue, Priority.HIGH), queue, banded(queue, Priority.LOW)


def base_of(queue: str) -> str:
    """Return the base queue of a queue of any band."""
    for priority in (Priority.HIGH, Priority.LOW):
        queue = queue.removesuffix(f".{priority}")
    return queue


# Queries: named by the query's id

#: Hash: the record: version, state, owner, query, route, attempts, times; with a caller's key, the content's digest.
record_key = Family(f"{PREFIX}query:")
#: Stream: the query's events.
events_key = Family(f"{PREFIX}events:")
#: String: Celery's result, JSON. It holds the answer.
result_key = Family("celery-task-meta-")
#: Hash, by part: the answer or error of each finished part of a fan-out, JSON.
parts_key = Family(f"{PREFIX}parts:")
#: String: id of the query that was begun by the choice after a clarification.
successor_key = Family(f"{PREFIX}successor:")
sending_key = Family(f"{PREFIX}sending:")  # String, by a request's digest: the number of its first sending
#: Hash, by the score's name: scores, JSON.
scores_key = Family(f"{PREFIX}scores:")
#: String: the dead letter, JSON.
letter_key = Family(f"{PREFIX}letter:")
#: Hash, named by an execution: the executions that wait for its outcome, each with the place to come back to.
followers_key = Family(f"{PREFIX}followers:")
#: String, by the name of a leader that is gone: the follower that took its place.
heir_key = Family(f"{PREFIX}heir:")
#: Set, by the name of an heir: the leaders whose followers wait for it now.
inherits_key = Family(f"{PREFIX}inherits:")
#: String, by the name of a leader: its outcome, while sweeps give it to its followers.
settling_key = Family(f"{PREFIX}settling:")

# Files that go with queries: named by an asker's name and the digest of what is in the file

#: List: the file in base64, in pieces that are each the base64 of so many whole bytes.
blob_key = Family(f"{PREFIX}blob:")
#: Set: open queries that need the file.
blob_users_key = Family(f"{PREFIX}blob-users:")

# Askers and sessions: named by ``Asker.name``, by ``Asker.session_name``, or by the bundle's id

#: Sorted set, named by an owner: all queries by the time of submission; named by owner and user: that user's.
owned_key = Family(f"{PREFIX}owned:")
#: Of an owner with limits. Hash: its open queries with the bytes that each counts. Counters: their sum; and, with a day
#: since 1970 in the name, calls of flows.
underway_key = Family(f"{PREFIX}underway:")
underway_bytes_key = Family(f"{PREFIX}underway-bytes:")
calls_key = Family(f"{PREFIX}calls:")
#: Sorted set: the names of an asker's sessions by the time of their last turn.
sessions_key = Family(f"{PREFIX}sessions:")
#: Hash: life, profile, config, times. The life is random; what Flowise is told is made from it.
session_key = Family(f"{PREFIX}session:")
#: List: the turns, JSON.
turns_key = Family(f"{PREFIX}turns:")
#: List: ids of a session's open queries, in the order of submission.
line_key = Family(f"{PREFIX}line:")
#: Hash, by query: the turns that wait for an earlier turn, each with the place to come back to.
waiting_turns_key = Family(f"{PREFIX}waiting-turns:")
#: String: a bundle, which is the queries that were submitted together, JSON.
bundle_key = Family(f"{PREFIX}bundle:")

# Cached answers

_ANSWERS = Family(f"{PREFIX}answer:")


def answer_key(flow: str, digest: str) -> str:
    """Return the key of a cached answer; with ``*`` for both, the pattern of all."""
    return _ANSWERS(f"{flow}:{digest}")


def flow_of_answer(key: str) -> str:
    """Return the key of the flow to which the key of a cached answer belongs; empty where it is another key."""
    return (_ANSWERS.of(key) or "").rpartition(":")[0]


#: Sorted set, named by the start of the keys of a flow's cached answers: each as its bytes and key, by its last use.
cached_key = Family(f"{PREFIX}cached:")
#: Hash, by the same start: the bytes of these answers; by '' those of all.
CACHED_BYTES = f"{PREFIX}cached-bytes"
#: String, named by a cache key: a cached permanent failure.
failure_key = Family(f"{PREFIX}failure:")
#: String, named by a front digest: cache key, stale time and flow of the answer to an identical query.
front_key = Family(f"{PREFIX}front:")
#: String, named by a front digest: id of the open identical query.
flight_key = Family(f"{PREFIX}flight:")

# Flows: named by the flow's key

#: Hash: the cache's counters.
stats_key = Family(f"{PREFIX}stats:")
#: Hash: the number of failures in a row, and until when the flow is not called.
circuit_key = Family(f"{PREFIX}circuit:")
#: String: the execution that probes an open circuit.
probe_key = Family(f"{PREFIX}probe:")
#: Sorted set: executions that call the flow, by the end of their lease.
running_key = Family(f"{PREFIX}running:")
#: Sorted set, named by a server: executions that call one of its flows, by the end of their lease.
serving_key = Family(f"{PREFIX}serving:")
#: Counter, named by a server: calls in a row that did not reach it.
unreached_key = Family(f"{PREFIX}unreached:")
#: String, named by a server: ``down``, or the time at which its outage ended.
outage_key = Family(f"{PREFIX}outage:")
#: String: theoretical arrival time of the next call, milliseconds since 1970 (generic cell rate algorithm).
rate_key = Family(f"{PREFIX}rate:")
#: Sorted set: executions that wait for the flow, each with the place to come back to.
parked_key = Family(f"{PREFIX}parked:")
#: String, named by what identical executions share: the execution that has the lease, and its fence.
lease_key = Family(f"{PREFIX}lease:")

# Queues

#: Sorted set, named by a queue: the messages behind those of its list, by their numbers: owners take turns.
backlog_key = Family(f"{PREFIX}backlog:")
#: Sorted set, named by the key of one in which owners take turns: each owner by the place of its next message.
rotation_key = Family(f"{PREFIX}rotation:")
#: Sorted set, named by a base queue: delayed executions, each with the place to come back to, by when they are due.
delayed_key = Family(f"{PREFIX}delayed:")
#: Counter, named by a queue and a stretch of ten seconds: completed executions.
drained_key = Family(f"{PREFIX}drained:")

# Learning, figures, workers

#: Hash, named by a shelf: lessons about routing.
lessons_key = Family(f"{PREFIX}lessons:")
#: Sorted set, named by a shelf: its lessons by the time at which they were learned.
lesson_times_key = Family(f"{PREFIX}lesson-times:")
#: Hash, named by an hour since 1970: the figures of that hour.
tally_key = Family(f"{PREFIX}tally:")
#: Set, named by a worker: ended queries whose trace still needs its root from this worker.
roots_key = Family(f"{PREFIX}roots:")
#: Hash, named by a worker: its version and the queues that it reads, by line. Each sweep of a living worker renews it.
alive_key = Family(f"{PREFIX}alive:")
#: Set, named by a worker: what it has, `flow`, `domain`, `intent` or `profile` before each name.
knows_key = Family(f"{PREFIX}knows:")

#: Sorted set: queries with a dead letter, by the time at which it was written.
DEAD_LETTERS = f"{PREFIX}dead"
#: List: messages that no worker could read, the newest first; how many there have been, and how many are kept.
UNREADABLE = f"{PREFIX}unreadable"
UNREADABLE_COUNT = f"{UNREADABLE}:count"
UNREADABLE_KEPT = 1000
#: Set: paused domains and flows, each as the member that has its name.
PAUSED = f"{PREFIX}paused"
paused_flow_member = Family("flow:")
paused_domain_member = Family("domain:")
#: Sorted set: open queries, by when to check next whether something still moves them.
OPEN = f"{PREFIX}open"
#: Set, named by a domain: its open queries.
open_in_key = Family(f"{PREFIX}open-in:")
#: Sorted set: open queries that nothing seems to move any more, by when to check them again.
SUSPECTS = f"{PREFIX}suspects"
#: Hash, by queue: the greatest number of a message that was put into it.
NUMBERS = f"{PREFIX}numbers"
#: Hash, by queue: a time, the number of the next message then, and messages a millisecond since the time before.
PACE = f"{PREFIX}pace"
#: Hash, by flow that has, or had, parked executions: its domain, limits and server, a line each.
PARKED_FLOWS = f"{PREFIX}parked-limits"
#: Set: base queues that have, or had, delayed executions.
DELAYED_QUEUES = f"{PREFIX}delayed-queues"
#: Sorted set: queries that wait for a person, by when that time is over.
ASKED = f"{PREFIX}asked"
#: Sorted set: open queries by their deadline.
DEADLINES = f"{PREFIX}deadlines"
#: String: the last fence that was given to an execution, a number.
FENCE = f"{PREFIX}fence"
#: Sorted set: scores that are still to be sent to Langfuse, by when they are due.
UNSENT_SCORES = f"{PREFIX}unsent"
#: Set: leaders whose followers are still to be given their outcome.
SETTLING = f"{PREFIX}settling"
#: List: cancelled queries whose trace still needs its root, from any worker.
UNTRACED = f"{PREFIX}untraced"
#: Set: names of the workers that live, and of dead ones that still have roots of traces to send.
WORKERS = f"{PREFIX}workers"
#: Hash: what the last audit left: when it was (milliseconds since 1970), offenders, open queries.
AUDITED = f"{PREFIX}audited"
#: String, named by a worker's ledger: id of the last batch of it that was carried out.
settled_key = Family(f"{PREFIX}settled:")
#: The transport's: a hash, by delivery tag, of the messages that workers hold; a sorted set of the tags by their last
#: renewal; a lock. Celery's own names are left to workers of other apps, which renew nothing that they hold.
UNACKED = f"{PREFIX}unacked"
UNACKED_INDEX = f"{PREFIX}unacked_index"
UNACKED_MUTEX = f"{PREFIX}unacked_mutex"

#: Sorted set: files that are kept, as bytes and name, by when they expire; set: large files that nobody needs any more.
BLOBS, DOOMED_FILES = f"{PREFIX}blobs", f"{PREFIX}doomed-files"
#: Sorted set: stopped runs that are still to be ended where they are, by when they were left (milliseconds since 1970).
LEFT_RUNS = f"{PREFIX}left-runs"

# Channels

#: All workers subscribe to it. Message: ``cancel <execution>``.
CONTROL_CHANNEL = f"{PREFIX}control"
#: Named by a query. A message says that its event stream has grown.
news_channel = Family(f"{PREFIX}news:")
#: Named by the first eight digits of a query's id, which its producer chose. A message says that a query has ended.
done_channel = Family(f"{PREFIX}done:")


def channel_of(query_id: str) -> str:
    """Return the channel on which the ends of this producer's queries are published."""
    return done_channel(query_id[:8])
