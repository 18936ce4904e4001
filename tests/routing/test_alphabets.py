"""A text in another alphabet than the catalog's is read as the catalog writes it, and no other text is touched."""

from __future__ import annotations

import pytest
from routing.catalogs import catalog_of, flow

from agentic_flywheel.models import Query
from agentic_flywheel.routing import choose_route, fit_router
from agentic_flywheel.routing.alphabets import Alphabets
from agentic_flywheel.routing.words import words

#: By language: questions as the catalog has them, each with ways in which people type it.
TYPED: dict[str, dict[str, tuple[str, ...]]] = {
    "Russian": {
        "Где моя посылка": ("gde moya posylka", "gde moja posylka"),
        "Сколько стоит счёт за газ": ("skolko stoit schet za gaz", "skolko stoit schyot za gaz"),
        "Хочу перенести приём к врачу": ("hochu perenesti priem k vrachu", "xochu perenesti priyom k vrachu"),
    },
    "Serbian": {
        "Где је мој рачун": ("gde je moj račun", "gde je moj racun"),
        "Желим нову кућу и њен кључ": ("želim novu kuću i njen ključ", "zelim novu kucu i njen kljuc"),
    },
    "Serbian in Latin letters": {"Gde je moj račun za džem i ključ": ("Где је мој рачун за џем и кључ",)},
    "Ukrainian": {"Коли прийде моя посилка": ("koly pryyde moya posylka",)},
    "Bulgarian": {"Къде е моята чанта": ("kyde e moyata chanta", "kade e moqta 4anta")},
    "Kazakh": {"Қанша ақша керек": ("qansha aqsha kerek", "kansha aksha kerek")},
    "Greek": {
        "Πού είναι η κάρτα μου": ("pou einai i karta mou", "poy einai h karta moy"),
        "Θέλω να ακυρώσω τον λογαριασμό": ("thelo na akyroso ton logariasmo", "8elw na akurwsw ton logariasmo"),
    },
}


def alphabets(*texts: str) -> Alphabets:
    return Alphabets({word: 1.0 for text in texts for word in words(text)})


def test_a_question_in_another_alphabet_has_the_catalogs_words() -> None:
    for language, questions in TYPED.items():
        read = alphabets(*questions).rewritten
        typed = [(words(asked), words(way)) for asked, ways in questions.items() for way in ways]

        assert [read(way) for _, way in typed] == [asked for asked, _ in typed], language


def test_a_question_in_another_alphabet_reaches_the_flow_that_it_is_for() -> None:
    parcels = ("Где моя посылка", "Когда придёт посылка", "Посылка не пришла", "Хочу вернуть посылку")
    doctors = ("Хочу записаться к врачу", "Когда принимает врач", "Перенесите приём у врача", "Нужен детский врач")
    catalog = catalog_of(flow("parcels", examples=parcels), flow("doctors", examples=doctors))
    router = fit_router(catalog)

    for asked, meant in (("kogda pridet posylka", "parcels"), ("hochu zapisatsya k vrachu", "doctors")):
        route = choose_route(Query(question=asked), router, catalog)
        assert (route.best.flow, route.decision) == (meant, "single"), asked


def test_a_question_in_another_language_stays_as_it_was_typed() -> None:
    russian, greek = alphabets(*TYPED["Russian"]), alphabets(*TYPED["Greek"])
    latin, japanese = alphabets(*TYPED["Serbian in Latin letters"]), alphabets("荷物はどこですか")
    foreign = ("how do i reset my password", "wo ist mein paket", "gdzie jest moja paczka", "dw i eisiau dau docyn")

    for said in map(words, foreign):
        assert [each.rewritten(said) for each in (russian, greek, latin, japanese)] == [said] * 4
    assert latin.rewritten(said := words("хочу купить машину")) == said
    assert russian.rewritten(said := words("где login")) == said


def test_no_text_is_tried_in_ways_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    russian, tried = alphabets(*TYPED["Russian"]), list[str]()

    class Counted:
        def cost(self, said: list[str]) -> float:
            tried.extend(said)
            return 1.0

    monkeypatch.setattr("agentic_flywheel.routing.alphabets.pieces_of_languages", Counted)
    russian.rewritten([f"{'tsnl' * at}y" for at in range(1, 200)])

    assert len(tried) < 10_000
