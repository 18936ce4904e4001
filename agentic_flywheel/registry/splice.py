"""Change values inside a YAML text and leave every other character of it alone: comments, order, quotes, blank lines.

A dump of the whole document would move comments and fold lines that nobody touched. So the places are taken from the
composed nodes and only their text is replaced. What stands in flow style (``{a: 1}``) is replaced as a whole. The
caller compares what the new text says with what it should say.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from agentic_flywheel.registry.block_style import Layout, block, scalar
from agentic_flywheel.registry.document import Document
from agentic_flywheel.registry.patch import Append, Change, Item, patched, same

_DASH = re.compile(r"[ ]*-[ ]+")
_COMMENT_LINE = re.compile(r"([ ]*)#.*\r?\n")


class NotInPlace(Exception):
    """The text is written in a way that cannot be changed in place."""


class Edit(NamedTuple):
    """Put ``text`` in the place of the characters from ``start`` to ``end``."""

    start: int
    end: int
    text: str


def spliced(document: Document, change: Change) -> str:
    """Return the document's text with the change made. Raises NotInPlace."""
    page = _Page(document)
    text = page.text
    edits = [*page.root(document, change)]
    # From the end to the start, so that no edit moves another's place. Where several begin at one place, what is
    # replaced goes before what is added there. Of additions the outer one, which came last, goes first: the inner one
    # then pushes it down.
    edits.reverse()
    edits.sort(key=lambda each: (each.start, each.end > each.start), reverse=True)
    for edit in edits:
        text = text[: edit.start] + edit.text.replace("\n", page.newline) + text[edit.end :]
    return text


