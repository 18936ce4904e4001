"""The system that one writes first: plain Celery, one call per task, ``chain(classify, flow).get()``."""

from __future__ import annotations

import json
import os
import urllib.request

from celery import Celery

app = Celery("naive", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, result_expires=600)


@app.task(name="naive.classify")
def classify(question: str) -> dict[str, str]:
    """Decide by keyword."""
    words = question.lower()
    domain = "technical" if "python" in words else "creative" if "story" in words else "documents"
    return {"question": question, "domain": domain}


@app.task(name="naive.flow")
def flow(query: dict[str, str]) -> str:
    """Call the flow as `requests` would: a connection per call."""
    request = urllib.request.Request(
        f"{os.environ['FLOWISE_BASE_URL']}/api/v1/prediction/{query['domain']}",
        data=json.dumps({"question": query["question"]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        text: str = json.load(response)["text"]
        return text
