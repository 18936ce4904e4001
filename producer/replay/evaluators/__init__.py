"""Score answers from 0 to 1: by rules, by meaning, by a flow that judges, or by code of the user's own."""

from producer.replay.comparing import Verdict
from producer.replay.evaluators.case import Case, Evaluator
from producer.replay.evaluators.named import Named, named_evaluators

__all__ = ["Case", "Evaluator", "Named", "Verdict", "named_evaluators"]
