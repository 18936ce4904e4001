"""What is told to the benchmarks that they cannot do is refused before anything starts."""

from __future__ import annotations

import argparse
import importlib
import os
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

import pytest
from processes import REPOSITORY

from benchmarks.lab.parts import lab
from benchmarks.lab.rooms import NoRoom
from benchmarks.pipeline import rows_of

MODULES = sorted(each.stem for each in (REPOSITORY / "benchmarks").glob("*.py") if "def main()" in each.read_text())


class Parsed(Exception):
    """The parser is complete: nothing else is to happen."""


@pytest.mark.parametrize("module", MODULES)
def test_a_number_below_its_bounds_is_refused(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsers = list[argparse.ArgumentParser]()

    def stop(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parsers.append(parser)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(Parsed):
        importlib.import_module(f"benchmarks.{module}").main()

    shown = [each for each in parsers[0]._actions if each.help != argparse.SUPPRESS]
    for option in shown:
        if callable(option.type) and option.type is not Path:
            for text in ("-1", "x", "nan"):
                with pytest.raises(argparse.ArgumentTypeError):
                    option.type(text)


def test_a_queue_whose_packages_cannot_be_had_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: object) -> Any:
        raise NoRoom("taskiq, whose packages cannot be installed: no network")

    rows = list(rows_of([lambda _: {"queries_per_s": 4}, missing, lambda _: {"queries_per_s": 2}]))

    assert [row["ratio"] for row in rows] == [1.0, 0.5]
    assert "left out: taskiq, whose packages cannot be installed: no network" in capsys.readouterr().err


def test_what_the_shell_has_for_workers_and_http_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CONCURRENCY", "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    # It keeps the proxy of its first call, for all later ones of this process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    with lab() as here:
        assert "FLYWHEEL_CONCURRENCY" not in os.environ
        here.flows(0)
    assert os.environ["FLYWHEEL_CONCURRENCY"] == "1"
