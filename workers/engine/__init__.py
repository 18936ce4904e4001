"""The engine: coroutine tasks by the thousand on plain Celery; the one place that knows Celery's and kombu's inside."""

from workers.engine.context import install_context_stacks

install_context_stacks()  # before any task is bound, and so before anything else of Celery is imported

from workers.engine.configure import configure  # noqa: E402
from workers.engine.loops import on_loop_shutdown, on_loop_start  # noqa: E402
from workers.engine.task import AsyncTask  # noqa: E402

__all__ = ["AsyncTask", "configure", "on_loop_shutdown", "on_loop_start"]
