"""Files that go with a question: in the call itself as `data:` addresses, as addresses of images, or as paths.

A path is read only where whoever started the bridge has named a folder, and only below that folder. No client that
comes over HTTP is given one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field

from agentic_flywheel.data_addresses import is_data_address, read_data_address
from agentic_flywheel.errors import InvalidQuery, InvalidSetting
from agentic_flywheel.places import expanded
from agentic_flywheel.uploads import MOST_UPLOADS, FileBelow, Upload, placed

#: Bytes of the files in one call, all together: in base64 they leave room in a message for all else of a query.
INLINE_BYTES = 2_500_000

#: As a tool takes them. One alone may stand for a list of one.
Files = Annotated[
    tuple[str, ...],
    Field(
        max_length=MOST_UPLOADS,
        description="Files: images' addresses, or data:TYPE;name=NAME;base64,… (2.5 MB in all).",
    ),
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
]
#: Said shorter, in the tools that are not in the default list.
BriefFiles = Annotated[Files, Field(description="Files: images' addresses, or data:TYPE;base64,…")]


def shared_folder(given: str) -> Path:
    """Return the folder below which a client may name files. Raises InvalidSetting where there is none."""
    try:
        folder = expanded(Path(given)).resolve()
    except ValueError as refused:
        raise InvalidSetting("--files", str(refused)) from None
    # A variable that holds nothing would share the folder in which the bridge was started.
    if not given or not folder.is_dir():
        raise InvalidSetting("--files", f"{given} is no folder" if given else "it is empty: name a folder")
    return folder


async def uploads_of(given: Sequence[str], folder: Path | None) -> list[Upload]:
    """Return the files of a call as uploads of a query. ``folder``: below which paths may be read.

    Raises InvalidQuery.
    """
    found, inline = list[Upload](), 0
    for number, each in enumerate(given):
        try:
            found.append(await _upload(each, number, folder))
        except InvalidQuery as refused:
            raise placed(refused, number) from None
        inline += found[-1].size if is_data_address(each) else 0
    if inline > INLINE_BYTES:
        raise InvalidQuery(
            "uploads",
            f"the files in the call have {inline:,} bytes together, at most {INLINE_BYTES:,} are accepted; larger ones "
            "are given on the command line, over HTTP, from Python, or below the folder of the bridge's --files",
        )
    return found


async def _upload(given: str, number: int, folder: Path | None) -> Upload:
    if _begins(given, "http:", "https:"):
        return Upload.at(given)
    if is_data_address(given):
        held = read_data_address(given, "uploads")
        return Upload.of(held.content, held.file_name(f"file-{number + 1}"))
    if folder is None:
        raise InvalidQuery(
            "uploads",
            "it is neither a data: address nor one of http:// or https://; paths are read only where the bridge runs "
            "beside its client and was started with --files FOLDER",
        )
    path = _path(given)
    return await asyncio.to_thread(Upload.of, _below(folder, path), path.name)


def _begins(given: str, *schemes: str) -> bool:
    return given[:6].lower().startswith(schemes)


def _path(given: str) -> Path:
    """Return the path that is meant, as it was given: a link has its own name, not that of the file it leads to."""
    parts = urlsplit(given) if _begins(given, "file:") else None
    return Path(unquote(parts.path) if parts is not None and parts.netloc in ("", "localhost") else given)


def _below(folder: Path, path: Path) -> FileBelow:
    """Return the file that is meant. Of what is elsewhere it is not told whether it exists."""
    try:
        return FileBelow(folder, (folder / expanded(path)).resolve(strict=True).relative_to(folder))
    except (OSError, ValueError):
        raise InvalidQuery("uploads", f"there is no such file below {folder}") from None
