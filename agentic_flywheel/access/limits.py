"""How much one owner may ask: the settings' limits, and a token's own values over them."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from agentic_flywheel.asker import LOCAL
from agentic_flywheel.models import Model
from agentic_flywheel.setting_values import Weight, room_for_one
from agentic_flywheel.settings import Settings

#: The largest limit: a number of Redis' Lua is exact up to here.
MOST = 2**53
Limit = Annotated[int, Field(ge=0, le=MOST)]


class OwnLimits(Model):
    """Values of a token's own; 0: no limit (a weight is 1 or more), None: the setting's."""

    queries_a_minute: Limit | None = None
    under_way: Limit | None = None
    bytes_under_way: Annotated[Limit, AfterValidator(room_for_one)] | None = None
    calls_a_day: Limit | None = None
    weight: Weight | None = None

    @property
    def given(self) -> dict[str, int]:
        """The values that there are, by name."""
        return self.model_dump(exclude_none=True)


class OwnerLimits(NamedTuple):
    """The limits that hold for a query; 0: none."""

    queries_a_minute: int = 0
    under_way: int = 0
    bytes_under_way: int = 0
    calls_a_day: int = 0
    #: Turns for each turn of an owner with weight 1, where both have queries that wait.
    weight: int = 1


def limits_for(owner: str, settings: Settings, own: OwnLimits | None = None) -> OwnerLimits:
    """Return the limits of an owner; ``own``: those of the token with which the owner came."""
    usual = OwnerLimits(weight=settings.owner_weights.get(owner, 1))
    if owner != LOCAL or settings.owner_limits_local:
        share = max(1, settings.queue_limit // 4) if settings.owner_under_way is None else settings.owner_under_way
        usual = usual._replace(
            queries_a_minute=settings.owner_queries_a_minute,
            under_way=share,
            bytes_under_way=settings.owner_bytes_under_way,
            calls_a_day=settings.owner_calls_a_day,
        )
    return usual if own is None else usual._replace(**own.given)
