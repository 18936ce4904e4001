"""Routing: learn from a catalog what its flows are for, and decide where a question goes and why."""

from agentic_flywheel.routing.fit import fit_router
from agentic_flywheel.routing.route import choose_route
from agentic_flywheel.routing.router import FittedRouter
from agentic_flywheel.routing.second import strong_encoder
from agentic_flywheel.routing.slot import RouterSlot

__all__ = ["FittedRouter", "RouterSlot", "choose_route", "fit_router", "strong_encoder"]
