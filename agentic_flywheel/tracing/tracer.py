"""What producers and workers record their steps with: it never raises, never blocks and costs microseconds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from agentic_flywheel.models import Record, Usage
from agentic_flywheel.settings import Settings
from agentic_flywheel.tracing.exporter import Delivery, Exporter
from agentic_flywheel.tracing.file_sink import FileSink
from agentic_flywheel.tracing.observation import BASE_WEIGHT, Level, Observation, ObservationType, sampled, weigh
from agentic_flywheel.tracing.root import Ended, root_of
from agentic_flywheel.tracing.sink import Sink
from agentic_flywheel.tracing.text import Mask, cut, load_mask

logger = logging.getLogger(__name__)

#: Hears which roots are no longer here.
OnLeft = Callable[[Sequence[str]], None]

#: What a record weighs beside its question and its answer.
ROOT_WEIGHT = 10 * BASE_WEIGHT
NOTHING = Delivery(accepted=0, sent=0, dropped=0, pending=0, pending_bytes=0)


class Tracer:
    """Records observations of queries, from any process that knows their ids.

    Values handed over are not copied: do not change them afterwards.
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
        """Return a tracer to Langfuse where its keys are set, else to a file under ``settings.home``.

        ``mask`` goes before the one that the settings name. ``on_left`` hears of every root that was sent, given up or
        never to be sent, by its query and on any thread. Raises InvalidSetting for a mask that cannot be loaded.
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
        """Return the trace of one query, to record steps in. Nothing travels between processes but the query's id.

        ``private``: what was asked and answered stays out of every step, such as under a confidential profile.
        """
        exporter = self._exporter
        if exporter is not None and not sampled(query_id, self._sample_rate):
            exporter = None
        return Trace(exporter, query_id, session, user, private, self._text_limit, self._on_left)

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded at all."""
        return self._exporter is not None

    @property
    def delivery(self) -> Delivery:
        """What became of the observations of this process so far."""
        return self._exporter.delivery if self._exporter is not None else NOTHING

    def close(self, timeout: float = 1.0) -> bool:
        """Send what can be sent in ``timeout`` seconds. Returns whether everything went out."""
        return self._exporter.close(timeout) if self._exporter is not None else True


class Trace:
    """One query's trace, as one process sees it."""

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
        """Whether steps are recorded at all: there is a tracer, and this trace is in its sample."""
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
        """Record a step that is over. ``start``, ``end`` and ``first_token`` are nanoseconds since 1970.

        Without a ``parent`` it lies right under the query's root. ``link`` is the id of another query whose answer
        this step waited for.
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

    def root(self, record: Record | Ended, *, title: str | None = None) -> None:
        """Record the whole query, once: whoever wins the write of its final state calls this.

        ``title`` is the flow's title; without one it is made from the flow's key.
        """
        if not self._take_root(record, title):
            self.forgo_root()

    def forgo_root(self) -> None:
        """Say that the whole query is not recorded, instead of ``root``: what waits for its root need not."""
        if self._on_left is not None:
            self._on_left([self._query_id])

    def _take_root(self, record: Record | Ended, title: str | None) -> bool:
        exporter = self._exporter
        if exporter is None:
            return False
        try:
            # Made from the record when it is sent: that is the greater part of its cost.
            root = partial(root_of, record, title=title, private=self._private)
            answer = record.answer.text if record.answer is not None else None
            return exporter.offer(root, ROOT_WEIGHT + weigh(record.query.question) + weigh(answer), self._query_id)
        except Exception:
            exporter.refuse()
            logger.debug("the root of query %s was not recorded", self._query_id, exc_info=True)
            return False

    def _bounded(self, value: Any) -> Any:
        # A long text is cut here and not when it is sent, so that the queue does not hold on to it.
        return cut(value, self._text_limit) if isinstance(value, str) else value


def _sink_of(settings: Settings, service: str) -> Callable[[], Sink]:
    login = settings.langfuse_login
    if login is None:
        return lambda: FileSink(settings.home / "traces")

    def make() -> Sink:
        # Imported by the thread that sends: it brings an HTTP client that most commands can do without.
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
