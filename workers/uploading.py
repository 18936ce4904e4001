"""Have the uploads of a query sent to a flow while they are read from where they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agentic_flywheel.asker import Asker
from agentic_flywheel.backends.bodies import FileContent, FlowUpload, UploadType
from agentic_flywheel.uploads import Upload
from workers.runtime import Runtime

_TYPES: dict[str, UploadType] = {"image": "file", "audio": "audio", "file": "document"}


async def flow_uploads(runtime: Runtime, asker: Asker, uploads: Sequence[Upload]) -> tuple[FlowUpload, ...]:
    """Return uploads as a backend takes them. Raises UploadLost."""
    if not uploads:
        return ()
    await runtime.blobs.require(asker, uploads)

    def sent(upload: Upload) -> FlowUpload:
        if upload.url is not None:
            return FlowUpload("url", upload.name, upload.type, upload.url)
        content = FileContent(upload.size, partial(runtime.blobs.pieces, asker, upload))
        return FlowUpload(_TYPES[upload.kind], upload.name, upload.type, content=content)

    return tuple(map(sent, uploads))
