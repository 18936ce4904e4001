"""Every error has one status over HTTP: who can change something hears of it, and nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from processes import REPOSITORY

from agentic_flywheel import errors
from agentic_flywheel.errors import ErrorInfo, FlowError, FlywheelError
from agentic_flywheel.errors.base import FORMER_NAMES
from http_gateway.flowise.refusals import said_of
from http_gateway.openai.failures import openai_status_of
from http_gateway.problems import STATUSES

#: Errors of commands, of Python programs, and of processes that start: no request meets them.
OF_NO_REQUEST = {
    "BrokerRightsMissing", "BrokerTooOld", "CannotListen", "ClientConfigRefused", "EncoderUnavailable",
    "EngineUnsupported", "ExperimentRefused", "GreenThreads", "InvalidEvaluator", "InvalidGate", "LoopInUse",
    "NoFirstAnswer", "PackageMissing", "ProducerClosed", "RecordingMissing", "ResultsUnreadable", "ServiceFailed",
    "StackRunning", "UnknownToken", "UnusableReplay", "UnusableSource",
}  # fmt: skip


def all_errors(base: type[FlywheelError] = FlywheelError) -> Iterator[type[FlywheelError]]:
    for each in base.__subclasses__():
        if each.__module__.startswith(errors.__name__):
            yield from [] if each is FlowError else [each]
            yield from all_errors(each)


def test_every_error_has_a_status() -> None:
    names = {each.__name__ for each in all_errors()}

    assert STATUSES.keys() | OF_NO_REQUEST == names
    assert not STATUSES.keys() & OF_NO_REQUEST
    assert names <= set(errors.__all__)


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_what_passes_by_itself_is_not_the_callers_fault_and_what_is_does_not_pass(name: str) -> None:
    status, kind = STATUSES[name], getattr(errors, name)

    assert not kind.transient or status in (408, 409, 429, 502, 503, 504)
    said = said_of(ErrorInfo(error="It failed", error_type=name), discreet=True)
    assert not (status == 422 and "again later" in said), said


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_openais_clients_see_whose_fault_it_is_and_nothing_that_they_repeat_in_vain(name: str) -> None:
    shown = openai_status_of(ErrorInfo(error="", error_type=name), STATUSES[name])

    assert shown not in (409, 422)
    assert (shown < 500) == (STATUSES[name] < 500)


def test_the_page_names_every_error_beside_its_status() -> None:
    page = (REPOSITORY / "docs" / "http.md").read_text()
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \| .* \| ((?:`\w+`(?:, )?)+) \|$", page, re.MULTILINE)
    told = {name: {int(each) for each in row[0].split(", ")} for row in rows for name in re.findall(r"\w+", row[1])}

    assert told.keys() == STATUSES.keys()
    assert [name for name, statuses in told.items() if STATUSES[name] not in statuses] == []


@pytest.mark.parametrize("former", FORMER_NAMES)
def test_an_error_of_an_older_version_has_the_status_of_its_name_of_today(former: str) -> None:
    assert former not in {each.__name__ for each in all_errors()}
    assert ErrorInfo(error="", error_type=former).error_type in STATUSES
