"""The contract between processes: task names, queue names, Redis key names, channels, and the shape of a task message.

Names are explicit, so that a rename in the code never strands a message.
"""

from __future__ import annotations

import base64
import os

from agentic_flywheel.models import Priority, Query

CLASSIFY = "flywheel.classify"
ANSWER = "flywheel.answer"
SYNTHESIZE = "flywheel.synthesize"

PREFIX = "flywheel:"

CLASSIFY_QUEUE = "classify"
SYNTHESIS_QUEUE = "synthesis"


def domain_queue(domain: str) -> str:
    """Return the queue of a domain."""
    return f"domain.{domain}"


def banded(queue: str, priority: Priority | str = Priority.NORMAL) -> str:
    """Return the queue of one priority band: Redis priorities do not overtake prefetched work, separate queues do."""
    return queue if priority == Priority.NORMAL else f"{queue}.{priority}"


def bands(queue: str) -> tuple[str, str, str]:
    """Return a queue's three bands, the most urgent first."""
    return banded(queue, Priority.HIGH), queue, banded(queue, Priority.LOW)


def channel_of(query_id: str) -> str:
    """Return the pub/sub channel that tells when a query of the same producer ends."""
    return f"{PREFIX}done:{query_id[:8]}"


# Keys


def record_key(query_id: str) -> str:
    return f"{PREFIX}query:{query_id}"


def events_key(query_id: str) -> str:
    return f"{PREFIX}events:{query_id}"


def result_key(query_id: str) -> str:
    """Return the key of Celery's own result, which is where an answer is kept."""
    return f"celery-task-meta-{query_id}"


def parts_key(query_id: str) -> str:
    return f"{PREFIX}parts:{query_id}"


def owned_key(owner: str) -> str:
    return f"{PREFIX}owned:{owner}"


def answer_key(flow: str, digest: str) -> str:
    return f"{PREFIX}answer:{flow}:{digest}"


def session_key(session_id: str) -> str:
    return f"{PREFIX}session:{session_id}"


def turns_key(session_id: str) -> str:
    return f"{PREFIX}turns:{session_id}"


def line_key(session_id: str) -> str:
    return f"{PREFIX}line:{session_id}"


def sessions_key(owner: str) -> str:
    return f"{PREFIX}sessions:{owner}"


def bundle_key(batch_id: str) -> str:
    return f"{PREFIX}bundle:{batch_id}"


def successor_key(query_id: str) -> str:
    return f"{PREFIX}successor:{query_id}"


def stats_key(flow: str) -> str:
    return f"{PREFIX}stats:{flow}"


def letter_key(query_id: str) -> str:
    return f"{PREFIX}letter:{query_id}"


def circuit_key(flow: str) -> str:
    return f"{PREFIX}circuit:{flow}"


def running_key(flow: str) -> str:
    return f"{PREFIX}running:{flow}"


def scores_key(query_id: str) -> str:
    return f"{PREFIX}scores:{query_id}"


def lessons_key(shelf: str) -> str:
    """Return the key of what queries taught about routing; with ``:at`` behind it, of when."""
    return f"{PREFIX}lessons:{shelf}"


def tally_key(hour: int) -> str:
    """Return the key of the figures of an hour; hours are counted since 1970."""
    return f"{PREFIX}tally:{hour}"


def roots_key(worker: str) -> str:
    """Return the key of the queries whose trace has no root yet, and whose root this worker owes."""
    return f"{PREFIX}roots:{worker}"


DEAD_LETTERS = f"{PREFIX}dead"
PAUSED = f"{PREFIX}paused"
#: How many queries are under way: of each domain, and `*` of all.
LOAD = f"{PREFIX}load"
#: Queries that have a score, by its time.
SCORED = f"{PREFIX}scored"
#: Scores that Langfuse has not got yet, by when to try next.
UNSENT_SCORES = f"{PREFIX}unsent"
#: Told to every worker: ``cancel <execution>``.
CONTROL_CHANNEL = f"{PREFIX}control"


def news_channel(query_id: str) -> str:
    """Return the pub/sub channel that tells that a query's event stream has grown."""
    return f"{PREFIX}news:{query_id}"


# A task message


_NO_CALLBACKS = '{"callbacks":null,"errbacks":null,"chain":null,"chord":null}'


def task_message(
    task: str,
    task_id: str,
    args: str,
    *,
    queue: str,
    root_id: str | None = None,
    shown: str = "",
) -> str:
    """Return a Celery protocol 2 message as kombu's Redis transport stores it in a list.

    ``args`` is the JSON array of the task's arguments. ``shown`` is what Flower displays in their place: prompts are
    data and do not belong there. Ids, names and ``shown`` hold nothing that JSON would escape.
    Source: Celery documentation, "Message Protocol", version 2; kombu 5.7 ``virtual.Channel.prepare_message``.
    """
    body = base64.b64encode(f"[{args},{{}},{_NO_CALLBACKS}]".encode()).decode()
    parent = "null" if root_id is None else f'"{root_id}"'
    return (
        f'{{"body":"{body}","content-encoding":"utf-8","content-type":"application/json","headers":{{"lang":"py",'
        f'"task":"{task}","id":"{task_id}","shadow":null,"eta":null,"expires":null,"group":null,"retries":0,'
        f'"timelimit":[null,null],"root_id":"{root_id or task_id}","parent_id":{parent},"argsrepr":"{shown}",'
        f'"kwargsrepr":"{{}}","origin":"flywheel","ignore_result":true}},"properties":{{"correlation_id":"{task_id}",'
        f'"reply_to":"","delivery_mode":2,"delivery_info":{{"exchange":"","routing_key":"{queue}"}},"priority":0,'
        f'"body_encoding":"base64","delivery_tag":"{os.urandom(16).hex()}"}}}}'
    )


def classify_message(query_id: str, query: Query, written: str) -> str:
    """Return the message that starts a query's way. ``written`` is the query's JSON form."""
    queue = banded(CLASSIFY_QUEUE, query.priority)
    shown = f"({query_id}, {len(query.question)} characters)"
    return task_message(CLASSIFY, query_id, f"[{written}]", queue=queue, shown=shown)
