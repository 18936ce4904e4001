"""Give a chatflow the uploads of a call: check that it makes use of them, and have it read the documents."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import SecretStr

from agentic_flywheel.backends.bodies import FlowUpload, form_of_files
from agentic_flywheel.backends.flowise.client import FlowiseClient
from agentic_flywheel.backends.flowise.models import UploadsAccepted
from agentic_flywheel.backends.models import FlowCall
from agentic_flywheel.errors import AnswerTooLong, FilesRefused, FlowFailed, FlowRefused, UploadRefused

#: Types of audio that Flowise 3.1 turns into a question; it ignores others.
_HEARD = frozenset({"audio/webm", "audio/mp4", "audio/ogg"})


async def given(client: FlowiseClient, call: FlowCall, *, api_key: SecretStr | None) -> tuple[FlowUpload, ...]:
    """Return a call's uploads as Flowise takes them in this chat: of documents, which it reads now, their text.

    Raises UploadRefused where Flowise cannot read a document, FlowError, FilesRefused where the flow would do nothing
    with one.
    """
    if not call.uploads:
        return ()
    flow = call.flow
    accepted = await client.chatflows.accepts(flow)
    if any(_unused(upload, accepted) for upload in call.uploads):
        accepted = await client.chatflows.accepts(flow, age=0.0)
    for upload in call.uploads:
        if why := _unused(upload, accepted):
            raise FilesRefused(flow.key, f"{upload.name}: {why}")
    documents = [
        (each.name, each.mime, each.content) for each in call.uploads if each.type == "document" and each.content
    ]
    read: list[FlowUpload] = []
    if documents and call.chat_id is not None:
        files, limit, names = form_of_files(documents), flow.timeout.total_seconds(), [name for name, *_ in documents]
        try:
            read = await client.attach(flow, call.chat_id, files, api_key=api_key, timeout=limit)
        except FlowRefused as refused:
            raise FilesRefused(flow.key, f"{_listed(names)}: {refused.reason}") from None
        except FlowFailed as failed:  # the flow has not been called
            raise UploadRefused(_listed(names), flow.key, failed.reason) from None
        except AnswerTooLong as long:
            raise UploadRefused(_listed(names), flow.key, f"of the text in it, {long.reason}") from None
    return (*read, *(each for each in call.uploads if each.type != "document"))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _unused(upload: FlowUpload, accepted: UploadsAccepted) -> str:
    """Return why a flow would do nothing with an upload; empty where it makes use of it, or says so itself."""
    if upload.type == "audio":
        if not accepted.speech:
            return "the flow turns no speech into text; enable that in its configuration"
        return (
            "" if upload.mime in _HEARD else f"Flowise turns {', '.join(sorted(_HEARD))} into text, not {upload.mime}"
        )
    if upload.type == "document":
        return ""
    if not upload.mime.startswith("image/"):
        return "an address is that of an image"
    if upload.mime not in accepted.images:
        return f"the flow takes {', '.join(sorted(accepted.images)) or 'no images'}; allow images at its model"
    size, most = upload.content.size if upload.content else 0, accepted.image_bytes
    return f"it has {size:,} bytes, the flow takes images of {most:,}" if size > most else ""
