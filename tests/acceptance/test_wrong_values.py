"""A value that an option does not take is refused in one sentence of ours, whatever the option and the value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from producer.cli.commands import COMMANDS, load_command
from producer.cli.exits import Exit

from .commands import leaves, needed
from .conftest import Flywheel

LONG = "9" * 5_000
#: What no number, duration or choice is.
WRONG = ("x", "", "nan", "-1", "1e999", LONG)
#: Words of the libraries that read command lines, and of faults of ours.
FOREIGN = ("Value error", "Input should", "Unable to parse", "Traceback", "This should not have happened")


def commands() -> Iterator[Any]:
    """Yield every command: its words with what it needs, and the options of it that take a value."""
    for name in COMMANDS:
        for words, command in leaves((name,), load_command(name)):
            options = [each for each in command.params if each.param_type_name == "option" and not each.is_flag]
            if options:
                yield pytest.param((*words, *needed(command)), options, id=" ".join(words))


@pytest.mark.parametrize(("words", "options"), list(commands()))
def test_what_is_no_value_of_an_option_is_refused_in_a_sentence(
    bare_flywheel: Flywheel, words: tuple[str, ...], options: list[Any]
) -> None:
    for option in options:
        if option.type_descriptor.annotation in (str, list[str], Path):
            continue
        for wrong in WRONG:
            outcome = bare_flywheel(*words, option.opts[0], wrong)

            *_, said = outcome.err.splitlines()
            assert (outcome.code, outcome.out) == (Exit.UNUSABLE, ""), (option.opts, wrong)
            assert said.startswith(f"Error: Invalid value for '{option.opts[0]}': "), said
            assert not any(each in said for each in FOREIGN), said
            assert len(said) < 250, said


@pytest.mark.parametrize(("words", "options"), list(commands()))
def test_a_value_without_end_is_no_fault_of_ours(
    bare_flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], options: list[Any]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    for option in options:
        if words[0] in ("up", "demo"):  # a queue may have any name: they would start a worker for it
            continue
        outcome = bare_flywheel(*words, option.opts[0], LONG)

        assert outcome.code in (Exit.DONE, Exit.FAILED, Exit.UNUSABLE, Exit.UNAVAILABLE), (option.opts, outcome)
        assert not any(each in outcome.err for each in FOREIGN), outcome.err
        assert option.opts[0] != "--key" or LONG not in outcome.err + outcome.out
