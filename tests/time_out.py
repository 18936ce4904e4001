"""A pytest plugin: a test's time-out strikes again, after the same time, until the test ends.

The first strike may hit a task, which keeps it as its result; the test would then wait for that task for ever.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Any) -> Generator[None, object, object]:
    done = yield
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, settings.timeout)
    return done
