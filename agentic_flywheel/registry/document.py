"""A registry's text as plain data, with the line of every key; nothing in it is evaluated, and its size is bounded."""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from agentic_flywheel import texts
from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.errors.given import WHOLE_FILE
from agentic_flywheel.regular_files import NotRegularError, open_regular
from agentic_flywheel.written import Number, Whole

MAX_BYTES = 5_000_000
#: Values in all, with every alias written out: a few lines of aliases of aliases would otherwise fill the memory.
MAX_VALUES = 200_000

#: Keys and list positions that lead from the root to a value.
Where = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_TRUE = frozenset({"true", "yes", "on", "y"})
#: Truths to readers of YAML 1.1, texts to those of 1.2, as we are.
_TRUTHS = frozenset({"yes", "no", "on", "off", "y", "n"})
_DECIMAL = re.compile(r"[-+]?[0-9]+")
#: Numbers that say no more than their value; of others, such as 010, 0x1F, 1_000 and 3.10, another may be meant.
_CLEAR = re.compile(r"[-+]?(0|[1-9][0-9]*|0?\.[0-9]+|[1-9][0-9]*\.(0?|[0-9]*[1-9])|\.(inf|nan))", re.IGNORECASE)
#: A comment behind a text in the same line.
_COMMENT = re.compile(r"[ \t]*(#[^\r\n]*)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NULL = frozenset({"null", "Null", "NULL"})
#: What to do about what the reader of YAML stumbles over, by a part of what it says.
_ADVICE = {
    "found character '\\t'": "put spaces in the place of tabs: YAML indents by spaces",
    "that cannot start any token": "put a text that begins with it in quotes",
    "found undefined alias": "put a text that begins with `*` in quotes",
    "mapping values are not allowed here": "a space follows the colon of a key; put a text that holds `: ` in quotes",
    "could not find expected ':'": "each line of a mapping is a key, a colon and a space",
    "expected a comment or a line break": "put a text that begins with `|` or `>` in quotes",
    "found unknown escape character": "in double quotes a backslash has a meaning: put the text in single quotes",
    "but found '<block mapping start>'": "this line is indented less than those above it, and ends none of them",
    "but found another document": "a registry has one document: remove the line `---`",
    "expected <block end>, but found '<scalar>'": "a text that begins with a quote or a bracket has to end with it",
    "found unexpected end of stream": "a quote or a bracket is not closed",
}
#: White space at the beginning of a line that is no indentation to YAML.
_OTHER_SPACE = re.compile(r"[ \t]*([^\S \t\r\n])")
_WIDE_COLON = "\uff1a"
_IS_WIDE_COLON = f"{_WIDE_COLON} is a full-width colon, YAML has `:`"


class Odd(NamedTuple):
    """A value without quotes that says one thing to YAML and may say another to who wrote it."""

    kind: Literal["number", "null", "truth", "cut", "anchor"]
    text: str


@dataclass(frozen=True, eq=False)
class Document:
    """One registry file. ``faults`` are those of the text itself; with a syntax error there is no data."""

    path: Path
    text: str
    #: The composed YAML, whose marks say where each value stands in the text.
    root: Node | None = None
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Where, int] = field(default_factory=dict)
    faults: tuple[InvalidRegistry, ...] = ()
    #: Values that were read as something else than some people mean by them, and as what.
    odd: dict[Where, Odd] = field(default_factory=dict)

    def line_of(self, where: Where) -> int:
        """Return the line of a key, or of the nearest one around it that is there."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def fault(self, where: Where, reason: str) -> InvalidRegistry:
        return InvalidRegistry(str(self.path), self.line_of(where), dotted(where), reason)


def dotted(where: Where) -> str:
    """Return ``operational_flows.poet.examples[2]`` for the way to a value."""
    text = ""
    for step in where:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or WHOLE_FILE


def read_document(path: Path) -> Document:
    """Read a registry file."""
    try:
        return document_of(path, content_of(path))
    except InvalidRegistry as refused:
        return Document(path, "", faults=(refused,))


def content_of(path: Path) -> bytes:
    """Return the bytes of a file of YAML, at most one more than is acceptable. Raises InvalidRegistry."""
    try:
        with open_regular(path) as file:
            return file.read(MAX_BYTES + 1)
    except OSError as refused:
        raise unreadable(path, refused) from None


def unreadable(path: Path, refused: OSError) -> InvalidRegistry:
    """Return the error for a file of YAML that is there and that this user cannot read."""
    if isinstance(refused, FileNotFoundError):
        remedy = f"Correct the link, which leads nowhere: `ls -l {path}`."
    elif isinstance(refused, NotRegularError):
        remedy = f"Put a file there in the place of what is there: `ls -ld {path}`."
    else:
        remedy = f"Let this user read it, and the folders above it: `ls -ld {path}`."
    return InvalidRegistry(str(path), 1, WHOLE_FILE, f"cannot be read: {refused.strerror or refused}", remedy)


def document_of(path: Path, raw: bytes) -> Document:
    """Read a registry from its bytes; ``path`` serves the messages."""
    if len(raw) > MAX_BYTES:
        return _unreadable(path, f"is too large: a registry has at most {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as refused:
        line = raw.count(b"\n", 0, refused.start) + 1
        return _unreadable(path, _WIDE if _is_wide(raw) else "is not UTF-8; save it as UTF-8", line=line)
    if _is_wide(raw):
        return _unreadable(path, _WIDE)
    try:
        yaml = YAML()
        # It would warn on stderr; a remark says it with its line.
        yaml.composer.warn_double_anchors = False
        root = yaml.compose(text)
    except MarkedYAMLError as refused:
        line = _line(refused)
        return _unreadable(path, f"is not YAML: {refused.problem}{_advice(refused, text, line)}", text=text, line=line)
    except ReaderError as refused:
        line = text.count("\n", 0, refused.position) + 1
        return _unreadable(path, f"is not YAML: it holds U+{ord(text[refused.position]):04X}", text=text, line=line)
    except (YAMLError, ValueError, AssertionError) as refused:  # the last: of a version of YAML that it does not know
        return _unreadable(path, f"is not YAML: {str(refused).splitlines()[0]}", text=text)
    except RecursionError:
        return _unreadable(path, "is nested too deeply", text=text)
    if not isinstance(root, MappingNode):
        what = "is empty" if root is None else "is a list" if isinstance(root, SequenceNode) else "is a single value"
        wide = f"; {_IS_WIDE_COLON}" if _WIDE_COLON in text else ""
        return _unreadable(
            path, f"{what}; it should be a mapping with the section `operational_flows`{wide}", text=text
        )
    reader = _PlainData(path, text)
    try:
        data = reader.value(root, ())
    except _TooMuch:
        return _unreadable(path, f"stands for more than {MAX_VALUES} values, or for itself, by its aliases", text=text)
    return Document(path, text, root, data, reader.lines, tuple(reader.faults), reader.odd)


class _TooMuch(Exception):
    """The aliases of the text stand for too much."""


class _PlainData:
    """Turns composed nodes into plain data and notes the line of each key."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text
        self.lines: dict[Where, int] = {}
        self.faults: list[InvalidRegistry] = []
        self.odd: dict[Where, Odd] = {}
        self._left = MAX_VALUES
        self._open: set[int] = set()
        self._anchors: dict[str, Node] = {}

    def value(self, node: Node, where: Where) -> Any:
        self._left -= 1
        if self._left < 0 or id(node) in self._open:
            raise _TooMuch
        self.lines.setdefault(where, node.start_mark.line + 1)
        if node.anchor:
            if self._anchors.get(node.anchor, node) is not node:
                self.odd[where] = Odd("anchor", f"&{node.anchor}")
            self._anchors[node.anchor] = node
        if isinstance(node, ScalarNode):
            return self._scalar(node, where)
        kind = str(node.tag).removeprefix(_TAG)
        if kind not in ("map", "seq"):
            self._refuse(node, where, f"has a tag that a registry does not know: {kind}")
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.value(each, (*where, number)) for number, each in enumerate(node.value)]
            return self._mapping(node, where)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Node, where: Where) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                # The values of earlier mappings win over those of later ones.
                bases = value.value if isinstance(value, SequenceNode) else [value]
                for base in bases:
                    if not isinstance(base, MappingNode):
                        self._refuse(key, (*where, "<<"), "should name mappings, whose keys are merged here")
                        continue
                    merged = self.value(base, where) | merged
        own: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, ScalarNode):
                self._refuse(key, where, "a key should be plain text")
                continue
            name = _joined(str(key.value))
            if fault := texts.fault_in(name):
                self._refuse(key, where, f"has a key that is not acceptable: {fault}")
                continue
            if key.style is None and name[:1].isspace():
                self._refuse(key, (*where, name.strip()), _indented(name[0]))
                continue
            if name in own:
                self._refuse(key, (*where, name), f"is given twice, first in line {self.lines[(*where, name)]}")
                continue
            # The key's own line, also where a merged mapping has the key or the value stands elsewhere.
            self.lines[(*where, name)] = key.start_mark.line + 1
            own[name] = self.value(value, (*where, name))
        return merged | own

    def _scalar(self, node: ScalarNode, where: Where) -> Any:
        # The composer marks the folds of a `>` text with a character that cannot stand in one.
        text = _joined(str(node.value).replace("\a", "") if node.style == ">" else str(node.value))
        kind = str(node.tag).removeprefix(_TAG)
        match kind:
            case "null":
                if text in _NULL:
                    self.odd[where] = Odd("null", text)
                return None
            case "bool":
                return text.lower() in _TRUE
            case "int" | "float":
                if not _CLEAR.fullmatch(text):
                    self.odd[where] = Odd("number", text)
                return _number(text)
            case "str" | "timestamp" | "value":
                if node.style is None and text.lower() in _TRUTHS:
                    self.odd[where] = Odd("truth", text)
                elif node.style is None and (comment := _COMMENT.match(self._text, node.end_mark.index)):
                    self.odd[where] = Odd("cut", comment[1])
                if fault := texts.fault_in(text):
                    self._refuse(node, where, fault)
                return text
        self._refuse(node, where, f"has a tag that a registry does not know: {kind}")
        return None

    def _refuse(self, node: Node, where: Where, reason: str) -> None:
        self.faults.append(InvalidRegistry(str(self.path), node.start_mark.line + 1, dotted(where), reason))


