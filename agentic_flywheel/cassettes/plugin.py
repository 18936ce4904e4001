"""The pytest plugin: the fixture ``flowise_cassette``, a Flowise that answers from a file beside the test.

``--cassettes=record`` records anew from FLOWISE_BASE_URL, ``--cassettes=new`` only what is missing; else nothing is
asked of anybody. A request without a recording fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agentic_flywheel.cassettes.server import CassetteServer

_MODES = ("play", "new", "record")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("agentic flywheel")
    group.addoption(
        "--cassettes",
        choices=_MODES,
        default="play",
        help="answers of Flowise: play them, record new ones, or all anew",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cassette(name): the file of flowise_cassette, without its ending")


@pytest.fixture
def flowise_cassette(request: pytest.FixtureRequest) -> Iterator[CassetteServer]:
    """A Flowise at ``.url`` that answers from ``cassettes/<test file>/<test>.json``."""
    # Imported where it is needed: this plugin is loaded by every pytest run in the environment.
    from agentic_flywheel.cassettes.server import CassetteServer
    from agentic_flywheel.settings import load_settings

    mode = request.config.getoption("--cassettes")
    address = load_settings().flowise_base_url if mode != "play" else None
    with CassetteServer(_file(request), mode=mode, flowise_url=address) as server:
        yield server
    if server.missing:
        # Fail the test even where it caught the error: a response was missing.
        pytest.fail("\n".join([str(server.missing[0]), *server.missing[0].advice]), pytrace=False)


def _file(request: pytest.FixtureRequest) -> Path:
    node = request.node
    mark = node.get_closest_marker("cassette")
    name = mark.args[0] if mark else re.sub(r"[^\w.-]+", "-", node.name).strip("-")
    return Path(node.path).parent / "cassettes" / Path(node.path).stem / f"{name}.json"
