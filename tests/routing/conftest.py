from __future__ import annotations

import pytest
from routing.catalogs import BUNDLED, LEGACY

from agentic_flywheel.routing import FittedRouter, fit_router


@pytest.fixture(scope="session")
def router() -> FittedRouter:
    return fit_router(BUNDLED)


@pytest.fixture(scope="session")
def legacy_router() -> FittedRouter:
    return fit_router(LEGACY)
