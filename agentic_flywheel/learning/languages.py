"""What in a registry's languages and scripts keeps routing from working, or makes it worse than it need be."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator

from agentic_flywheel.routing.encoder import StaticEncoder, is_english
from agentic_flywheel.routing.trial import Trial
from agentic_flywheel.routing.words import unspaced, words

#: In other languages than English a flow needs so many examples: measured, see docs/routing.md.
ENOUGH = 6
#: A flow's texts are not understood where less than this share of their words has a vector.
_UNDERSTOOD = 0.5
#: Texts of one language share such words as "and" and "my". They are among the most frequent words of all languages;
#: of so many in the texts of a flow, this share is in those of another one at least. Measured with six examples in 60
#: languages: 0.2 and more in the same one, 0.05 and less in others that are not close.
_FREQUENT, _ENOUGH_WORDS, _SHARED = 10_000, 15, 0.1
#: Scripts that one language mixes.
_TOGETHER = {"CJK": "HAN", "HIRAGANA": "HAN", "KATAKANA": "HAN", "BOPOMOFO": "HAN"}


def languages(trial: Trial) -> Iterator[tuple[str, str, str, str]]:
    """Yield a flow, a level, the keyword that it is about, if any, and what is to be said."""
    texts: dict[str, list[str]] = defaultdict(list)
    for sample in trial.corpus.samples:
        if sample.asked:
            texts[trial.flow_of(sample)].append(sample.text)
    scripts = {flow: _script(own) for flow, own in texts.items()}
    if not trial.table.english:
        yield from _apart(texts, scripts, trial.table)
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
    english = _english(texts)
    if english and flow not in english:
        told = f"is in another language than {', '.join(sorted(english))}, so all are read with the table of many"
        yield flow, "remark", "", f"{told} languages, which knows English less well"


def _apart(
    texts: dict[str, list[str]], scripts: dict[str, str], table: StaticEncoder
) -> Iterator[tuple[str, str, str, str]]:
    """Yield flows in another language than most, in one script, but those of which ``_foreign`` says so."""
    frequent = {flow: said for flow, own in texts.items() if (said := _frequent(own, table))}
    english = _english(texts)
    groups: list[list[str]] = []
    for flow, said in frequent.items():
        near = [group for group in groups if any(_share(said, frequent[other]) >= _SHARED for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(each for group in near for each in group), flow])
    known = [group for group in groups if sum(len(frequent[flow]) for flow in group) >= _ENOUGH_WORDS]
    most = max(known, key=len, default=[])
    for group in known:
        others = [flow for flow in most if scripts[flow] == scripts[group[0]]]
        if group is not most and others:
            told = f'has hardly a word such as "and" in common with {", ".join(others)}, as in another language'
            for flow in english.intersection(group) if english else group:
                yield flow, "remark", "", f"{told}: a language goes to flows with examples in it; give all flows some"


def _english(texts: dict[str, list[str]]) -> set[str]:
    """Return the flows most of whose texts are English."""
    return {flow for flow, own in texts.items() if 2 * sum(map(is_english, own)) > len(own)}


def _frequent(texts: list[str], table: StaticEncoder) -> list[str]:
    said = [word for text in texts for word in words(text) if word.isalpha()]
    return [word for word in said if (rank := table.rank(word)) is not None and rank < _FREQUENT]


def _share(some: list[str], others: list[str]) -> float:
    """Return the share of two texts' words that the other one has, too."""
    one, other = set(some), set(others)
    return (sum(word in other for word in some) / len(some) + sum(word in one for word in others) / len(others)) / 2


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