def _joined(text: str) -> str:
    """Return a text in which two halves of a pair are the character that they stand for, as JSON writes it."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _number(text: str) -> int | float | str:
    """Return the number that the text means; what Python cannot read as one stays text."""
    plain = text.replace("_", "").lower()
    try:
        # As YAML 1.2 has it: 010 is ten.
        return Whole(text, int(plain, 10 if _DECIMAL.fullmatch(plain) else 0))
    except ValueError:
        pass
    try:
        return Number(text, plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text


_WIDE = "is UTF-16 or UTF-32; save it as UTF-8"


def _is_wide(raw: bytes) -> bool:
    """Whether a text has two or four bytes a character: it has a mark, or its first characters have empty halves."""
    return raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or 0 in raw[:4]


def _advice(refused: MarkedYAMLError, text: str, line: int) -> str:
    near = text.splitlines()[max(0, line - 2) : line]
    if any(_WIDE_COLON in each for each in near):
        return f"; {_IS_WIDE_COLON}"
    if found := next(filter(None, map(_OTHER_SPACE.match, near)), None):
        return f"; a line here {_indented(found[1])}"
    return next((f"; {advice}" for part, advice in _ADVICE.items() if part in str(refused.problem)), "")


def _indented(space: str) -> str:
    return (
        f"begins with U+{ord(space):04X} ({unicodedata.name(space, 'a space').lower()}): YAML indents by plain spaces"
    )


def _line(refused: MarkedYAMLError) -> int:
    mark = refused.problem_mark or refused.context_mark
    return mark.line + 1 if mark is not None else 1


def _unreadable(path: Path, reason: str, *, text: str = "", line: int = 1) -> Document:
    return Document(path, text, faults=(InvalidRegistry(str(path), line, WHOLE_FILE, reason),))
