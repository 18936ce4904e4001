"""compose.yaml as Compose itself would read it: variables put in, merges done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from processes import REPOSITORY
from ruamel.yaml import YAML

COMPOSE = REPOSITORY / "compose.yaml"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:[-?+])([^{}]*))?\}")
#: What stands for the characters of variables where they are none: in a value, and of a dollar that was written twice.
_PLAIN, _SHOWN = str.maketrans("${}", "\0\1\2"), str.maketrans("\0\1\2", "${}")


class Missing(Exception):
    """A required variable is not set."""


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """Put variables in as Compose does: ``${A}``, ``${A:-default}``, ``${A:?message}``, ``${A:+other}``, nested too."""

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$".translate(_PLAIN)
        value, operator, word = values.get(match[1], "").translate(_PLAIN), match[2], match[3]
        if operator == ":?" and not value:
            raise Missing(match[1])
        if operator == ":+":
            return word if value else ""
        return value or (word if operator == ":-" else "")

    while True:
        text, count = _VARIABLE.subn(value_of, text)
        if not count:
            return text.translate(_SHOWN)


def read_env(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def load_compose(values: Mapping[str, str]) -> dict[str, Any]:
    """Return compose.yaml with ``values``. Raises Missing.

    As Compose does it, variables are put into what was read, so that no value of theirs becomes a part of the file.
    """
    found: dict[str, Any] = _filled(YAML(typ="safe", pure=True).load(COMPOSE.read_text()), values)
    return found


def _filled(given: Any, values: Mapping[str, str]) -> Any:
    if isinstance(given, dict):
        filled = {name: _filled(each, values) for name, each in given.items()}
        # Where the specification wants a number, Compose makes one.
        return filled | {"replicas": int(filled["replicas"])} if "replicas" in filled else filled
    if isinstance(given, list):
        return [_filled(each, values) for each in given]
    return interpolated(given, values) if isinstance(given, str) else given
