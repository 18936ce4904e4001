"""A user's own Celery app: tasks of their own, which follow queries. It knows nothing of this project."""

from __future__ import annotations

import os
import time
from typing import Any

import redis
from celery import Celery

app = Celery("their_app", broker=os.environ.get("THEIR_BROKER"), backend=os.environ.get("THEIR_BROKER"))
app.conf.broker_connection_retry_on_startup = True
if prefix := os.environ.get("THEIR_PREFIX"):
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    app.conf.result_backend_transport_options = {"global_keyprefix": prefix}


def note(place: str, said: object) -> None:
    client = redis.Redis.from_url(os.environ["THEIR_BROKER"])
    client.xadd(f"theirs:{place}", {"said": str(said)})  # no list: what is in one is taken for a message
    client.close()


@app.task(name="their.follow")
def follow(answer: Any, place: str) -> Any:
    note(place, answer["text"] if isinstance(answer, dict) else answer)
    return answer


@app.task(name="their.gather")
def gather(answers: list[Any], place: str) -> int:
    for answer in answers:
        note(place, answer["text"] if isinstance(answer, dict) else answer)
    return len(answers)


@app.task(name="their.regret")
def regret(task_id: str, place: str) -> None:
    note(place, task_id)


@app.task(name="their.add")
def add(a: int, b: int) -> int:
    return a + b


@app.task(name="their.rest", acks_late=True)
def rest(seconds: float, place: str) -> None:
    note(place, "begun")
    time.sleep(seconds)
