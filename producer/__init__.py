"""Ask questions of Flowise through the queue: ``with Producer() as producer: producer.ask("…")``."""

from producer.blocking import Producer
from producer.client import AsyncProducer, Submission

__all__ = ["AsyncProducer", "Producer", "Submission"]
