"""The engine: thousands of coroutine tasks at once on plain Celery. Only it uses private parts of Celery and kombu.

``configure`` sets up an app; ``AsyncTask`` is the base class of its tasks; ``on_loop_start`` and ``on_loop_shutdown``
register what is opened before a worker's first task and closed after its last one.
"""

from workers.engine.context import install_context_stacks

install_context_stacks()  # before the first task is bound, and so before other parts of Celery are imported

from workers.engine.configure import configure  # noqa: E402
from workers.engine.events import TaskEvents  # noqa: E402
from workers.engine.loops import on_loop_shutdown, on_loop_start  # noqa: E402
from workers.engine.task import AsyncTask  # noqa: E402

__all__ = ["AsyncTask", "TaskEvents", "configure", "on_loop_shutdown", "on_loop_start"]
