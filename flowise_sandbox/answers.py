"""Make up a specialist's answer to any question from the question's words. The same question gets the same answer."""

from __future__ import annotations

import re
import zlib
from typing import Any

from agentic_flywheel.models import Model
from flowise_sandbox.flows import SandboxFlow, Style, Voice

_WORD = re.compile(r"[^\W\d_][\w'-]*")
_COMMON_WORDS = """
about after again also analyse analyze another because been before being between both build check compare
compose could create debug describe design does doing down draft during each every explain find fix from
further give have having help here improve into just know like made make mean means more most much need only
other over plan please review same say says should show some such suggest summarise summarize tell than that
their them then there these they think this those through under until very want were what when where which
while will with without would write your
"""
_COMMON = frozenset(_COMMON_WORDS.split())

_TECHNICAL = (
    "Start with what {a} has to guarantee, then look at how {b} gets in its way. "
    "Measure before changing anything: log the time and the load around {a} for a day. "
    "Then isolate {b} in a small reproduction, change one thing, and measure again. "
    "If the numbers stay flat, the cause lies upstream of {c}.",
    "There are three parts to this. First, the contract: write down the inputs and outputs of {a}. "
    "Second, the failure: find the earliest point at which {b} departs from that contract. "
    "Third, the guard: add a test that fails because of {b} and passes once {c} is right. "
    "I would begin with the test, since it keeps the rest honest.",
    "The trade-off here is between {a} and {b}. Favour {a} while the load is small: it is simpler to reason about. "
    "Once {b} dominates the profile, move it behind a queue and keep {c} idempotent, so that a retry is harmless. "
    "Watch the 99th percentile rather than the mean.",
)
_CREATIVE = (
    "Picture {a} as a place you can walk into. What do you notice first: the light on {b}, or the silence around it? "
    "Begin there, in the middle of a moment, and let {c} arrive uninvited. "
    "Write one page without correcting a word, then keep only the sentence that surprised you.",
    "Try turning it around: what would {b} say about {a} if it could speak? "
    "Sketch three openings, one tender, one funny and one unsettling, and give each the colour of {c}. "
    "The one you are slightly afraid of is usually the one to follow.",
    "Let {a} be the melody and {b} the room it echoes in. Start small: a gesture, a smell, a half-remembered phrase. "
    "Then widen the frame until {c} comes into view, and stop one beat before you would explain it.",
)
_DOCUMENTS = (
    "The documents answer this in two places. The section on {a} says that {b} applies from the date of signature, "
    "and the annex limits it where {c} is concerned. Where the two differ, the annex prevails.",
    "According to the passage on {a}, {b} is required before anything else happens. "
    "The summary confirms it and adds that {c} may be handled separately. Nothing in the documents contradicts this.",
    "The relevant passage reads: “{a} shall be reviewed together with {b}.” "
    "It names {c} as the only exception. I found no later amendment.",
)
_GENERAL = (
    "In short: {a} comes first, and {b} follows from it. "
    "Look at {c} once both are settled, since it depends on them. Ask again with a detail if that is too general.",
    "Two things matter here, {a} and {b}. Take {a} as given, vary {b}, and see what happens to {c}. "
    "That comparison answers most of the question.",
)
_TEXTS = {
    Voice.TECHNICAL: _TECHNICAL,
    Voice.CREATIVE: _CREATIVE,
    Voice.DOCUMENTS: _DOCUMENTS,
    Voice.GENERAL: _GENERAL,
}
_MISSING = {
    Voice.TECHNICAL: ("the component", "its interface", "the caller"),
    Voice.CREATIVE: ("the idea", "its shadow", "the memory"),
    Voice.DOCUMENTS: ("the subject", "the condition", "the transitional period"),
    Voice.GENERAL: ("the question", "its context", "the rest"),
}


class FlowReply(Model):
    """A made-up answer, before it is put into Flowise's protocol."""

    text: str
    sources: tuple[dict[str, Any], ...] = ()


def reply(
    flow: SandboxFlow, question: str, *, earlier: str | None = None, overrides: dict[str, Any] | None = None
) -> FlowReply:
    """Return a flow's reply. ``earlier``: the conversation's last question; ``overrides``: the accepted ones."""
    words = topics(question)
    a, b, c = (*words, *_MISSING[flow.voice][len(words) :])[:3] if len(words) < 3 else words[:3]
    variants = _TEXTS[flow.voice]
    text = variants[zlib.crc32(question.encode()) % len(variants)].format(a=a, b=b, c=c)
    if earlier:
        text = f"Following up on “{shortened(earlier)}”: {text}"
    honoured = overrides or {}
    if context := _context(honoured):
        text = f"With “{shortened(context)}” in mind: {text}"
    limit = honoured.get("maxOutputTokens", honoured.get("maxTokens"))
    if isinstance(limit, int) and limit > 0:
        text = "".join(tokens(text)[:limit]).rstrip()
    return FlowReply(text=text, sources=_sources(a, b, c) if flow.style in (Style.DOCUMENTS, Style.FINDER) else ())


def follow_ups(question: str) -> list[str]:
    """Return the questions that Flowise would propose to ask next."""
    return [f"What else is there to know about {each}?" for each in topics(question)]


def filled_in(flow: SandboxFlow, form: dict[str, Any]) -> str:
    """Return the answer of a flow that repeats its form. A missing field stays the variable that names it."""
    return f"form: {', '.join(str(form.get(each.name, f'{{{{ $form.{each.name} }}}}')) for each in flow.form)}"


def topics(question: str) -> list[str]:
    """Return the phrases that a question is about, at most three, in the question's order."""
    # Context that was put before the question ends with a blank line.
    asked = question.strip().rpartition("\n\n")[2]
    phrases: list[list[str]] = [[]]
    for word in _WORD.findall(asked.lower()):
        if len(word) > 3 and word not in _COMMON:
            phrases[-1].append(word)
        elif phrases[-1]:
            # A common word ends a phrase.
            phrases.append([])
    return list(dict.fromkeys(" ".join(phrase[:3]) for phrase in phrases if phrase))[:3]


def tokens(text: str) -> list[str]:
    """Return the pieces in which a text is streamed. Joined they are the text."""
    return re.findall(r"\s*\S+\s?|\s+", text)


def shortened(text: str, words: int = 8) -> str:
    """Return the first ``words`` words of a text."""
    parts = text.split()
    return " ".join(parts[:words]) + ("…" if len(parts) > words else "")


def _context(overrides: dict[str, Any]) -> str:
    for name in ("systemMessage", "systemMessagePrompt"):
        if isinstance(overrides.get(name), str):
            return str(overrides[name])
    variables = overrides.get("vars")
    if isinstance(variables, dict):
        return next((value for value in variables.values() if isinstance(value, str) and value), "")
    return ""


def _sources(a: str, b: str, c: str) -> tuple[dict[str, Any], ...]:
    return (
        {
            "pageContent": f"The provisions on {a} apply together with those on {b}.",
            "metadata": {"source": "handbook.pdf", "loc": {"pageNumber": 12}},
        },
        {
            "pageContent": f"Annex: {c} is treated separately.",
            "metadata": {"source": "annex.pdf", "loc": {"pageNumber": 3}},
        },
    )
