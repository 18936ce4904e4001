"""Failures of the files that go with queries."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_flywheel.errors.base import RETRY_RATE_LIMIT, FlywheelError
from agentic_flywheel.errors.flow import FlowRefused


@dataclass(eq=False)
class UploadLost(FlywheelError):
    """A file of a query is not kept any more: it expired, its query had ended, or somebody changed it."""

    name: str
    changed: bool = False

    suggestions = (
        "Submit the query again and give the file with it.",
        "A query that is asked again by its record, by a replay or as a dead letter has no files any more.",
        "Raise FLYWHEEL_UPLOAD_TTL where queries wait for longer than files are kept.",
        "Give all producers and workers the same FLYWHEEL_UPLOADS_URL, where larger files are kept apart.",
    )

    @property
    def message(self) -> str:
        if self.changed:
            return f"The file {self.name!r} of this query was changed where it is kept, so it is not sent"
        return f"The file {self.name!r} of this query is not kept any more"


@dataclass(eq=False)
class UploadsFull(FlywheelError):
    """The files of open queries take up all the room that there is for them; the query was not accepted."""

    taken: int
    most: int

    transient = True
    retry_hint = RETRY_RATE_LIMIT
    suggestions = (
        "Submit again after `retry_after` seconds: files are deleted when their queries end.",
        "Raise FLYWHEEL_UPLOADS_BYTES, if the broker's memory allows it.",
        "Give images by their address, which takes up no room.",
    )

    @property
    def message(self) -> str:
        return f"Files take up {self.taken:,} of {self.most:,} bytes, and there is no room for this one now"


@dataclass(eq=False)
class UploadNotKept(FlywheelError):
    """A file could not be written where it is to be kept, such as to a full disk; the query was not accepted."""

    #: Where it was to be kept: the setting or variable that says so.
    where: str
    reason: str

    transient = True
    retry_hint = 60.0
    suggestions = (
        "Make room where the files are kept, or name another place; then submit again.",
        "Give images by their address, which takes up no room.",
        "Leave the file out, and give its text in the question.",
    )

    @property
    def message(self) -> str:
        return f"A file cannot be kept where {self.where} says: {self.reason}"


@dataclass(eq=False)
class UploadRefused(FlywheelError):
    """The flow's server could not read a file of the query. The flow was not called, and is not to blame."""

    #: Of the documents that were given together: Flowise does not say which of them it could not read.
    names: str
    flow: str
    reason: str

    suggestions = (
        "Open the file here: it may be damaged, protected by a password, or of another kind than its name says.",
        "Give the documents one at a time, to find the one that cannot be read.",
        "Save the document anew, or give its text: as a .txt file, or in the question.",
    )

    @property
    def message(self) -> str:
        return f"The server of the flow {self.flow!r} could not read {self.names}: {self.reason}"


@dataclass(eq=False)
class FilesRefused(FlowRefused):
    """The flow makes no use of a file that goes with the question. It was not called."""

    suggestions = (
        "Name a flow that makes use of such files: a question that is classified goes where its words belong.",
        "Allow them in Flowise: images at the chat model, speech to text, or full file upload with the file's type.",
        "Leave the files out, and ask again.",
    )
    elsewhere = (suggestions[0], "Look up which files the flow's server takes: docs/backends.md.", suggestions[2])


@dataclass(eq=False)
class FormRefused(FlowRefused):
    """The form is not the one with which the flow begins on its server. The flow was not called."""

    suggestions = (
        "Fill in the form that the flow has on its server, or ask it a question where it has none.",
        "Compare it with the `form` of the registry, which may be of an earlier day: `flywheel flows check`.",
        "Correct `form` in the registry, or take it out there and let `flywheel flows import` write it anew.",
    )
