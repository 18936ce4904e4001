"""Run a whole stack on this machine: broker, sandbox, Flower and workers, each as a process of its own."""

from producer.stack.launch import start_stack
from producer.stack.private import private_stack
from producer.stack.processes import Stack

__all__ = ["Stack", "private_stack", "start_stack"]
