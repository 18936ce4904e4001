"""How much a token or a gram tells about what a text is for: the fewer of a catalog's intents speak of it, the more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

#: A token by its number, or a gram as it is written.
Token = TypeVar("Token", int, str)


@dataclass(frozen=True)
class Rarity(Generic[Token]):
    """The weight of each token: 1 if every intent contains it, more the fewer intents do, most if none does."""

    known: dict[Token, float]
    unseen: float

    def of(self, token: Token) -> float:
        return self.known.get(token, self.unseen)


def rarity_of(texts: Iterable[tuple[Iterable[Token], int]]) -> Rarity[Token]:
    """Return the weights for texts, given as their tokens and the number of the intent that they speak for.

    This is inverse document frequency with an intent's texts taken together as one document (smoothed): what tells one
    intent from another counts, however often one intent says it.
    """
    told = {(token, intent) for tokens, intent in texts for token in tokens}
    intents = len({intent for _, intent in told})
    counts = Counter(token for token, _ in told)
    known = {token: math.log((1 + intents) / (1 + count)) + 1 for token, count in counts.items()}
    return Rarity(known, math.log(1 + intents) + 1)
