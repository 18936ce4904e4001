"""The backend that docs/backends.md adds keeps what every backend promises, with the tests that the page gives it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
_BACKEND, _TESTS, *_ = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def _module(name: str, source: str) -> ModuleType:
    made = sys.modules[name] = ModuleType(name)
    exec(compile(source, PAGE, "exec"), made.__dict__)
    return made


_module("agentic_flywheel.backends.parrot", _BACKEND)
TestParrot = _module("backends.test_parrot", _TESTS).TestParrot
