"""How a question is known to be English: its words are more frequent in English than in all languages together."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import agentic_flywheel.routing
from agentic_flywheel.models import Query
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.routing import FittedRouter, choose_route, fit_router

DATA = Path(agentic_flywheel.routing.__file__).with_name("data")
#: In the English vocabulary so many marks, letters and parts of words precede the first word.
FIRST_WORD = 1995
#: Ranks differ less among the commonest words; what the other vocabulary lacks is as rare as this.
COMMONEST, RAREST = 100, 300_000

#: The same few things, each in a language that has some of its words in the English vocabulary, too.
ELSEWHERE = """Wo ist mein Paket
Mot de passe perdu
donde esta mi paquete
Camera con balcone
Onde está meu pacote
De kamer is klein
Var är mitt paket
Værelse med altan
Rom med balkong
Gdzie jest moja paczka
kde je muj balik
Izin istiyorum
Di mana paket saya
goi hang cua toi dau
Mikor jon a csomag
Missä pakettini on
Unde este coletul meu
Gdje je moj paket
Kifurushi changu kiko wapi
Nasaan ang sulat ko
Chutti chahiye mujhe
Balkoidun gela
Tuba rõduga
Kamer met balkon""".splitlines()
ENGLISH = """fix crash
tell me a story
poem about rain
API timeout
slow query
write a haiku
debug python
NumPy array bug
summarise the contract
what does it say
story for Zoë
São Paulo travel policy
is redis down
explain the trade-offs
cite page 4
refactor this class""".splitlines()


CATALOG = load_catalog(find_registry(None))


@pytest.fixture(scope="module")
def router() -> FittedRouter:
    return fit_router(CATALOG)


def english_words() -> bytes:
    """Return what ``english.bin`` has to hold, from the two vocabularies, each ordered by frequency."""
    english = (DATA / "wordpiece.txt").read_text(encoding="utf-8").split("\n")
    with np.load(DATA / "multilingual.npz", allow_pickle=False) as stored:
        everywhere = {word: rank for rank, word in enumerate(bytes(stored["words"]).decode().split("\n"))}
    told = bytearray()
    for rank, word in enumerate(english):
        elsewhere = everywhere.get(word, RAREST) + COMMONEST
        ratio = math.log(elsewhere / (max(rank - FIRST_WORD, 1) + COMMONEST))
        value = min(1.36, max(-1.6, 0.42 * ratio + 0.09)) if word.isalpha() else 0.0
        told.append(128 + round(64 * value))
    return bytes(told)


def test_how_english_a_word_is_follows_from_two_vocabularies() -> None:
    assert (DATA / "english.bin").read_bytes() == english_words()


def test_a_short_question_in_another_language_is_not_sure_of_a_flow(router: FittedRouter) -> None:
    sure = [text for text in ELSEWHERE if choose_route(Query(question=text), router, CATALOG).band == "high"]

    # Before words were told apart by language, 20 of the 24 were sure.
    assert len(sure) <= 3, sure


def test_a_short_english_question_is_not_taken_for_another_language(router: FittedRouter) -> None:
    foreign = [text for text in ENGLISH if router.read(text).novelty == 1.0]

    assert foreign == []


def test_words_that_the_catalog_shares_make_a_question_in_another_language_known(router: FittedRouter) -> None:
    reading = router.read("Python API langsam")

    assert (reading.novel, router.flows[reading.best]) == (False, "technical-analysis")
