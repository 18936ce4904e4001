"""What a zip archive is: a workbook, another program's document, or a file of questions that was compressed."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

#: A member that tells whose document it is, and what to do with it.
_DOCUMENTS = (
    ("word/document.xml", "a document of Word's: save the questions as .txt or .csv"),
    ("ppt/presentation.xml", "a presentation: save the questions as .txt or .csv"),
    ("xl/workbook.bin", "a workbook of the kind .xlsb: save it as .xlsx"),
    ("META-INF/container.xml", "a book (EPUB): save the questions as .txt or .csv"),
    ("Index/Document.iwa", "a document of Apple's: export it as CSV"),
)
#: The member that tells an OpenDocument file; a workbook of Excel's has members in the folder.
OPEN_DOCUMENT, _EXCEL = "mimetype", "xl/"


def only_member(file: BinaryIO) -> str:
    """Return the name of the one file in an archive; empty where that may be a workbook. Raises ValueError."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        return ""  # it is told as a workbook that is cut off
    finally:
        file.seek(0)
    names = {each.filename for each in members}
    for name, what in _DOCUMENTS:
        if name in names:
            raise ValueError(f"it is {what}")
    if OPEN_DOCUMENT in names or any(name.startswith(_EXCEL) for name in names):
        return ""
    # What macOS adds to each archive is nobody's file.
    files = [each for each in members if not each.is_dir() and not _is_of_macos(each.filename)]
    if len(files) != 1:
        told = ", ".join(each.filename for each in files)[:200]
        raise ValueError(
            f"it is a zip archive of {len(files)} files: unpack it, and give one of them{told and f': {told}'}"
        )
    if files[0].flag_bits & 1:
        raise ValueError("it is a zip archive with a password: unpack it")
    return files[0].filename


def _is_of_macos(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] == ".DS_Store"
