"""Have a process write its log to a file that is bounded, and all it prints with it."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from io import BufferedWriter, FileIO, TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.settings import Settings

#: As Celery writes it.
_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
STDOUT, STDERR = 1, 2
#: What ends a line, or what a terminal takes for a command.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class PlainRecord(logging.LogRecord):
    """A log record in whose text values from outside, such as a task's id, make no line of their own and no colour."""

    def getMessage(self) -> str:
        message = super().getMessage()
        if message.isprintable():
            return message
        if isinstance(self.args, Mapping):
            message = str(self.msg) % {name: _shown(value) for name, value in self.args.items()}
        elif self.args:
            message = str(self.msg) % tuple(map(_shown, self.args))
        return _CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else _escaped(found), message)


def _shown(value: object) -> object:
    if isinstance(value, int | float):
        return value
    text = str(value)
    return value if text.isprintable() else _CONTROLS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


class BoundedLog(RotatingFileHandler):
    """A rotating log file that also takes what is written to some of the process's descriptors.

    That is written at once, so that the file tells all that a process said which was killed. The size is looked at when
    something is logged.
    """

    def __init__(self, path: Path, *, most_bytes: int, files: int, descriptors: Sequence[int]) -> None:
        self._descriptors = descriptors
        super().__init__(path, maxBytes=most_bytes, backupCount=files, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        only_ours = partial(os.open, mode=0o600)
        stream = open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=only_ours)  # noqa: SIM115
        for descriptor in self._descriptors:
            os.dup2(stream.fileno(), descriptor)
        return stream


class _Spoken(FileIO):
    """What a process says, on one of its descriptors. What nobody takes is lost: nothing that serves ends by it.

    A log's disk gets full, and whoever reads a pipe may end before the process does.
    """

    def write(self, said: Any) -> int:
        try:
            return super().write(said) or 0
        except OSError:
            return memoryview(said).nbytes


def _speak_on(descriptor: int) -> None:
    name = {STDOUT: "stdout", STDERR: "stderr"}[descriptor]
    before = getattr(sys, name)
    if before is None or not _writes_to(descriptor, before):
        return
    spoken = BufferedWriter(_Spoken(descriptor, "w", closefd=False))
    stream = TextIOWrapper(spoken, before.encoding, errors="backslashreplace", line_buffering=True)
    # Celery writes to the second.
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def _writes_to(descriptor: int, stream: Any) -> bool:
    """Whether a stream is the descriptor's; another one that was put in its place stays."""
    try:
        return bool(stream.fileno() == descriptor)
    except (AttributeError, OSError, ValueError):  # it has none
        return False


def tell(line: str) -> None:
    """Write a line to stderr at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def keep_log(settings: Settings, *, descriptors: Sequence[int] = (STDOUT, STDERR)) -> None:
    """Write this process's log, and what it writes to these descriptors, to the file that is set, if one is.

    Call it before anything else sets up logging. Wherever the log goes, its records are plain, and what cannot be
    written there from then on is lost. Raises InvalidSetting where that file cannot be opened.
    """
    logging.setLogRecordFactory(PlainRecord)
    if settings.log_file is not None:
        _log_into(settings.log_file, settings, descriptors)
    for descriptor in descriptors:
        _speak_on(descriptor)


def _log_into(path: Path, settings: Settings, descriptors: Sequence[int]) -> None:
    most = settings.log_bytes
    try:
        # A pipe that nobody reads would have it wait for ever; so it is refused.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600))
        log = BoundedLog(path, most_bytes=most, files=settings.log_files, descriptors=descriptors)
    except OSError as refused:
        raise InvalidSetting("FLYWHEEL_LOG_FILE", f"{path} cannot be written: {refused.strerror}") from None
    log.setFormatter(logging.Formatter(_FORMAT))
    if os.path.getsize(log.baseFilename) >= most:
        log.doRollover()
    logging.getLogger().addHandler(log)
