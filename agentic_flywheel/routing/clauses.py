"""Where one question may be two: ways to cut it at a conjunction so that each part still says what is wanted."""

from __future__ import annotations

import re
from typing import NamedTuple

from agentic_flywheel.routing.words import words

#: Ends of sentences and clauses in scripts that put no space behind them, or have marks of their own.
_ENDS = "。？！；，।॥؟۔،؛።፣།"
#: "And", "but" and "also" of other languages, where they are words by themselves. Those that are another frequent word
#: in one of the others (Dutch and Spanish "en", Italian "e", Swedish "men") are left out.
_ELSEWHERE = (
    "und|aber|sowie|außerdem|et|mais|y|pero|además|inoltre|maar|och|og|samt|ja|sekä|mutta|és|valamint|oraz|și|ve|ayrıca"
    "|и|а также|та|а також|й|και|αλλά|và|nhưng|tetapi|और|लेकिन|এবং|மற்றும்|و|اور|וגם|그리고|하지만|또한|และ|နှင့်|და|እና"
)
#: Between two wishes: a new sentence, a comma, or a word that joins.
_JOINTS = re.compile(
    rf"(?:\s*[;?.!:]\s+(?:and\s+|also\s+|then\s+|otherwise\s+)?"
    r"|,?\s+(?:and|but|as well as|along with|plus|versus|vs\.?|against|then)\s+(?:also\s+|then\s+|otherwise\s+)?"
    rf"|(?P<elsewhere>\s*[{_ENDS}]\s*(?:(?:{_ELSEWHERE})\s+)?|,?\s+(?:{_ELSEWHERE})\s+)"
    r"|,\s+(?:also\s+|then\s+)?)",
    re.I,
)
_HINTS = (
    *_ENDS,
    *(f" {word} " for word in _ELSEWHERE.split("|")),
    *(f"{mark} " for mark in ",;?.!:"),
    *(
        f" {word}"
        for word in ("and ", "but ", "as well as ", "along with ", "plus ", "vs", "versus ", "against ", "then ")
    ),
    *(f" {word} " for word in ("And", "AND", "But", "BUT", "Plus", "Versus", "Then")),
)
_ASCII_HINTS = tuple(hint for hint in _HINTS if hint.isascii())
_DETERMINER = re.compile(r"\b(?:the|a|an|our|my|your|their|its|this|these|both|any|some)\b\s+", re.I)
#: A clause begins with a question word, a helping verb or a subject; or it is a command: a verb and its object.
_CLAUSE_START = re.compile(
    r"(?:please\s+|if\s+\w+,?\s+)?(?:(?:what|how|why|who|where|when|which|whether|is|are|do|does|did|can|could|may|must|"
    r"should|would|will|i|we|you|nobody|somebody|users|customers|employees|people|in which|on which|from which)\b"
    r"|[a-z]+\s+(?:(?:out|up|down|off|on|back|over|for)\s+)?(?:it|them|him|her|me|us|everybody|everyone|the|an?|our|my|"
    r"your|their|its|his|this|that|these|those|some|any|all|two|three|four|five|more|what|how|why|who|which|whether|if)\b)",
    re.I,
)
#: The shared end of two noun phrases: "… of our new product", "… for the launch".
_SHARED_TAIL = re.compile(r"\s(?:of|for|in|on|about|behind|to|from|with)\s.*$", re.I | re.S)
_UNBROKEN = re.compile(r"^[^,;:.?!]*")
_CLAUSE_WORDS = 3
#: More joints than this and the cuts are tried only at the first ones: the work stays bounded.
_CUTS = 4


class Cut(NamedTuple):
    """A question read as two."""

    first: str
    second: str
    #: Whether each is a sentence or a clause as it was said, not a noun phrase with what stood around both.
    clauses: bool


def cuts(question: str) -> list[Cut]:
    """Return the ways to read ``question`` as two; none for a question without a joint.

    Two clauses are cut where they meet. Two noun phrases share what stands around them: "compare the legal risk and the
    marketing value of it" becomes "compare the legal risk of it" and "compare the marketing value of it". So "write a
    story about a lawyer and a marketer" gives two parts that both begin with "write a story about".
    """
    question = " ".join(question.split())
    # Most questions have no joint: a look at the whole is quicker than a search.
    if not any(map(question.__contains__, _ASCII_HINTS if question.isascii() else _HINTS)):
        return []
    found = []
    for joint in list(_JOINTS.finditer(question))[:_CUTS]:
        before, after = question[: joint.start()].strip(), question[joint.end() :].strip()
        if not before or not after:
            continue
        if joint["elsewhere"] or joint[0].strip()[:1] in tuple(";?.!:") or _CLAUSE_START.match(after):
            # "… and why?", "a colleague and I …": a wish of its own takes more words than that.
            if min(len(words(before)), len(words(after))) >= _CLAUSE_WORDS:
                found.append(Cut(before, after, clauses=True))
        elif joint[0].strip() == ",":
            continue
        elif _DETERMINER.match(after) or len(_UNBROKEN.findall(after)[0].split()) > 1:
            # A bare noun, as in "hiring and training", only widens the phrase before it.
            found.append(Cut(*_noun_phrases(before, after), clauses=False))
    return found


def _noun_phrases(before: str, after: str) -> tuple[str, str]:
    head = before[: _last_phrase(before)]
    tail = "" if _SHARED_TAIL.search(before[len(head) :]) else "".join(_SHARED_TAIL.findall(after)[:1])
    return before + tail, head + after


def _last_phrase(text: str) -> int:
    """Where the last noun phrase of ``text`` begins: at its last determiner, else at its last word."""
    starts = [match.start() for match in _DETERMINER.finditer(text)]
    return starts[-1] if starts else text.rfind(" ") + 1
