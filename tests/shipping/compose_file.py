"""compose.yaml as Compose itself would read it: variables put in, merges done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from processes import REPOSITORY
from ruamel.yaml import YAML

COMPOSE = REPOSITORY / "compose.yaml"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:[-?+])([^{}]*))?\}")
#: A dollar that was written twice, and so is not the start of a variable.
_DOLLAR = "\0"


class Missing(Exception):
    """A required variable is not set."""


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """Put variables in as Compose does: ``${A}``, ``${A:-default}``, ``${A:?message}``, ``${A:+other}``, nested too."""

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return _DOLLAR
        value, operator, word = values.get(match[1], ""), match[2], match[3]
        if operator == ":?" and not value:
            raise Missing(match[1])
        if operator == ":+":
            return word if value else ""
        return value or (word if operator == ":-" else "")

    while True:
        text, count = _VARIABLE.subn(value_of, text)
        if not count:
            return text.replace(_DOLLAR, "$")


def read_env(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def load_compose(values: Mapping[str, str]) -> dict[str, Any]:
    """Return compose.yaml with ``values``. Raises Missing."""
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(interpolated(COMPOSE.read_text(), values))
    return found
