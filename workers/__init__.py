"""What answers queries: worker processes, which take messages from Redis and ask flows.

``flywheel worker`` starts one. Nothing imports this package: programs send its tasks by their names, which
``agentic_flywheel.broker.wire`` lists, with any Celery client. Inside:

- ``workers.app`` is the Celery app with its four tasks, ``workers.runtime`` what one process has open.
- ``workers.classification``, ``workers.answering`` and ``workers.synthesis`` are the steps of a query.
- ``workers.engine`` runs coroutine tasks on Celery and loses no message. It knows nothing of queries.
"""