class _Page:
    """The text and how its author lays things out."""

    def __init__(self, document: Document) -> None:
        self.newline = "\r\n" if "\r\n" in document.text else "\n"
        # Every line ends with its newline, so that lines can be added and removed whole.
        self.text = document.text if document.text.endswith("\n") else document.text + self.newline
        self.layout = _layout(document.root)

    def root(self, document: Document, change: Change) -> Iterator[Edit]:
        """Yield the edits that make the change to the whole document."""
        root = document.root
        if isinstance(root, MappingNode) and not root.flow_style:
            yield from self._mapping(root, document.data, change)
        elif root is not None:
            yield self._put(root, patched(document.data, change), root.start_mark.column)

    def _mapping(self, node: MappingNode, data: dict[str, Any], change: Mapping[str, Any]) -> Iterator[Edit]:
        entries = {str(key.value): (key, value) for key, value in node.value}
        column = node.value[0][0].start_mark.column
        kept = [name for name in entries if change.get(name, "") is not None]
        first = node.value[0][0]
        heads_an_item = bool(self.text[self._line_start(first.start_mark.index) : first.start_mark.index].strip())
        if not kept or (heads_an_item and kept[0] != str(first.value)):
            yield self._put(node, patched(data, change), column)
            return
        added: dict[str, Any] = {}
        for name, inner in change.items():
            if inner is not None and name in data and same(patched(data[name], inner), data[name]):
                continue
            if name not in entries:
                if inner is not None:
                    added[name] = patched(data.get(name), inner)
            elif inner is None:
                key, value = entries[name]
                yield Edit(self._line_start(key.start_mark.index), self._next_line(self._end(value, key)), "")
            else:
                yield from self._entry(*entries[name], data[name], inner)
        if added:
            key, value = entries[kept[-1]]
            apart = self._are_apart(node) and all(isinstance(each, dict) for each in added.values())
            yield self._below(self._end(value, key), added, column, apart=apart)

    def _entry(self, key: Node, value: Node, data: Any, change: Change) -> Iterator[Edit]:
        """Yield the edits of one ``key: value``."""
        new = patched(data, change)
        if value.start_mark.index < key.start_mark.index:
            raise NotInPlace(f"the value of `{key.value}` is an alias")
        in_block = isinstance(value, CollectionNode) and not value.flow_style
        if in_block and isinstance(value, MappingNode) and isinstance(change, Mapping) and new:
            yield from self._mapping(value, data, change)
        elif in_block and isinstance(value, SequenceNode) and isinstance(change, Item):
            yield from self._item(value.value[change.number], data[change.number], change.change)
        elif in_block and isinstance(value, SequenceNode) and isinstance(change, Append):
            yield self._below(self._end(value, key), [change.item], value.start_mark.column, apart=False)
        elif in_block and isinstance(value, SequenceNode) and self._is_plain_list(value) and _is_list_of_scalars(new):
            yield from self._list(value, data, new)
        elif not in_block and not _is_block_scalar(value) and not isinstance(new, list | dict):
            end = self._end(value, key)
            start, before = (end, " ") if _is_empty(value) else (value.start_mark.index, "")
            yield Edit(start, end, before + scalar(new))
        else:
            start = key.start_mark.index
            yield Edit(start, self._end(value, key), block({str(key.value): new}, key.start_mark.column, self.layout))

    def _item(self, node: Node, data: Any, change: Change) -> Iterator[Edit]:
        if isinstance(node, MappingNode) and not node.flow_style:
            yield from self._mapping(node, data, change)
        else:
            yield self._put(node, patched(data, change), node.start_mark.column)

    def _list(self, node: SequenceNode, old: list[Any], new: list[Any]) -> Iterator[Edit]:
        """Yield the edits of a list of plain values: items that stay keep their lines and comments."""
        lines = [self._line_start(item.start_mark.index) for item in node.value]
        ends = [self._next_line(self._end(item, item)) for item in node.value]
        dash = " " * node.start_mark.column + "- "
        before, after = [[repr(each) for each in side] for side in (old, new)]
        for action, start, end, first, last in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
            if action == "equal":
                continue
            for number in range(start, end):
                yield Edit(lines[number], ends[number], "")
            place = ends[end - 1] if end else lines[0]
            yield Edit(place, place, "".join(f"{dash}{scalar(each)}\n" for each in new[first:last]))

    def _is_plain_list(self, node: SequenceNode) -> bool:
        """Return whether each item of a list is a plain value on lines of its own, with a dash before it."""
        return bool(node.value) and all(
            isinstance(item, ScalarNode)
            and item.start_mark.index >= node.start_mark.index
            and _DASH.fullmatch(self.text[self._line_start(item.start_mark.index) : item.start_mark.index])
            for item in node.value
        )

    def _put(self, node: Node, new: Any, column: int) -> Edit:
        """Put a new value where the node stands."""
        return Edit(node.start_mark.index, self._end(node, node), block(new, column, self.layout))

    def _below(self, end: int, added: Any, column: int, *, apart: bool) -> Edit:
        """Add lines below what ends here, and below the comments that are indented as part of it."""
        place = self._next_line(end)
        while (line := _COMMENT_LINE.match(self.text, place)) and len(line[1]) > column:
            place = line.end()
        gap = "\n" if apart else ""
        return Edit(place, place, f"{gap}{' ' * column}{block(added, column, self.layout)}\n")

    def _are_apart(self, node: MappingNode) -> bool:
        """Return whether a blank line stands between the last two entries."""
        if len(node.value) < 2:
            return False
        (key, value), (last, _) = node.value[-2:]
        between = self.text[self._next_line(self._end(value, key)) : last.start_mark.index]
        return any(not line.strip() for line in between.splitlines()[:-1])

    def _end(self, node: Node, after: Node) -> int:
        """Return where the text of a node ends, without the comments and blank lines that follow."""
        if node.start_mark.index < after.start_mark.index:  # an alias; what it stands for is above
            return int(after.end_mark.index)
        if _is_empty(node):  # its marks are those of whatever comes next
            if node is after:
                raise NotInPlace("a list ends with an empty item")
            return self.text.index(":", after.end_mark.index) + 1
        if isinstance(node, ScalarNode):
            return self._end_of_block(node) if _is_block_scalar(node) else int(node.end_mark.index)
        if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
            return int(node.end_mark.index)
        if isinstance(node, MappingNode):
            key, value = node.value[-1]
            return self._end(value, key)
        if node.value[-1].start_mark.index < node.start_mark.index:
            raise NotInPlace("a list ends with an alias")
        return self._end(node.value[-1], node.value[-1])

    def _end_of_block(self, node: Node) -> int:
        """Return where the last line of a ``|`` or ``>`` text ends."""
        head = self._next_line(node.start_mark.index)
        lines = self.text[head : max(head, node.end_mark.index)].splitlines(keepends=True)
        full = [line for line in lines if line.strip()]
        if not full:
            return head - len(self.newline)
        indent = len(full[0]) - len(full[0].lstrip(" "))
        end = place = head
        for line in lines:
            if line.strip() and len(line) - len(line.lstrip(" ")) < indent:
                break
            place += len(line)
            if line.strip():
                end = place
        return end - (len(self.newline) if self.text[:end].endswith("\n") else 0)

    def _line_start(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def _next_line(self, index: int) -> int:
        return self.text.index("\n", index) + 1


def _is_list_of_scalars(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not any(isinstance(each, list | dict) for each in value)


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index


def _is_block_scalar(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style in ("|", ">")


def _layout(root: Node | None) -> Layout:
    """Return by how much the document mostly indents mappings, and the dashes of lists, below their keys."""
    steps: Counter[int] = Counter()
    offsets: Counter[int] = Counter()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, MappingNode) or node.flow_style:
            continue
        for key, value in node.value:
            below = value.start_mark.column - key.start_mark.column
            if value.start_mark.index < key.start_mark.index or not isinstance(value, CollectionNode):
                continue
            if isinstance(value, MappingNode) and not value.flow_style:
                steps[below] += 1
                waiting.append(value)
            elif not value.flow_style:
                offsets[below] += 1
    return Layout(_usual(steps), _usual(offsets))


def _usual(counted: Counter[int]) -> int:
    return counted.most_common(1)[0][0] if counted else 2
