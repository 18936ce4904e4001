"""The task ``flywheel.answer``: answer a query, or one part of it, by its flow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentic_flywheel.errors import FlywheelError, InvalidProfile, UnknownFlow, UnknownProfile
from agentic_flywheel.models import Query
from agentic_flywheel.naming import RegistryName, profile_named_by
from workers.assignment import Assignment
from workers.delivery import Delivery
from workers.handing_on import NotServedHere
from workers.runtime import Runtime


async def answer_query(
    runtime: Runtime, query_id: str, given: Any, flow_key: str, part: str, *, version: int
) -> FlywheelError | None:
    """Answer a query, or one part of it, by a flow. Returns the error with which it ended, if any.

    ``version``: that of its message. Raises NotServedHere, BrokerUnavailable.
    """
    query = Query.model_validate(given)
    named, profile_named = RegistryName("flow", flow_key), profile_named_by(query)
    try:
        flow, profile = runtime.catalog.flow(flow_key), runtime.profile_of(query)
    except UnknownFlow:
        raise NotServedHere(named, version, beside=profile_named) from None
    except (UnknownProfile, InvalidProfile) as lack:
        raise NotServedHere(profile_named, version, beside=named, why=lack.message) from None
    if query.uploads:
        # Its files are gone once it has ended: a stale answer could not be renewed.
        flow = flow.model_copy(update={"stale_while_revalidate": timedelta(0)})
    return await Delivery(runtime, Assignment(runtime, query_id, query, flow, part, profile, version=version)).run()
