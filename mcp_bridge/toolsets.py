"""Which tools a bridge offers: groups and names that the person who starts it chooses."""

from __future__ import annotations

from collections.abc import Sequence

from agentic_flywheel.access.grant import Scope
from agentic_flywheel.errors import InvalidSetting
from mcp_bridge import asking, batches, configuring, conversations, figures, flows, pages, profiles, traces
from mcp_bridge.tool import Tool

#: Tools by what they are for. A model pays for every tool that it is shown, so the first group is the default.
GROUPS: dict[str, tuple[Tool, ...]] = {
    "ask": (
        asking.flowise_query,
        asking.flowise_submit,
        asking.flowise_poll,
        asking.flowise_resume,
        asking.flowise_cancel,
        batches.flowise_batch,
        flows.flowise_list_flows,
    ),
    "sessions": (
        conversations.flowise_session_info,
        conversations.flowise_session_history,
        configuring.flowise_configure,
        profiles.flowise_domain_query,
    ),
    "learn": (
        flows.flowise_route,
        traces.flowise_trace_view,
        traces.flowise_trace_search,
        traces.flowise_quality_score,
    ),
    "figures": (figures.flowise_cache_stats, figures.flowise_flow_health, figures.flowise_usage_analytics),
    "admin": (pages.flowise_add_flow, pages.flowise_browse, figures.flowise_clear_cache),
}
ALL_TOOLS: tuple[Tool, ...] = tuple(each for group in GROUPS.values() for each in group)
#: A tool of its own for every flow: see flow_tools.
FLOW_TOOLS = "flow-tools"

_BY_NAME = {each.name: each for each in ALL_TOOLS}


def scope_of_tool(name: str) -> Scope:
    """Return what a token needs to call a tool. Those that are made for each flow ask; so much do unknown ones."""
    return _BY_NAME[name].scope if name in _BY_NAME else Scope.ASK


def selected(text: str, *, changes: bool) -> tuple[tuple[Tool, ...], bool]:
    """Return the tools that ``text`` names, and whether there is one for each flow too.

    ``changes``: whether tools may change what all share. Raises InvalidSetting.
    """
    names = [each.strip() for each in text.split(",") if each.strip()]
    wanted = {each.name for name in names if name != FLOW_TOOLS for each in _meant(name, changes)}
    if not names:
        raise InvalidSetting("FLYWHEEL_MCP_TOOLS", f"it names no tool; choose from {_choice()}")
    return tuple(each for each in ALL_TOOLS if each.name in wanted), FLOW_TOOLS in names


def _meant(name: str, changes: bool) -> Sequence[Tool]:
    if name in _BY_NAME:
        if _BY_NAME[name].changes and not changes:
            raise InvalidSetting("FLYWHEEL_MCP_TOOLS", f"{name} changes what all share: give --allow-changes too")
        return [_BY_NAME[name]]
    if name != "all" and name not in GROUPS:
        raise InvalidSetting("FLYWHEEL_MCP_TOOLS", f"there is no {name!r}; choose from {_choice()}")
    group = ALL_TOOLS if name == "all" else GROUPS[name]
    return [each for each in group if changes or not each.changes]


def _choice() -> str:
    return ", ".join([*GROUPS, FLOW_TOOLS, "all", "or names of tools"])
