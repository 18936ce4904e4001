"""Plain data as lines of YAML in block style, indented as the document is that they go into.

Every text stands on one line, so that the lines fit at any depth; what is not plainly a text is put in quotes.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode

from agentic_flywheel.written import Number, Whole

#: Texts to some readers of YAML, truths or nothing to others.
_AMBIGUOUS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null", "none"})
_TEXT_TAG = "tag:yaml.org,2002:str"
#: Joiners: half of an emoji, or of a Persian word. Other characters that cannot be seen are written by their number.
_JOINERS = "\u200c\u200d"


class Layout(NamedTuple):
    """By how many columns a mapping stands to the right of its key, and the dashes of a list."""

    mapping: int = 2
    dashes: int = 2


def block(value: Any, column: int, layout: Layout) -> str:
    """Return the value for a place that is at ``column`` already; the last line has no end."""
    if not value or not isinstance(value, dict | list):
        return scalar(value)
    below = "\n" + " " * column
    if isinstance(value, list):
        return below.join(f"- {block(each, column + 2, layout)}" for each in value)
    return below.join(_entry(key, each, column, layout) for key, each in value.items())


def scalar(value: Any) -> str:
    """Return a value on one line, an empty list or mapping included."""
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if isinstance(value, Number | Whole):
        return value.text
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value)


def _entry(key: str, value: Any, column: int, layout: Layout) -> str:
    if not value or not isinstance(value, dict | list):
        return f"{scalar(key)}: {scalar(value)}"
    inner = column + (layout.mapping if isinstance(value, dict) else layout.dashes)
    return f"{scalar(key)}:\n{' ' * inner}{block(value, inner, layout)}"


def _is_plain(text: str) -> bool:
    if not text.isprintable() or not text[:1].isalnum() or text != text.strip() or text.lower() in _AMBIGUOUS:
        return False
    if ": " in text or " #" in text or text.endswith(":"):
        return False
    return all(each.resolve(ScalarNode, text, (True, False)) == _TEXT_TAG for each in _RESOLVERS)


def _resolver(minor: int) -> Any:
    yaml = YAML()
    yaml.version = (1, minor)
    return yaml.resolver


#: Readers of either version take a text for one: 12:30 is a number to the older one, 0o17 to the newer.
_RESOLVERS = (_resolver(1), _resolver(2))


def _quoted(text: str) -> str:
    return '"' + "".join(_escaped(each) for each in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character == "\n":
        return "\\n"
    if character.isprintable() or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    digits, exponent, power = repr(value).partition("e")
    # Without the point, some readers take a number with an exponent for text.
    return f"{digits if '.' in digits else digits + '.0'}{exponent}{power}"
