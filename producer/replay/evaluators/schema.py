"""An evaluator for answers that are JSON: do they fit a schema?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]
from jsonschema import ValidationError
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from agentic_flywheel.errors import InvalidEvaluator
from producer.replay.comparing import Verdict
from producer.replay.evaluators.case import Case, Evaluator
from producer.replay.evaluators.texts import found

#: Characters of an answer that are read as JSON.
_LONGEST = 1_000_000
_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\n(.*)\n\s*```\s*\Z", re.DOTALL)


def fits(argument: str) -> Evaluator:
    """1 where the answer is JSON, alone or in a code fence, that fits the schema of the file ``argument``.

    Raises InvalidEvaluator where the file holds no schema. References lead nowhere but into the schema itself.
    """
    validator = _validator(_schema(argument))

    async def evaluate(case: Case) -> Verdict | None:
        if len(case.answer) > _LONGEST:
            return Verdict(score=0.0, comment=f"more than {_LONGEST:,} characters")
        fenced = _FENCE.match(case.answer)
        try:
            value = json.loads(fenced[1] if fenced else case.answer)
        except (ValueError, RecursionError):
            return Verdict(score=0.0, comment="no JSON")
        try:
            worst = best_match(validator.iter_errors(value))
        except RecursionError:
            return Verdict(score=0.0, comment="nested too deeply")
        except Unresolvable as unknown:
            return Verdict(score=0.0, comment=f"the schema refers to what it does not hold: {unknown.ref}")
        if worst is None:
            return Verdict(score=1.0)
        return Verdict(score=0.0, comment=f"{worst.json_path}: {worst.message}"[:300])

    return evaluate


def _schema(argument: str) -> Any:
    if not argument:
        raise InvalidEvaluator("json-schema", "it needs a file: json-schema:FILE")
    try:
        return json.loads(Path(argument).read_text(encoding="utf-8"))
    except OSError as refused:
        raise InvalidEvaluator("json-schema", f"{argument} cannot be read: {refused.strerror}") from None
    except ValueError as refused:
        raise InvalidEvaluator("json-schema", f"{argument} is no JSON: {refused}") from None


def _validator(schema: Any) -> Any:
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as refused:
        raise InvalidEvaluator("json-schema", f"{refused.json_path}: {refused.message}"[:300]) from None
    # The library's types leave `extend` without any.
    bounded = extend(kind, {"pattern": _pattern, "patternProperties": _pattern_properties})  # type: ignore[no-untyped-call]
    # An empty registry: a schema never makes anybody fetch something from the network.
    return bounded(schema, registry=Registry())


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not found(regex.compile(pattern), value).score:
        yield ValidationError(f"does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    for pattern, below in patterns.items():
        compiled = regex.compile(pattern)
        for name, each in value.items():
            if found(compiled, name).score:
                yield from validator.descend(each, below, path=name, schema_path=pattern)
