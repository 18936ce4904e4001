"""Where one question may be two: ways to cut it at a conjunction so that each part still says what is wanted."""

from __future__ import annotations

import re

#: Between two wishes: a new sentence, or a word that joins.
_JOINTS = re.compile(
    r"(?:\s*[;?.!]\s+(?:and\s+|also\s+|then\s+)?"
    r"|,?\s+(?:and|as well as|along with|plus|versus|vs\.?|against|then)\s+(?:also\s+|then\s+)?)",
    re.I,
)
_DETERMINER = re.compile(r"\b(?:the|a|an|our|my|your|their|its|this|these|both|any|some)\b\s+", re.I)
_CLAUSE_START = re.compile(
    r"(?:please\s+)?(?:what|how|why|who|where|when|which|whether|is|are|do|does|can|could|should|would|will|i|we|you|"
    r"write|draft|make|create|find|explain|summari[sz]e|tell|give|show|suggest|design|check|fix|debug|review|analy[sz]e|"
    r"compare|plan|list|help|translate|describe|compose|prepare|generate|calculate|estimate|propose|recommend|draw|"
    r"optimi[sz]e|forecast|assess|measure|weigh|train|speed|reject|onboard|"
    r"test|deploy|search|look|turn|build|set|book|order|cancel|send|pay|read|name|invent|brainstorm)\b",
    re.I,
)
#: The shared end of two noun phrases: "… of our new product", "… for the launch".
_SHARED_TAIL = re.compile(r"\s(?:of|for|in|on|about|behind|to|from|with)\s.*$", re.I | re.S)
_UNBROKEN = re.compile(r"^[^,;:.?!]*")
_CLAUSE_WORDS = 3
#: More joints than this and the cuts are tried only at the first ones: the work stays bounded.
_CUTS = 4


def cuts(question: str) -> list[tuple[str, str]]:
    """Return the ways to read ``question`` as two; none for a question without a joint.

    Two clauses are cut where they meet. Two noun phrases share what stands around them: "compare the legal risk and the
    marketing value of it" becomes "compare the legal risk of it" and "compare the marketing value of it". So "write a
    story about a lawyer and a marketer" gives two parts that both begin with "write a story about".
    """
    found = []
    for joint in list(_JOINTS.finditer(question))[:_CUTS]:
        before, after = question[: joint.start()].strip(), question[joint.end() :].strip()
        if not before or not after:
            continue
        if joint[0].strip()[:1] in tuple(";?.!") or _CLAUSE_START.match(after):
            # "… and why?", "a colleague and I …": a wish of its own takes more words than that.
            if min(len(before.split()), len(after.split())) >= _CLAUSE_WORDS:
                found.append((before, after))
        elif _DETERMINER.match(after) or len(_UNBROKEN.findall(after)[0].split()) > 1:
            # A bare noun, as in "hiring and training", only widens the phrase before it.
            found.append(_noun_phrases(before, after))
    return found


def _noun_phrases(before: str, after: str) -> tuple[str, str]:
    head = before[: _last_phrase(before)]
    tail = "" if _SHARED_TAIL.search(before[len(head) :]) else "".join(_SHARED_TAIL.findall(after)[:1])
    return before + tail, head + after


def _last_phrase(text: str) -> int:
    """Where the last noun phrase of ``text`` begins: at its last determiner, else at its last word."""
    starts = [match.start() for match in _DETERMINER.finditer(text)]
    return starts[-1] if starts else text.rfind(" ") + 1
