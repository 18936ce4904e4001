"""The settings of a caller: the environment's, completed by the stack that runs on this machine."""

from __future__ import annotations

from agentic_flywheel.settings import Settings, load_settings
from producer.stack.state import running_stack


def caller_settings() -> Settings:
    """Return the environment's settings; what it does not name comes from a stack that `flywheel up` started here.

    Raises InvalidSetting.
    """
    settings = load_settings()
    stack = running_stack(settings.home)
    return settings if stack is None else stack.joined(settings)
