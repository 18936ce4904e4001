"""Every command of the command line, with arguments that are enough to carry it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from producer.cli.commands import COMMANDS, load_command

#: What commands need that need one of several things.
ONE_OF: dict[tuple[str, ...], tuple[str, ...]] = {
    ("profiles", "use"): ("--none",),
    ("pause",): ("--domain", "technical"),
    ("resume",): ("--domain", "technical"),
    ("replay", "run"): ("1",),
    ("cancel",): ("1",),
    ("ask",): ("1",),
    ("submit",): ("1",),
    ("route",): ("1",),
    ("dead-letters", "retry"): ("1",),
    ("dead-letters", "purge"): ("1",),
}


def every_command(*, with_option: str = "") -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, each with what it needs; only of those that have an option."""
    for name in COMMANDS:
        for words, command in leaves((name,), load_command(name)):
            if not with_option or any(with_option in parameter.opts for parameter in command.params):
                yield (*words, *needed(command), *ONE_OF.get(words, ()))


def leaves(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, each in command.commands.items():
        yield from leaves((*words, name), each)
    if command.params and command.invoke_without_command:
        yield words, command


def needed(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.required:
            value = "1"
            yield from (value,) if parameter.param_type_name == "argument" else (parameter.opts[0], value)
