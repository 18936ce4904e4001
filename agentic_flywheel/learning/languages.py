"""What in a registry's languages and scripts keeps routing from working, or makes it worse than it need be."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator

from agentic_flywheel.routing.encoder import StaticEncoder, english_share
from agentic_flywheel.routing.trial import Trial
from agentic_flywheel.routing.words import unspaced, words

#: In other languages than English a flow needs so many examples: measured, see docs/routing.md.
ENOUGH = 6
#: A flow's texts are not understood where less than this share of their words has a vector.
_UNDERSTOOD = 0.5
#: Texts are in another language where less than this share of their words is English.
_ENGLISH = 0.55
#: Scripts that one language mixes.
_TOGETHER = {"CJK": "HAN", "HIRAGANA": "HAN", "KATAKANA": "HAN", "BOPOMOFO": "HAN"}


def languages(trial: Trial) -> Iterator[tuple[str, str, str, str]]:
    """Yield a flow, a level, the keyword that it is about, if any, and what is to be said."""
    texts: dict[str, list[str]] = defaultdict(list)
    for sample in trial.corpus.samples:
        if sample.asked:
            texts[trial.flow_of(sample)].append(sample.text)
    scripts = {flow: _script(own) for flow, own in texts.items()}
    for flow, own in texts.items():
        if _understood(own, trial.table) < _UNDERSTOOD:
            told = "its words are in no table of meanings: only questions with the very same words will find it"
            yield flow, "problem", "", f"{told}; name an `encoder` in the registry that knows the language"
            continue
        if not trial.table.english:
            yield from _foreign(flow, own, texts)
        if len(texts) > 1 and scripts[flow] not in [script for other, script in scripts.items() if other != flow]:
            told = f"no other flow has examples in its script ({scripts[flow].title()})"
            yield flow, "remark", "", f"{told}: whatever is asked in it comes here; give the other flows some too"
    for flow, keywords in trial.corpus.keywords.items():
        for keyword in dict.fromkeys(keywords):
            said = words(keyword)
            if len(said) == 1 and unspaced(said[0]):
                yield flow, "remark", keyword, f"the keyword {keyword} is one character, which occurs in many words"


def _foreign(flow: str, own: list[str], texts: dict[str, list[str]]) -> Iterator[tuple[str, str, str, str]]:
    if len(own) < ENOUGH:
        told = f"has {len(own)} example{'' if len(own) == 1 else 's'}"
        yield flow, "remark", "", f"{told}: in other languages than English, {ENOUGH} are needed"
    english = [other for other, theirs in texts.items() if english_share(theirs) >= _ENGLISH]
    if english_share(own) < _ENGLISH and english:
        told = f"is in another language than {', '.join(english)}, so all are read with the table of many languages"
        yield flow, "remark", "", f"{told}, which knows English less well"


def _understood(texts: list[str], table: StaticEncoder) -> float:
    said = [word for text in texts for word in words(text) if not word.isdigit()]
    return sum(bool(table.tokens([word])) for word in said) / len(said) if said else 1.0


def _script(texts: list[str]) -> str:
    """Return the script that most letters of texts are of, as Unicode names it."""
    names = Counter(
        unicodedata.name(char, "?").split()[0].split("-")[0] for text in texts for char in text if char.isalpha()
    )
    script = names.most_common(1)[0][0] if names else "LATIN"
    return _TOGETHER.get(script, script)
