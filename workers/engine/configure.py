"""Give a Celery app its engine: the settings that belong together, and why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from celery import signals

from workers.engine import transport
from workers.engine.consumer import Consumer, Leases
from workers.engine.loops import shared_loop
from workers.engine.pool import AsyncIOPool
from workers.engine.task import AsyncTask
from workers.engine.versions import check_versions

#: Seconds after which a broker that does not answer counts as away. Longer than kombu's BRPOP (1 s) may take.
BROKER_SILENT = 4.0
CONNECT_TIME = 3.0


def configure(
    app: Any,
    *,
    engine: Literal["asyncio", "stock"],
    broker_url: str,
    visibility_timeout: timedelta = timedelta(seconds=15),
    grace: timedelta | None = None,
) -> None:
    """Set pool, transport, result backend and consumer of an app. Call it before the app's first task is declared.

    ``visibility_timeout``: a message whose lease was not renewed for this long goes to another worker.
    ``grace``: how long a stopping worker may finish tasks before it hands them back; None: as long as they take
    (asyncio engine; Celery's threads cannot be interrupted). Raises EngineUnsupported for unknown library versions.
    """
    if engine == "asyncio":
        check_versions()
    app.task_cls = AsyncTask
    app.steps["consumer"].add(Leases)
    app.conf.update(_common(broker_url, visibility_timeout))
    app.conf.update(_asyncio(broker_url, grace) if engine == "asyncio" else {"worker_pool": "threads"})
    if broker_url.startswith("rediss://"):
        app.conf.update(
            broker_use_ssl={"ssl_cert_reqs": "required"}, redis_backend_use_ssl={"ssl_cert_reqs": "required"}
        )
    signals.worker_shutdown.connect(_stop_loop)


def _common(broker_url: str, visibility_timeout: timedelta) -> dict[str, Any]:
    return {
        "broker_url": broker_url,
        "result_backend": broker_url,
        "worker_consumer": Consumer,
        "broker_transport_options": {
            "visibility_timeout": visibility_timeout.total_seconds(),
            # Every worker looks for the messages of lost workers every second.
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 5,
            "socket_timeout": BROKER_SILENT,
            "socket_connect_timeout": CONNECT_TIME,
            "socket_keepalive": True,
        },
        # A message is done when its task is, not when it starts.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # Work prefetched here is work that an idle worker does not do.
        "worker_prefetch_multiplier": 1,
        # A worker never ends because its broker is away, refuses or restarts.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        # Running tasks keep their leases over a lost connection, and count as what they are.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
    }


def _asyncio(broker_url: str, grace: timedelta | None) -> dict[str, Any]:
    return {
        "broker_transport": transport.ALIAS,
        "result_backend": f"workers.engine.backend:Backend+{broker_url}",
        "worker_pool": AsyncIOPool,
        "flywheel_grace": None if grace is None else grace.total_seconds(),
        # The hub must not wait long for a broker that is away: it hands the task back instead.
        "result_backend_transport_options": {
            "retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
        },
    }


def _stop_loop(**_: Any) -> None:
    shared_loop.stop()
