"""The router in force: always there, replaced in the background when the catalog changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.routing.corpus import corpus_of
from agentic_flywheel.routing.encoder import Encoder
from agentic_flywheel.routing.fit import fit_router, knows_language
from agentic_flywheel.routing.router import FittedRouter

logger = logging.getLogger(__name__)

#: A second stage that could not be fitted, its server being away, is tried again after so many seconds.
_AGAIN = 60.0


class RouterSlot:
    """Holds the current router. Readers never wait: they get the old one until the new one is fitted."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        stronger: Callable[[Catalog, Path | None], Encoder | None] = lambda catalog, folder: None,
        cache_dir: Path | None = None,
    ) -> None:
        """Fit for ``catalog`` before returning: the first question needs a router.

        ``stronger`` finds the encoder of a catalog's second stage, if there is one. It takes seconds to load and to
        fit, so that happens in the background; until then there is no second stage.
        """
        self._stronger = stronger
        self._cache_dir = cache_dir
        self._lock = threading.Lock()
        self._wanted: Catalog | None = None
        self._latest: Catalog | None = None
        self._fitting: threading.Thread | None = None
        self._current = self._fit(catalog)
        self.refit(catalog)

    @property
    def current(self) -> FittedRouter:
        return self._current

    def refit(self, catalog: Catalog) -> None:
        """Ask for a router of ``catalog`` and return at once; of several wishes the last one is fulfilled."""
        with self._lock:
            self._wanted = self._latest = catalog
            if self._fitting is None:
                # A daemon: a worker that shuts down does not wait for a fit that nobody will use.
                self._fitting = threading.Thread(target=self._catch_up, name="routing-fit", daemon=True)
                self._fitting.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every wish is fulfilled; False when ``timeout`` seconds were not enough."""
        with self._lock:
            fitting = self._fitting
        if fitting is None:
            return True
        fitting.join(timeout)
        return not fitting.is_alive()

    def _catch_up(self) -> None:
        while True:
            with self._lock:
                catalog, self._wanted = self._wanted, None
                if catalog is None:
                    self._fitting = None
                    return
            try:
                self._take(catalog)
            except Exception:
                logger.exception("routing could not be fitted to catalog %s; the old fit stays", catalog.revision)

    def _take(self, catalog: Catalog) -> None:
        # A change that says nothing new about what flows are for, such as a TTL, keeps the fit.
        if corpus_of(catalog).digest != self._current.corpus.digest:
            self._current = self._fit(catalog)
        stronger = self._stronger(catalog, self._cache_dir)
        reader = self._current.stronger
        if stronger is None:
            if reader is not None:
                self._current = replace(self._current, stronger=None)
        elif reader is None or reader.read_by != stronger.name:
            self._current = self._fit(catalog, stronger)
            if self._current.stronger is None and knows_language(stronger, self._current.table):
                self._try_again(catalog)

    def _try_again(self, catalog: Catalog) -> None:
        """Ask for the second stage later, unless a newer catalog is wanted by then."""

        def again() -> None:
            if self._latest is catalog:
                self.refit(catalog)

        timer = threading.Timer(_AGAIN, again)
        timer.daemon = True
        timer.start()

    def _fit(self, catalog: Catalog, stronger: Encoder | None = None) -> FittedRouter:
        return fit_router(catalog, stronger=stronger, cache_dir=self._cache_dir)
