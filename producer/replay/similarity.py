"""How alike two answers are: the same characters, the same words, or the same meaning."""

from __future__ import annotations

import unicodedata

from agentic_flywheel.routing.encoder import Encoder, static_encoder

#: Characters of an answer that are compared by meaning: more do not change its direction, but take time.
_READ = 20_000
_QUOTES = str.maketrans("‘’‚“”„«»–—", '\'\'\'"""""--')


def normalised(text: str) -> str:
    """Return a text without what does not change its meaning: case, forms of characters, spaces, the last stop."""
    plain = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold()
    return " ".join(plain.split()).rstrip(".!")


def similarity(before: str, after: str, *, encoder: Encoder | None = None) -> float:
    """Return the cosine of the two texts' vectors, 0..1, by the encoder that routing uses. 1: the same to it.

    A text without a word that it knows is like nothing but itself.
    """
    if normalised(before) == normalised(after):
        return 1.0
    static = static_encoder()
    first, second = ((encoder or static).encode(static.tokens(text[:_READ])) for text in (before, after))
    return min(1.0, max(0.0, float(first @ second)))
