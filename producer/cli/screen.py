"""The output of a command: text for people, or JSON lines; and its error messages.

Every text is data: it is never read as markup, and characters that control a terminal are removed.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from agentic_flywheel.asker import LOCAL
from agentic_flywheel.errors import ErrorInfo, FlywheelError
from producer.cli.failures import exit_of
from producer.cli.safe_text import clean, isolated, json_line

#: Width in columns where the output is not a terminal, so that tables in a file are not folded.
_FILE_WIDTH = 140

#: Most columns of a table there: longer texts are folded.
_WIDEST = 2000

#: A command to be copied, in a text: its name, and what stands behind it.
_COMMAND = re.compile(r"`flywheel ([a-z-]+)((?: [^`]*)?)`")

#: A text, or a text and its style.
Piece = str | tuple[str, str]


class Screen:
    """Where a command's results go. With ``json`` stdout holds JSON lines and nothing else.

    ``owner`` and ``user``: for whom the command was called; the commands that are suggested name them too.
    """

    def __init__(self, json: bool = False, owner: str = LOCAL, user: str | None = None) -> None:
        self.json = json
        given = {"--owner": None if owner == LOCAL else owner, "--user": user}
        self._whose = {option: name for option, name in given.items() if name is not None}
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)
        #: Whether the last line of stdout is still open.
        self._open = False

    def object(self, value: Any) -> None:
        """Print one JSON object on one line."""
        sys.stdout.write(json_line(value) + "\n")
        sys.stdout.flush()

    def line(self, *pieces: Piece) -> None:
        """Print a line."""
        self._out.print(_text(pieces), soft_wrap=True)

    def part(self, text: str) -> None:
        """Print text without ending the line: a token."""
        shown = clean(text)
        self._out.print(Text(shown), end="", soft_wrap=True)
        self._open = not shown.endswith("\n") if shown else self._open
        sys.stdout.flush()

    def end_part(self) -> None:
        """End the line that a token left open."""
        if self._open:
            self.line()
            self._open = False

    def note(self, *pieces: Piece) -> None:
        """Print a line beside the results, to stderr."""
        self._err.print(_text(pieces), soft_wrap=True)

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self._out.width

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Piece]],
        *,
        right: Sequence[str] = (),
        keep: Sequence[str] = (),
    ) -> None:
        """Print a table; ``right``: the columns of numbers; ``keep``: others that are never folded."""
        self.drawing(table_of(columns, rows, right=right, keep=keep))

    def drawing(self, drawing: RenderableType) -> None:
        """Print what rich draws; its texts must be clean. In a file or a pipe no table is cut or folded."""
        if self._out.is_terminal:
            self._out.print(drawing)
            return
        usual = self._out.width
        self._out.width = max(usual, _widest(self._out, drawing))
        self._out.print(drawing)
        self._out.width = usual

    @contextmanager
    def redrawing(self) -> Iterator[Callable[[RenderableType], None]]:
        """Give a function that draws in the place of what it drew before; in a file, one below the other."""
        if self.json or not self._out.is_terminal:
            yield self.drawing
            return
        from rich.live import Live

        with Live(console=self._out, auto_refresh=False) as live:
            yield lambda drawing: live.update(drawing, refresh=True)

    def facts(self, facts: Sequence[tuple[str, Piece]]) -> None:
        """Print names and values in two columns; a value that is empty is left out."""
        shown = [(name, value) for name, value in facts if value]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self._out.print(Text(f"{name:<{width}}  ", "dim").append_text(_text([value])), soft_wrap=True)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Show an expected failure of the block and end the command with its exit code."""
        try:
            yield
        except FlywheelError as error:
            self.failure(error.describe())
            raise typer.Exit(exit_of(error)) from None

    def failure(self, info: ErrorInfo) -> None:
        """Say on stderr, or as JSON, what happened, what can be done, and when to try again."""
        if self.json:
            self.object(_told(self, info).model_dump(mode="json"))
        else:
            _explain(self._err, _told(self, info))

    def explanation(self, info: ErrorInfo) -> None:
        """Print the same as a result: what a query ended with."""
        _explain(self._out, _told(self, info))

    def runnable(self, text: str) -> str:
        """Return a text of ours whose commands, in backticks, name the owner and the user for whom this one was called.

        Without them the same query would be unknown.
        """
        return _COMMAND.sub(partial(_named, self._whose), text) if self._whose else text


def _told(screen: Screen, info: ErrorInfo) -> ErrorInfo:
    return info.model_copy(update={"recovery_suggestions": tuple(map(screen.runnable, info.recovery_suggestions))})


def _named(whose: Mapping[str, str], found: re.Match[str]) -> str:
    from producer.cli.commands import options_of

    name, rest = found[1], found[2]
    taken = options_of(name, *rest.split()) if "--help" not in rest else ()
    added = [f" {option} {shlex.quote(given)}" for option, given in whose.items() if option in taken]
    return f"`flywheel {name}{rest}{''.join(added)}`"


def _widest(console: Console, drawing: RenderableType) -> int:
    """Return the columns that the widest table of a drawing takes."""
    from rich.measure import Measurement
    from rich.table import Table

    tables = drawing.renderables if isinstance(drawing, Group) else [drawing]
    options = console.options.update(width=_WIDEST)
    return max(
        (Measurement.get(console, options, each).maximum for each in tables if isinstance(each, Table)), default=0
    )


def table_of(
    columns: Sequence[str],
    rows: Sequence[Sequence[Piece]],
    *,
    right: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> RenderableType:
    """Return a table; ``right``: the columns of numbers; ``keep``: others that are never folded."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        numbers = name in right
        table.add_column(
            Text(name), justify="right" if numbers else "left", no_wrap=numbers or name in keep, overflow="fold"
        )
    for row in rows:
        table.add_row(*(_text([cell]) for cell in row))
    return table


def _explain(console: Console, info: ErrorInfo) -> None:
    console.print(_text([("✗ ", "bold red"), (info.error, "bold")]), soft_wrap=True)
    for suggestion in info.recovery_suggestions:
        console.print(_text(["  - ", suggestion]), soft_wrap=True)
    if info.retry_after:
        console.print(_text([(f"  Try again in {info.retry_after:g} s.", "dim")]), soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


def _text(pieces: Sequence[Piece]) -> Text:
    text = Text()
    for piece in pieces:
        said, style = (piece, "") if isinstance(piece, str) else piece
        text.append(isolated(said), style)
    return text
