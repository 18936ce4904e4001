"""Give a Celery app its engine: pool, transport, result backend and consumer, with the settings that they need."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentic_flywheel.broker import wire
from agentic_flywheel.broker.celery_forms import celery_address, celery_settings, sentinel_options
from agentic_flywheel.endpoint import read_endpoint
from workers.engine import transport
from workers.engine.at_work import at_work
from workers.engine.compression import bound_decompression
from workers.engine.consumer import Consumer, LeaseRenewal
from workers.engine.newer import OnNewer, newer_messages
from workers.engine.pool import AsyncIOPool
from workers.engine.producer import publish_through_ledger
from workers.engine.quick_channel import QuickConsumer
from workers.engine.revoking import OnRevoked, revocations
from workers.engine.task import AsyncTask
from workers.engine.unreadable import OnUnreadable, unreadable_messages
from workers.engine.versions import check_versions

#: Seconds after which a broker that does not reply counts as away. It must be more than the second for which kombu has
#: the server wait for a message.
BROKER_SILENT = 4.0
#: Seconds that connecting to the broker may take.
CONNECT_TIME = 3.0


def configure(
    app: Any,
    *,
    broker_url: str,
    key_prefix: str = "",
    visibility_timeout: timedelta = timedelta(seconds=15),
    grace: timedelta | None = None,
    on_unreadable: OnUnreadable | None = None,
    version: int = 0,
    on_newer: OnNewer | None = None,
    on_revoked: OnRevoked | None = None,
    worked_on: int | None = None,
) -> None:
    """Set up an app. Call this before its first task is declared. Raises EngineUnsupported.

    ``key_prefix``: of all keys and channels.
    ``visibility_timeout``: a message whose lease was not renewed for this long goes to another worker.
    ``grace``: how long a stopping worker may finish its tasks before it hands them back; None: as long as they take.
    ``on_unreadable``: called when the message of a task cannot be read, so that nobody will run it: with what the
    message says of its task, its delivery tag, and the reason. It is called on the worker's main thread and must not
    block. It may be called twice for one message.
    ``on_newer``: called, in the same way, with each message whose header `v` is above ``version``: it is not run here.
    ``on_revoked``: called, in the same way, with what is revoked; it returns what Celery has no more to do with.
    ``worked_on``: most tasks that a worker takes beside those that wait in a block ``at_work.elsewhere()``; None: no
    limit but that of its places.
    """
    check_versions()
    app.task_cls = AsyncTask
    publish_through_ledger(app)
    bound_decompression()
    app.steps["consumer"].add(LeaseRenewal)
    app.amqp.Consumer = QuickConsumer
    unreadable_messages.on_unreadable = on_unreadable
    revocations.install(on_revoked)
    at_work.most = worked_on
    newer_messages.version, newer_messages.on_newer = version, on_newer
    app.conf.update(_broker(broker_url, key_prefix, visibility_timeout))
    app.conf.update(_settings(grace))


def _broker(address: str, prefix: str, visibility_timeout: timedelta) -> dict[str, Any]:
    """Return the settings by which Celery reaches the broker, in whichever form its address is."""
    where, plain = read_endpoint(address), celery_address(address)
    told = celery_settings(
        address,
        prefix,
        visibility_timeout=visibility_timeout.total_seconds(),
        unacked_key=wire.UNACKED,
        unacked_index_key=wire.UNACKED_INDEX,
        unacked_mutex_key=wire.UNACKED_MUTEX,
        # Every worker looks for messages of lost workers every second.
        unacked_restore_interval=1,
        socket_timeout=BROKER_SILENT,
        socket_connect_timeout=CONNECT_TIME,
        socket_keepalive=True,
    )
    # The hub must not wait long for a broker that does not answer: the task goes back to its queue instead.
    retry = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
    told["result_backend_transport_options"]["retry_policy"] = retry
    if where.scheme == "sentinel":
        told["broker_url"] = plain.partition(";")[0]
        told["broker_transport_options"]["sentinels"] = list(where.hosts)
        told["result_backend_transport_options"] |= sentinel_options(where)
        return {
            **told,
            "broker_transport": transport.SENTINEL_ALIAS,
            "result_backend": f"workers.engine.backend:SentinelBackend+{plain}",
        }
    if where.scheme == "unix":
        # What stands before the + would be the transport, whatever `broker_transport` says.
        plain = plain.removeprefix("redis+")
        told["broker_url"] = f"{transport.ALIAS}+{plain}"
    return {**told, "broker_transport": transport.ALIAS, "result_backend": f"workers.engine.backend:Backend+{plain}"}


def _settings(grace: timedelta | None) -> dict[str, Any]:
    return {
        "worker_pool": AsyncIOPool,
        "worker_consumer": Consumer,
        "flywheel_grace": None if grace is None else grace.total_seconds(),
        # A message is acknowledged when its task has ended, not when it starts.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A message that waits in one worker is a message that an idle worker cannot take.
        "worker_prefetch_multiplier": 1,
        # A worker never ends because its broker is away, refuses or restarts.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        # When a connection is lost, running tasks go on and keep their leases and their places.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
    }
