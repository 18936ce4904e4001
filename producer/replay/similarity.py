"""How similar two answers are: equal, equal but for case and spaces, or similar in meaning."""

from __future__ import annotations

import unicodedata

from agentic_flywheel.routing.encoder import static_encoder
from agentic_flywheel.routing.words import words

#: Characters of an answer that are compared by meaning: more do not change its direction, but take time.
_READ = 20_000
_QUOTES = str.maketrans("‘’‚“”„«»–—", '\'\'\'"""""--')


def normalised(text: str) -> str:
    """Return a text without what does not change its meaning: case, forms of characters, spaces, the last stop."""
    plain = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold()
    return " ".join(plain.split()).rstrip(".!")


def similarity(before: str, after: str) -> float:
    """Return the cosine of the two texts' vectors, 0..1, by the table that routing uses for their language.

    1: the same to it. A text without a word that it knows is like nothing but itself.
    """
    if normalised(before) == normalised(after):
        return 1.0
    texts = before[:_READ], after[:_READ]
    table = static_encoder(texts)
    first, second = (table.mean(table.tokens(words(text))) for text in texts)
    return min(1.0, max(0.0, float(first @ second)))
