"""Find out in which encoding a text was written that does not say so: that in which its words are the likeliest."""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

import regex  # type: ignore[import-untyped]

from agentic_flywheel.routing.encoder import pieces_of_languages
from agentic_flywheel.routing.words import words

#: What Windows, its Excel and older systems write, and what speaks against each beforehand (nats): some are rare. All
#: are named as `--encoding` takes them.
_WINDOWS, _OTHERS = 6.0, 9.0
_AGAINST = {
    "windows-1252": 0.0,
    **dict.fromkeys(
        (
            *("windows-1250", "windows-1251", "windows-1253", "windows-1254", "windows-1255", "windows-1256"),
            *("windows-1257", "windows-1258", "cp874", "cp932", "gb18030", "cp949", "big5"),
        ),
        _WINDOWS,
    ),
    **dict.fromkeys(
        ("euc_jp", "iso8859-2", "iso8859-5", "koi8-u", "mac-roman", "cp850", "cp852", "cp866"),
        _OTHERS,
    ),
}
#: By so much (nats) the likeliest has to lead. Measured, see docs/replay.md.
_LEAD = 5.0
#: Words cost at most so much a character (nats): most languages 2 to 5, Cantonese 8; random bytes 10 to 13.
_NO_LANGUAGE = 9.0
#: Words that are looked at: those with a byte beyond ASCII that was seen in fewer words than this; at most so many, and
#: so many bytes of each.
_EACH_BYTE, _MOST_WORDS, _LONGEST_WORD = 50, 1_000, 200
_WORD = re.compile(rb"[^\s,;\"]*[\x80-\xff][^\s,;\"]*")
_CHUNK = 1 << 20
#: What is rare in a text that is read right, and its cost each time it occurs (nats).
_RARE = [
    (regex.compile(pattern, regex.V1), cost)
    for pattern, cost in (
        (r"[\p{Cc}\p{Cn}\p{Co}\uFFFD]", 30.0),
        # Two scripts in a word, a mark that stands on nothing, a letter by itself, half a Japanese one.
        (r"(?<=\p{Latin}\p{M}*)[[\p{L}\p{M}\u200c-\u200f]--\p{Latin}--[\u0300-\u036f]]", 25.0),
        (r"(?<=[\p{L}--\p{Latin}]\p{M}*)\p{Latin}", 25.0),
        (r"(?<![\p{L}\p{M}])\p{M}|(?<![aeiouyăâêôơưAEIOUYĂÂÊÔƠƯ])[\u0300-\u0323]", 12.0),
        (r"(?<![\p{L}\p{M}])[\p{L}--\p{Latin}--\p{Han}](?![\p{L}\p{M}])", 10.0),
        (r"[\uff61-\uff9f]", 6.0),
        # A capital within a word, a sign within a word, any sign.
        (r"(?<=\p{Ll})\p{Lu}", 10.0),
        (r"(?<=\p{L}\p{M}*)[^\p{L}\p{M}\p{N}\p{Cf}\s’'´·\-–](?=\p{L})", 12.0),
        (r"[^\x00-\x7f\p{L}\p{M}\p{N}\p{Cf}\xa0“”‘’„‚«»–—…·•€£°§¿¡©®™%、。，！？；：「」（）《》～]", 14.0),
        (r"[\xa0“”‘’„‚«»–—…·•€£°§¿¡©®™]", 4.0),
    )
]


class Encodings(NamedTuple):
    """The encodings that a text may have, the likeliest first, each with a word as it reads in it; none: no text."""

    names: tuple[str, ...]
    words: tuple[str, ...]


def likeliest_encodings(file: BinaryIO) -> Encodings:
    """Return the encoding that a text has which is not UTF-8; two where they give other texts that are as likely."""
    said = _telling(file)
    read = {name: [word.decode(name, "replace") for word in said] for name in _AGAINST}
    cost = {name: _AGAINST[name] + sum(map(_cost, texts)) for name, texts in read.items()}
    best, *rest = sorted(_AGAINST, key=cost.__getitem__)
    if cost[best] - _AGAINST[best] > _NO_LANGUAGE * sum(map(len, read[best])):
        return Encodings((), ())
    other = next(name for name in rest if read[name] != read[best])
    if cost[other] - cost[best] >= _LEAD:
        return Encodings((best,), ())
    told = next((one, two) for one, two in zip(read[best], read[other], strict=True) if one != two)
    return Encodings((best, other), told)


def _cost(text: str) -> float:
    """Return how unlikely a text is, as a negative log-likelihood."""
    return pieces_of_languages().cost(words(text)) + sum(cost * len(rare.findall(text)) for rare, cost in _RARE)


def _telling(file: BinaryIO) -> list[bytes]:
    """Return words of the whole file that tell its encoding, so that each of its bytes beyond ASCII is among them."""
    file.seek(0)
    seen = [0] * 256
    found: dict[bytes, None] = {}
    enough = bytes(range(0x80))
    while len(found) < _MOST_WORDS and (chunk := file.read(_CHUNK)):
        # The last word may go on behind the chunk.
        chunk += file.readline(_CHUNK)
        if not chunk.translate(None, enough):
            continue
        for match in _WORD.finditer(chunk):
            word = match[0][:_LONGEST_WORD]
            high = {byte for byte in word if byte >= 0x80}
            if any(seen[byte] < _EACH_BYTE for byte in high):
                found[word] = None
                for byte in high:
                    seen[byte] += 1
        enough = bytes(byte for byte in range(256) if byte < 0x80 or seen[byte] >= _EACH_BYTE)
    return list(found)
