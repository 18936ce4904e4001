"""A plain Celery client, with nothing of ours but the names, is a full citizen."""

from __future__ import annotations

import uuid

import pytest
from celery.result import AsyncResult
from closing import BROKER_AWAY
from processes import wait_for
from pytest_celery import CeleryTestSetup

QUESTION = "How much may a hotel cost according to our travel policy?"


def ask(setup: CeleryTestSetup, query: object) -> AsyncResult:
    return setup.app.send_task("flywheel.classify", (query,), queue="classify", task_id=uuid.uuid4().hex)


def test_a_question_sent_as_a_task_comes_back_as_its_result(celery_setup: CeleryTestSetup) -> None:
    answer = ask(celery_setup, QUESTION).get(timeout=20)

    assert answer["text"]
    assert answer["domain"] == "documents"


def test_a_query_with_all_its_fields_is_one_argument(celery_setup: CeleryTestSetup) -> None:
    answer = ask(celery_setup, {"question": QUESTION, "flow": "technical-analysis"}).get(timeout=20)

    assert answer["flow"] == "technical-analysis"


def test_a_query_that_is_refused_is_a_failed_task(celery_setup: CeleryTestSetup) -> None:
    result = ask(celery_setup, {"question": QUESTION, "priority": "urgent"})

    with pytest.raises(Exception, match="priority"):
        result.get(timeout=20)
    assert result.state == "FAILURE"


def test_workers_answer_to_the_remote_control(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready(control=True)
    inspect = celery_setup.app.control.inspect(timeout=10, limit=1)  # done with the first reply
    name = celery_setup.worker.hostname()

    assert {"flywheel.classify", "flywheel.answer", "flywheel.synthesize"} <= set(inspect.registered()[name])
    queues = {queue["name"] for queue in inspect.active_queues()[name]}
    assert {"classify", "classify.high", "classify.low", "domain.technical", "synthesis"} <= queues


def test_a_question_waits_for_a_worker_that_was_killed(celery_setup: CeleryTestSetup) -> None:
    celery_setup.worker.kill()
    result = ask(celery_setup, QUESTION)
    celery_setup.worker.restart()

    assert result.get(timeout=30)["text"]


@pytest.mark.provokes(BROKER_AWAY)
def test_a_worker_survives_a_broker_that_restarts(celery_setup: CeleryTestSetup) -> None:
    assert ask(celery_setup, QUESTION).get(timeout=20)
    celery_setup.broker.restart()

    assert ask(celery_setup, "Why is our database slow after the deployment?").get(timeout=30)["text"]
    assert celery_setup.worker.container.status == "running"


def test_a_stopping_worker_ends_by_itself(celery_setup: CeleryTestSetup) -> None:
    celery_setup.worker.kill("SIGTERM")

    wait_for(lambda: celery_setup.worker.container.status == "exited", within=20, what="the worker ended")
