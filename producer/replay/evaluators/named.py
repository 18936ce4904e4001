"""Find evaluators by name: the built-in ones, and those that installed packages offer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

from agentic_flywheel.errors import BrokerUnavailable, FlywheelError, InvalidEvaluator
from producer.replay.comparing import Verdict
from producer.replay.evaluators.case import Case, Evaluator
from producer.replay.evaluators.judge import Ask, judged_by

logger = logging.getLogger(__name__)

#: A package offers an evaluator here: a name, and a function from the text after the colon to an ``Evaluator``.
GROUP = "agentic_flywheel.evaluators"
BUILT_IN = ("exact", "contains", "regex", "similarity", "json-schema", "judge")

_GIVEN = re.compile(r"(?s)(?:(?P<label>[A-Za-z][\w-]{0,39})=)?(?P<name>[A-Za-z][\w-]{0,39})(?::(?P<argument>.*))?")
#: Longest time of one judgement, in seconds.
_PATIENCE = 120.0
#: Number of an evaluator's failures that are logged.
_TOLD = 3


@dataclass
class Named:
    """An evaluator, the name its scores have, and how often it could not tell."""

    label: str
    evaluate: Evaluator
    failures: int = field(default=0)

    async def judge(self, case: Case) -> Verdict | None:
        """Return the verdict; None where there is none. An evaluator that fails on an answer costs that score alone.

        Raises BrokerUnavailable: a judge that cannot be asked would fail on every answer.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                verdict = await self.evaluate(case)
        except BrokerUnavailable:
            raise
        except FlywheelError as error:
            self._failed(str(error))
            return None
        except Exception as fault:
            # It may be the user's own code: whatever it raises, the other items are judged.
            self._failed(f"{type(fault).__name__}: {fault}")
            return None
        if verdict is not None and not 0.0 <= verdict.score <= 1.0:
            self._failed(f"it gave {verdict.score}, scores are 0 to 1")
            return None
        return verdict

    def _failed(self, why: str) -> None:
        self.failures += 1
        # Warn a few times only: thousands of answers may fail for one reason.
        level = logging.WARNING if self.failures <= _TOLD else logging.DEBUG
        logger.log(level, "evaluator %s could not judge an answer: %s", self.label, why)


def named_evaluators(given: Sequence[str], *, ask: Ask | None = None) -> list[Named]:
    """Return the evaluators that ``[LABEL=]NAME[:ARGUMENT]`` mean. ``ask`` puts a judge's question into the queue.

    Raises InvalidEvaluator for a name that is not known, or one that comes twice without a label.
    """
    found: dict[str, Named] = {}
    for each in given:
        read = _GIVEN.fullmatch(each)
        if read is None:
            raise InvalidEvaluator(each, "it is not NAME, NAME:ARGUMENT or LABEL=NAME:ARGUMENT")
        label = read["label"] or read["name"]
        if label in found:
            raise InvalidEvaluator(each, f"there are two called {label!r}: give one a label, LABEL={each}")
        found[label] = Named(label, _make(read["name"], read["argument"] or "", ask))
    return list(found.values())


def asks_flows(given: Sequence[str]) -> bool:
    """Return whether one of these evaluators puts questions into the queue."""
    return any((read := _GIVEN.fullmatch(each)) is not None and read["name"] == "judge" for each in given)


def _make(name: str, argument: str, ask: Ask | None) -> Evaluator:
    from producer.replay.evaluators import texts

    simple: dict[str, Callable[[str], Evaluator]] = {
        "exact": texts.exact,
        "contains": texts.contains,
        "regex": texts.matches,
        "similarity": texts.alike,
    }
    if name in simple:
        return simple[name](argument)
    if name == "judge":
        return judged_by(argument, ask)
    if name == "json-schema":
        from producer.replay.evaluators.schema import fits

        return fits(argument)
    return _offered(name, argument)


def _offered(name: str, argument: str) -> Evaluator:
    offers: dict[str, EntryPoint] = {each.name: each for each in entry_points(group=GROUP)}
    if name not in offers:
        raise InvalidEvaluator(name, f"there is none of this name; known: {', '.join([*BUILT_IN, *sorted(offers)])}")
    try:
        made: Evaluator = offers[name].load()(argument)
    except FlywheelError:
        raise
    except Exception as fault:
        raise InvalidEvaluator(name, f"its package could not make it: {type(fault).__name__}: {fault}") from fault
    return made
