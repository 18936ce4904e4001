"""Files of questions in archives: one file is read, what cannot be is named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from replay.reading import of_file

CSV = b"id,question\n7,Why?\n"


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("q.csv")
        member.size = len(CSV)
        archive.addfile(member, io.BytesIO(CSV))
    return made.getvalue()


@pytest.mark.parametrize("name", ["q.zip", "q.csv", "q"])
def test_the_one_file_of_a_zip_archive_is_read_by_its_own_name(tmp_path: Path, name: str) -> None:
    files = {"export/": b"", "export/Q.TXT": b"Why?\n", "__MACOSX/export/._Q.TXT": b"\0\5", "export/.DS_Store": b"x"}

    result = of_file(tmp_path / name, zipped(files))

    assert (result.questions, result.notes) == ([(1, "Why?")], ["is read as a question a line"])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "q.zip",
            zipped({"a.csv": CSV, "b.csv": CSV}),
            "a zip archive of 2 files: unpack it, and give one of them: a.csv, b",
        ),
        ("q.zip", zipped({}), "it is an empty zip archive"),
        ("q.docx", zipped({"[Content_Types].xml": b"", "word/document.xml": b""}), "it is a document of Word's"),
        (
            "q.xlsb",
            zipped({"[Content_Types].xml": b"", "xl/workbook.bin": b""}),
            "a workbook of the kind .xlsb: save it",
        ),
        (
            "q.numbers",
            zipped({"Index/Document.iwa": b"", "preview.jpg": b""}),
            "it is a document of Apple's: export it",
        ),
        ("q.zip", zipped({"q.csv": b"Why?\n" * 1000})[:-40], "or it is cut off"),
        ("q.zip", zipped({"q.csv.gz": gzip.compress(CSV)}), "it is compressed twice: unpack it once"),
        ("q.csv.gz", gzip.compress(bz2.compress(CSV)), "it is compressed twice: unpack it once"),
        ("q.tar", tarred(), r"it is an archive \(tar\): unpack it"),
        ("q.tar.gz", gzip.compress(tarred()), r"it is an archive \(tar\): unpack it"),
        ("q.csv.lzma", lzma.compress(CSV, lzma.FORMAT_ALONE), "it is compressed with lzma: unpack it"),
        ("q.csv.lz4", b"\x04\x22\x4d\x18abc", "it is compressed with lz4: unpack it"),
    ],
    # Archives hold the time at which they were made.
    ids=range(12),
)
def test_what_is_not_read_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        of_file(tmp_path / name, content)


def test_a_zip_archive_with_a_password_is_named(tmp_path: Path) -> None:
    # The lowest bit of a member's flags says so, in its own head and in the archive's list.
    locked = zipped({"q.csv": CSV}).replace(b"\x14\x00\x00\x00\x08", b"\x14\x00\x01\x00\x08")

    with pytest.raises(ValueError, match="with a password: unpack it"):
        of_file(tmp_path / "q.zip", locked)


def test_a_zip_archive_whose_sums_are_wrong_is_refused(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("q.csv", CSV)

    with pytest.raises(ValueError, match="it cannot be unpacked: Bad CRC-32"):
        of_file(tmp_path / "q.zip", made.getvalue().replace(b"Why?", b"Who?"))
