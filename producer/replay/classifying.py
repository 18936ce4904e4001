"""A dry run: route each question without asking it. Calls no flow, needs no broker."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.forms import fitted_query
from agentic_flywheel.models import Route, Turn, read_query
from agentic_flywheel.profiles import ProfileWatch, leaning
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.routing import choose_route, fit_router, strong_encoder
from agentic_flywheel.settings import Settings
from producer.replay import outcomes
from producer.replay.items import ReplayItem
from producer.replay.results import ItemResult

#: Number of a session's turns that a worker reads; number of sessions that are kept in memory.
_TURNS, _SESSIONS = 3, 10_000


class Classifier:
    """Classifies the items of a dry run as a worker would, follow-ups in the light of the turns before."""

    def __init__(self, settings: Settings, owner: str) -> None:
        """Read the registry and fit the router; ``owner`` asks. Raises InvalidRegistry."""
        self._owner = owner
        self.catalog: Catalog = load_catalog(find_registry(settings.registry))
        self._profiles = ProfileWatch(settings.profiles)
        cache_dir = settings.home / "routers" if settings.home.exists() else None
        self._router = fit_router(self.catalog, stronger=strong_encoder(self.catalog, cache_dir), cache_dir=cache_dir)
        self._turns: OrderedDict[str, list[Turn]] = OrderedDict()

    async def ask_item(self, item: ReplayItem) -> ItemResult:
        """Return the route of an item as its outcome."""
        started = datetime.now(UTC)
        try:
            route = self._route(item)
        except FlywheelError as refused:
            outcome = outcomes.of_refusal(refused)
        else:
            outcome = outcomes.of_route(route)
            self._remember(item, route, started)
        return ItemResult(item=item, outcome=outcome, started=started, ended=datetime.now(UTC))

    def _route(self, item: ReplayItem) -> Route:
        names = ("question", "flow", "domain", "profile", "context", "intent", "context_type", "session_id", "form")
        query = read_query({name: getattr(item, name) for name in names})
        if query.flow is not None:
            query = fitted_query(query, self.catalog.flow(query.flow))
        turns = self._turns.get(item.session_id or "", [])
        profile = self._profiles.get(item.profile, item.owner or self._owner) if item.profile else None
        words = leaning(profile, query)
        return choose_route(query, self._router, self.catalog, turns=turns, profile_keywords=words)

    def _remember(self, item: ReplayItem, route: Route, at: datetime) -> None:
        if item.session_id is None or route.decision == "clarify":
            return
        turn = Turn(
            query_id="",
            question=item.question,
            answer="",
            flow=route.best.flow,
            domain=route.best.domain,
            at=at,
        )
        self._turns[item.session_id] = [*self._turns.pop(item.session_id, []), turn][-_TURNS:]
        if len(self._turns) > _SESSIONS:
            self._turns.popitem(last=False)
