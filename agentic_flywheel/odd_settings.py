"""Settings that are set and are without effect: another one that belongs to them is not set, or they are misspelt."""

from __future__ import annotations

from typing import NamedTuple

from agentic_flywheel.settings import Settings, misspelt, variable_of


class OddSetting(NamedTuple):
    """What is odd about the settings, and what to do."""

    found: str
    advice: str


class _Pair(NamedTuple):
    """A setting that needs another one."""

    setting: str
    needed: str
    #: What happens while the other one is not set.
    meanwhile: str
    #: The switch without which neither counts.
    switch: str = ""


_TO_A_FILE = "traces go to a local file"
_PAIRS = (
    _Pair("langfuse_public_key", "langfuse_secret_key", _TO_A_FILE, "tracing_enabled"),
    _Pair("langfuse_secret_key", "langfuse_public_key", _TO_A_FILE, "tracing_enabled"),
    _Pair("langfuse_base_url", "langfuse_public_key", _TO_A_FILE, "tracing_enabled"),
    _Pair("langfuse_traces_path", "langfuse_public_key", _TO_A_FILE, "tracing_enabled"),
    _Pair("http_visitor_queries", "http_visitors", "nobody is let in without a token"),
)


def odd_settings(settings: Settings) -> list[OddSetting]:
    """Return what is odd about the settings and the environment that they come from."""
    odd = [OddSetting(f"{name} is no setting", f"is it {meant}?") for name, meant in misspelt().items()]
    for pair in _PAIRS:
        if pair.switch and not getattr(settings, pair.switch):
            continue
        if pair.setting in settings.model_fields_set and not getattr(settings, pair.needed):
            given, needed = variable_of(pair.setting), variable_of(pair.needed)
            odd.append(OddSetting(f"{given} is set and {needed} is not: {pair.meanwhile}", f"set {needed}"))
    if settings.cache_bytes and settings.cache_flow_bytes > settings.cache_bytes:
        flow, every = variable_of("cache_flow_bytes"), variable_of("cache_bytes")
        odd.append(
            OddSetting(f"{flow} is more than {every}, the bound of all flows", f"raise {every}, or lower {flow}")
        )
    return odd
