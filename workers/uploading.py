"""Give a flow the uploads of a query: check that it makes use of them, and have them sent while they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from agentic_flywheel.asker import Asker
from agentic_flywheel.backends.bodies import FileContent, FlowUpload, form_of_files
from agentic_flywheel.backends.flowise.models import UploadsAccepted
from agentic_flywheel.catalog import Flow
from agentic_flywheel.errors import AnswerTooLong, FlowFailed, FlowRefused, UploadRefused
from agentic_flywheel.uploads import Upload
from workers.runtime import Runtime

#: Types of audio that Flowise 3.1 turns into a question; it ignores others.
_HEARD = frozenset({"audio/webm", "audio/mp4", "audio/ogg"})


async def flow_uploads(
    runtime: Runtime, flow: Flow, chat_id: str, asker: Asker, uploads: Sequence[Upload]
) -> tuple[FlowUpload, ...]:
    """Return uploads as the flow takes them in this chat; documents are given to it here, and their text is returned.

    Raises UploadLost, UploadRefused where Flowise cannot read a document, FlowError, FlowRefused where the flow would
    do nothing with one.
    """
    if not uploads:
        return ()
    accepted = await runtime.flowise.chatflows.accepts(flow)
    for upload in uploads:
        if why := _unused(upload, accepted):
            raise FlowRefused(flow.key, f"{upload.name}: {why}")
    await runtime.blobs.require(asker, uploads)

    def content(upload: Upload) -> FileContent:
        return FileContent(upload.size, partial(runtime.blobs.pieces, asker, upload))

    documents = [(each.name, each.type, content(each)) for each in uploads if each.kind == "file"]
    read: list[FlowUpload] = []
    if documents:
        limit = flow.timeout.total_seconds()
        files = form_of_files(documents)
        try:
            read = await runtime.flowise.attach(flow, chat_id, files, api_key=runtime.key_of(flow), timeout=limit)
        except FlowFailed as failed:  # the flow has not been called
            raise UploadRefused(_names(documents), flow.key, failed.reason) from None
        except AnswerTooLong as long:
            raise UploadRefused(_names(documents), flow.key, f"of the text in it, {long.reason}") from None
    return (*read, *(_as_flowise_has_it(each, content) for each in uploads if each.kind != "file"))


def _names(documents: Sequence[tuple[str, str, FileContent]]) -> str:
    names = ", ".join(name for name, _, _ in documents)
    return names if len(documents) == 1 else f"one of {names}"


def _as_flowise_has_it(upload: Upload, content: Callable[[Upload], FileContent]) -> FlowUpload:
    if upload.url is not None:
        return FlowUpload("url", upload.name, upload.type, upload.url)
    return FlowUpload("audio" if upload.kind == "audio" else "file", upload.name, upload.type, content=content(upload))


def _unused(upload: Upload, accepted: UploadsAccepted) -> str:
    """Return why a flow would do nothing with an upload; empty where it makes use of it, or says so itself."""
    if upload.kind == "audio":
        if not accepted.speech:
            return "the flow turns no speech into text; enable that in its configuration"
        return (
            "" if upload.type in _HEARD else f"Flowise turns {', '.join(sorted(_HEARD))} into text, not {upload.type}"
        )
    if upload.kind == "image":
        if upload.type not in accepted.images:
            return f"the flow takes {', '.join(sorted(accepted.images)) or 'no images'}; allow images at its model"
        most = accepted.image_bytes
        return f"it has {upload.size:,} bytes, the flow takes images of {most:,}" if upload.size > most else ""
    return "an address is that of an image" if upload.url is not None else ""
