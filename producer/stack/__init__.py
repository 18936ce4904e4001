"""The stack on this machine: broker, sandbox, Flower and workers, started and stopped as processes of their own."""

from producer.stack.launch import start_stack
from producer.stack.processes import Stack
from producer.stack.state import StackInfo, running_stack, stack_settings

__all__ = ["Stack", "StackInfo", "running_stack", "stack_settings", "start_stack"]
