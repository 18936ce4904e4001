"""Give the broker the files of a query. They are sent only where no answer is there without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from agentic_flywheel.broker import scripts
from agentic_flywheel.broker.blobs import blob_name
from agentic_flywheel.errors import InvalidQuery
from agentic_flywheel.models import Query
from agentic_flywheel.settings import Settings
from agentic_flywheel.uploads import LARGEST
from producer.connections import Caller, repeated

#: Times that a submission is repeated because a file that was there before has gone meanwhile.
_ATTEMPTS = 3

Submit = Callable[[], Awaitable[scripts.SubmitReply]]


def check_sizes(query: Query, settings: Settings) -> None:
    """Raises InvalidQuery where a file is larger than one may be."""
    most = settings.upload_bytes if settings.uploads_url is None else max(settings.upload_bytes, LARGEST)
    for upload in query.uploads:
        if upload.size > most:
            more = "FLYWHEEL_UPLOADS_URL names a folder for larger ones" if most < LARGEST else "flows take no more"
            raise InvalidQuery(
                "uploads", f"{upload.name} has {upload.size:,} bytes, at most {most:,} are accepted; {more}"
            )


async def submitted_with_files(caller: Caller, query: Query, submit: Submit) -> scripts.SubmitReply:
    """Return the reply to a submission, before which the broker got the files that it lacks.

    Raises what ``submit`` raises; UploadLost where this process does not have a file, UploadsFull, InvalidQuery.
    """
    blobs, given = caller.shared.blobs, list[str]()
    accepted = False
    try:
        for _ in range(_ATTEMPTS):
            reply = await repeated(caller, submit)
            if not isinstance(reply, scripts.SubmitLacking):
                accepted = isinstance(reply, scripts.SubmitAccepted | scripts.SubmitAttached | scripts.SubmitExists)
                return reply
            given += reply.names
            await _give(caller, query, reply.names)
        return reply
    finally:
        if given and not accepted:
            await blobs.spare(given)


async def _give(caller: Caller, query: Query, names: Sequence[str]) -> None:
    for upload in query.uploads:
        if blob_name(query.asker, upload) in names:
            await repeated(caller, partial(caller.shared.blobs.keep, query.asker, upload))
