"""Record the steps of queries, in producers and workers. Recording never raises or blocks, and takes microseconds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from agentic_flywheel.cutting import cut
from agentic_flywheel.models import Record, Usage
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.exporter import ExportCounts, Exporter
from agentic_flywheel.tracing.file_sink import FileSink
from agentic_flywheel.tracing.observation import BASE_WEIGHT, Level, Observation, ObservationType, sampled, weigh
from agentic_flywheel.tracing.root import EndedQuery, root_of
from agentic_flywheel.tracing.sink import Sink
from agentic_flywheel.tracing.text import Mask, load_mask

logger = logging.getLogger(__name__)

#: Called with the ids of queries whose root was sent or given up, on any thread.
OnLeft = Callable[[Sequence[str]], None]

#: Memory of a record without its question and answer, in bytes.
ROOT_WEIGHT = 10 * BASE_WEIGHT
NOTHING = ExportCounts(accepted=0, sent=0, dropped=0, pending=0, pending_bytes=0)


class Tracer:
    """Records observations of queries, in any process that knows their ids.

    Values that are passed in are not copied; do not change them afterwards.
    """

    def __init__(
        self,
        exporter: Exporter | None,
        *,
        sample_rate: float = 1.0,
        text_limit: int = 16_384,
        on_left: OnLeft | None = None,
    ) -> None:
        self._exporter, self._sample_rate, self._text_limit = exporter, sample_rate, text_limit
        self._on_left = on_left

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        mask: Mask | None = None,
        service: str = "agentic-flywheel",
        on_left: OnLeft | None = None,
    ) -> Tracer:
        """Return a tracer that sends to Langfuse where its keys are set, else to a file under ``settings.home``.

        ``mask`` replaces the one that the settings name. ``on_left`` is called, on any thread, with the ids of queries
        whose root was sent, given up or will not be sent. Raises InvalidSetting for a mask that cannot be loaded.
        """
        if not settings.tracing_enabled:
            return cls(None, on_left=on_left)
        exporter = Exporter(
            _sink_of(settings, service),
            max_count=settings.trace_queue_limit,
            max_bytes=settings.trace_queue_bytes,
            text_limit=settings.trace_io_limit,
            mask=mask or load_mask(settings.trace_mask),
            on_left=on_left,
        )
        return cls(
            exporter,
            sample_rate=settings.langfuse_sample_rate,
            text_limit=settings.trace_io_limit,
            on_left=on_left,
        )

    def trace(
        self, query_id: str, *, session: str | None = None, user: str | None = None, private: bool = False
    ) -> Trace:
        """Return the trace of one query, to record its steps. Another process needs only the query's id to do the same.

        ``private``: inputs, outputs and messages are left out of every step, as a confidential profile requires.
        """
        exporter = self._exporter
        if exporter is not None and not sampled(query_id, self._sample_rate):
            exporter = None
        return Trace(exporter, query_id, session, user, private, self._text_limit, self._on_left)

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded."""
        return self._exporter is not None

    @property
    def counts(self) -> ExportCounts:
        """The counts of this process's observations so far."""
        return self._exporter.counts if self._exporter is not None else NOTHING

    def close(self, timeout: float = 1.0) -> bool:
        """Send what can be sent in ``timeout`` seconds. Returns whether everything was sent."""
        return self._exporter.close(timeout) if self._exporter is not None else True


class Trace:
    """One query's trace, as one process records it."""

    __slots__ = ("_exporter", "_on_left", "_private", "_query_id", "_session", "_text_limit", "_user")

    def __init__(
        self,
        exporter: Exporter | None,
        query_id: str,
        session: str | None,
        user: str | None,
        private: bool,
        text_limit: int,
        on_left: OnLeft | None = None,
    ) -> None:
        self._exporter, self._query_id, self._session, self._user = exporter, query_id, session, user
        self._private, self._text_limit, self._on_left = private, text_limit, on_left

    @property
    def recording(self) -> bool:
        """Whether steps are recorded: tracing is on, and this query is in the sample."""
        return self._exporter is not None

    def observe(
        self,
        name: str,
        type: ObservationType = "span",
        *,
        start: int,
        end: int,
        span_id: str | None = None,
        parent: str | None = None,
        input: Any = None,
        output: Any = None,
        metadata: Mapping[str, Any] | None = None,
        model: str | None = None,
        usage: Usage | None = None,
        level: Level | None = None,
        message: str | None = None,
        first_token: int | None = None,
        link: str | None = None,
    ) -> None:
        """Record a step that has ended. ``start``, ``end`` and ``first_token`` are nanoseconds since 1970.

        Without a ``parent`` the step is directly below the query's root. ``link`` is the id of another query whose
        answer this step waited for.
        """
        exporter = self._exporter
        if exporter is None:
            return
        if self._private:
            input = output = message = None
        try:
            seen = Observation(
                self._query_id,
                name,
                type,
                start,
                end,
                span_id,
                parent,
                False,
                self._bounded(input),
                self._bounded(output),
                metadata,
                model,
                usage,
                level,
                message,
                first_token,
                link,
                self._session,
                self._user,
            )
            exporter.offer(seen, BASE_WEIGHT + weigh(seen.input) + weigh(seen.output) + weigh(metadata))
        except Exception:
            exporter.refuse()
            logger.debug("a step of query %s was not recorded", self._query_id, exc_info=True)

    def root(self, record: Record | EndedQuery, *, title: str | None = None) -> None:
        """Record the root. Called once for each query, by the process that wrote its final state.

        ``title`` is the flow's title; None: it is made from the flow's key.
        """
        if not self._take_root(record, title):
            self.forgo_root()

    def forgo_root(self) -> None:
        """Called in place of ``root`` where no root is recorded, so that ``on_left`` is called for the query."""
        if self._on_left is not None:
            self._on_left([self._query_id])

    def _take_root(self, record: Record | EndedQuery, title: str | None) -> bool:
        exporter = self._exporter
        if exporter is None:
            return False
        try:
            # The root is made when it is sent, because that is most of the work.
            root = partial(root_of, record, title=title, private=self._private)
            answer = record.answer.text if record.answer is not None else None
            return exporter.offer(root, ROOT_WEIGHT + weigh(record.query.question) + weigh(answer), self._query_id)
        except Exception:
            exporter.refuse()
            logger.debug("the root of query %s was not recorded", self._query_id, exc_info=True)
            return False

    def _bounded(self, value: Any) -> Any:
        # Cut now, so that the queue does not keep the whole text in memory.
        return cut(value, self._text_limit) if isinstance(value, str) else value


def _sink_of(settings: Settings, service: str) -> Callable[[], Sink]:
    login = settings.langfuse_login
    if login is None:
        return lambda: FileSink(settings.home / "traces")

    def make() -> Sink:
        # Imported by the sending thread: it loads an HTTP client, which most commands do not need.
        from agentic_flywheel.tracing.langfuse_sink import LangfuseSink

        return LangfuseSink(
            *login,
            path=settings.langfuse_traces_path,
            environment=settings.langfuse_environment,
            release=settings.langfuse_release,
            version=_own_version(),
            service=service,
        )

    return make


def _own_version() -> str:
    try:
        return version("agentic-flywheel")
    except PackageNotFoundError:
        return ""
