"""What the first bytes and lines of a file say of its encoding and its kind, without a look at its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from producer.replay.reads import field_named

#: The least share of empty bytes by which an encoding of two or four bytes a character is told, in so many of them.
_EMPTY, _HEAD = 1 / 8, 64
#: Bytes that change the alphabet, in encodings of seven bits (ISO 2022), and how Python calls these.
_SHIFTS = {b"\x1b$B": "iso2022_jp", b"\x1b$@": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2", b"\x1b$)C": "iso2022_kr"}
#: The space of EBCDIC; and its letters, of which a text has more than of anything else.
_EBCDIC_SPACE, _EBCDIC_LETTERS = 0x40, frozenset([*range(0x81, 0x8A), *range(0x91, 0x9A), *range(0xA2, 0xAA)])
#: Lines of a text by which its kind is told.
LOOKED_AT = 20
#: Letters of a mail's head, and how mailboxes separate mails.
_HEAD_LINE = re.compile(
    r"(From|To|Cc|Subject|Date|Received|Return-Path|Message-ID|MIME-Version|Content-Type|Delivered-To|Reply-To): ",
    re.IGNORECASE,
)
_MAIL = re.compile(r"From \S+ .*\b\d{4}\s*$|X-Mozilla-Status: ")
#: A date with a time, or a time, at the beginning of a line, as chats, logs and transcripts have it, in the digits of
#: any script. East Asian ones say in between whether it is before noon.
_TIME = re.compile(
    r"[\[(<\u200e\u200f]*(\d{1,4}[./年년-]\s?\d{1,2}[./月월-]\s?\d{1,4}[.日일]?[,،T\s]+\[?(?:[\u3040-\u9fff\uac00-\ud7af]{1,4}\s?)?"
    r"\d{1,2}[:.]\d{2}|\d{1,2}:\d{2}(:\d{2})?[\])>\s,.-])|\[[^\]]{1,40}\] \[\D{0,6}\d{1,2}:\d{2}\]"
    r"|[A-Z][a-z]{2} +\d{1,2} \d{2}:\d{2}:\d{2} "
)
#: Who speaks, at the beginning of a line of a transcript.
_SPEAKER = re.compile(r"([^\s:：][^:：?!.]{0,38})[:：]\s+\S")
ASKED = tuple("?？؟;")
#: A transcript has so many lines at least, of which so many are said by another than the line before; fewer than so
#: many are questions.
_LINES, _TURNS, _ASKING = 4, 0.8, 0.7
_SQL = re.compile(
    r"INSERT INTO \S+ ?(\(.*\) ?)?VALUES\b|CREATE TABLE .*\($|COPY \S+ .*FROM stdin"
    r"|-- (MySQL|PostgreSQL|MariaDB|SQLite)\b",
    re.IGNORECASE,
)
_VERTICAL = re.compile(r"\*{3,} \d+\. row \*{3,}")
#: Spaces by which columns of a table are aligned.
_ALIGNED = re.compile(r" {2,}")
_SUBTITLE = re.compile(r"(\d+:)?\d{2}:\d{2}[,.]\d{3} --> ")


def codec_by_bytes(start: bytes) -> str:
    """Return the encoding that a text's first bytes tell, though it has no mark; empty where they tell none."""
    found = next((name for shift, name in _SHIFTS.items() if shift in start), "")
    return found or _wide(start[:_HEAD])


def is_ebcdic(start: bytes) -> bool:
    """Whether bytes look like a mainframe's text, of which there are too many kinds to guess."""
    letters = sum(byte in _EBCDIC_LETTERS for byte in start)
    return _EBCDIC_SPACE in start and b" " not in start and letters > len(start) / 2


def other_text(lines: Sequence[str]) -> str:
    """Return what a text is whose lines are no questions, by its first ones; empty where they may be questions."""
    first, second, *_ = [*(line.strip() for line in lines), "", ""]
    if _MAIL.match(first) or sum(map(bool, map(_HEAD_LINE.match, lines))) > 1:
        return "it is mail: write its questions into a text, one a line, or into CSV"
    if first.upper().startswith(("BEGIN:VC", "WEBVTT")) or any(map(_SUBTITLE.match, (first, second))):
        return "it is a calendar, an address book or subtitles: write its questions into a text, one a line"
    if any(map(_SQL.match, (first, second))) or _VERTICAL.match(first):
        return "it is written by or for a database (SQL): export the table as CSV"
    columns = [list(map(field_named, _ALIGNED.split(line.strip()))) for line in lines[:2]]
    if any(len(names) > 1 and "question" in names for names in columns):
        return "it is a table whose columns are aligned by spaces: export it as CSV"
    times = sum(map(bool, map(_TIME.match, map(str.strip, lines))))
    if times > 1 and times >= len(lines) / 2:
        who = "who asks and who answers is not said in it"
        return f"its lines begin with a time, as chats and logs do, and {who}: write the questions into a text or CSV"
    if speakers := _speakers(lines):
        told = ", ".join(speakers)[:80]
        return f"its lines begin with who speaks ({told}): write the questions alone, or `messages` in JSON lines"
    return ""


def _speakers(lines: Sequence[str]) -> list[str]:
    """Return who speaks in a transcript; nobody where the lines may be questions that begin with their subject."""
    said = [found[1] for line in lines if (found := _SPEAKER.match(line.strip()))]
    turns = sum(one != other for one, other in pairwise(said))
    asked = sum(line.strip().endswith(ASKED) for line in lines)
    few = 1 < len(set(said)) <= len(said) / 2
    if few and len(said) >= max(_LINES, len(lines) * _TURNS) and turns >= (len(said) - 1) * _TURNS:
        return [] if asked > len(lines) * _ASKING else list(dict.fromkeys(said))
    return []


def _wide(start: bytes) -> str:
    """Return the encoding of two or four bytes a character that a text has, by where its beginning has empty ones."""
    empty = [at % 4 for at, byte in enumerate(start) if not byte]
    if len(empty) < max(2, len(start) * _EMPTY):
        return ""
    places = set(empty)
    if places >= {2, 3} and 0 not in places:
        return "utf-32-le"
    if places >= {0, 1} and 3 not in places:
        return "utf-32-be"
    return "utf-16-le" if places <= {1, 3} else "utf-16-be" if places <= {0, 2} else ""
