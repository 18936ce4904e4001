"""What a fit learns, keeps and replaces."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from routing.catalogs import BUNDLED, CREATIVE, DOCUMENTS, TECHNICAL, catalog_of, flow

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.models import Query
from agentic_flywheel.registry import find_registry, load_catalog
from agentic_flywheel.routing import FittedRouter, RouterSlot, choose_route, fit_router, strong_encoder
from agentic_flywheel.routing.corpus import corpus_of
from agentic_flywheel.routing.encoder import Encoder, table_for


def test_a_fit_is_read_back_from_disk_as_it_was(tmp_path: Path, router: FittedRouter) -> None:
    fit_router(BUNDLED, cache_dir=tmp_path)
    (stored,) = tmp_path.iterdir()
    written = stored.stat().st_mtime_ns

    again = fit_router(BUNDLED, cache_dir=tmp_path)

    assert stored.stat().st_mtime_ns == written
    assert np.allclose(
        again.read("why is my query slow").chances, router.read("why is my query slow").chances, atol=1e-4
    )


@pytest.mark.parametrize("damage", [b"", b"not an npz", None])
def test_a_damaged_file_is_fitted_anew(
    damage: bytes | None, tmp_path: Path, router: FittedRouter, caplog: pytest.LogCaptureFixture
) -> None:
    fit_router(BUNDLED, cache_dir=tmp_path)
    (stored,) = tmp_path.iterdir()
    whole = stored.read_bytes()
    stored.write_bytes(whole[: len(whole) // 2] if damage is None else damage)

    with caplog.at_level(logging.WARNING):
        again = fit_router(BUNDLED, cache_dir=tmp_path)

    assert "made anew" in caplog.text
    assert again.read("write a poem").best == router.read("write a poem").best
    assert stored.stat().st_size == len(whole)


def test_a_folder_that_cannot_be_written_costs_only_the_fit(tmp_path: Path) -> None:
    occupied = tmp_path / "a-file"
    occupied.write_text("")

    assert fit_router(BUNDLED, cache_dir=occupied).flows == tuple(BUNDLED.routable)


def test_only_a_change_that_routing_reads_is_fitted_anew(tmp_path: Path) -> None:
    fit_router(BUNDLED, cache_dir=tmp_path)
    fit_router(catalog_of(CREATIVE.model_copy(update={"attempts": 9}), TECHNICAL, DOCUMENTS), cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

    fit_router(catalog_of(CREATIVE.model_copy(update={"description": "Other."}), TECHNICAL), cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_old_fits_are_cleared_away(tmp_path: Path) -> None:
    for number in range(10):
        fit_router(catalog_of(flow("one", description=f"text {number}")), cache_dir=tmp_path)

    assert len(list(tmp_path.iterdir())) == 8


def test_the_slot_answers_with_the_old_router_until_the_new_one_is_there() -> None:
    slot = RouterSlot(BUNDLED)
    before = slot.current

    slot.refit(catalog_of(CREATIVE, TECHNICAL, flow("cooking", examples=("how do I cook pasta", "bake a cake"))))
    assert slot.current.read("write a poem") is not None
    assert slot.wait(30)

    assert slot.current is not before
    assert "cooking" in slot.current.flows


def test_the_second_stage_comes_in_the_background_and_nobody_waits_for_it() -> None:
    found = threading.Event()

    def find(catalog: Catalog, folder: Path | None) -> Encoder:
        assert found.wait(10)
        return Echo()  # any encoder will do

    slot = RouterSlot(BUNDLED, stronger=find)
    before = slot.current
    found.set()

    assert slot.wait(30)
    assert before.stronger is None
    assert slot.current.stronger is not None


def test_of_several_changes_the_last_one_counts() -> None:
    slot = RouterSlot(BUNDLED)
    for number in range(5):
        slot.refit(catalog_of(CREATIVE, flow(f"flow-{number}")))

    assert slot.wait(30)

    assert slot.current.flows == ("creative-orientation", "flow-4")


def test_a_change_without_new_texts_keeps_the_router() -> None:
    slot = RouterSlot(BUNDLED)
    before = slot.current

    slot.refit(catalog_of(CREATIVE.model_copy(update={"attempts": 9}), TECHNICAL, DOCUMENTS))

    assert slot.wait(30)
    assert slot.current is before


def test_a_mistyped_question_goes_where_it_would_have_gone(router: FittedRouter) -> None:
    plain = router.read("profile this python script")
    mistyped = router.read("profiel thsi pythn scrpt")

    assert mistyped.best == plain.best
    assert router.flows[mistyped.best] == "technical-analysis"


def test_a_text_without_a_known_word_is_foreign(router: FittedRouter) -> None:
    unread = [router.read(text) for text in ("日本語で詩を書いて", "Где моя посылка?", "👍", "???", "12345", "xqzzt")]

    assert [(each.novel, max(each.chances) < 0.4) for each in unread] == [(True, True)] * 6
    assert not router.read("write a short story about a lighthouse").novel


def test_a_question_in_a_script_that_no_table_knows_goes_to_the_default_flow_and_says_why() -> None:
    catalog = load_catalog(find_registry(None))

    route = choose_route(Query(question="Πού είναι το δέμα μου;"), fit_router(catalog), catalog)

    assert (route.decision, route.band, route.novel) == ("default", "low", True)
    assert "It is unlike everything the flows are described with" in route.reason


@pytest.mark.parametrize(
    "question",
    ["Quiero cancelar mi suscripción", "Ich möchte kündigen", "Faktura jest błędna", "Şifremi nasıl değiştiririm"],
)
def test_a_sentence_in_another_language_is_foreign_to_an_english_catalog(router: FittedRouter, question: str) -> None:
    assert router.read(question).novel


@pytest.mark.parametrize(
    "question",
    ["debug 小米手机", "why does 数据库连接失败 crash my program", "Why is the databse in Großräschen so slow?"],
)
def test_a_name_in_another_script_does_not_make_an_english_question_foreign(
    router: FittedRouter, question: str
) -> None:
    reading = router.read(question)

    assert (reading.novel, router.flows[reading.best]) == (False, "technical-analysis")


def test_names_and_keywords_keep_the_marks_of_their_letters() -> None:
    hindi = flow("one", name="चालान", keywords=("बिल_भुगतान", "می‌شود", "C++"), topics={"ใบแจ้งหนี้": ("बिल कहाँ है",)})

    told = [each.text for each in corpus_of(catalog_of(hindi)).samples]

    assert told == ["चालान", "बिल भुगतान", "می‌شود", "c++", "ใบแจ้งหนี้", "बिल कहाँ है"]


def test_a_text_without_words_is_likened_to_nothing() -> None:
    odd = flow("odd", name="🙂", keywords=("🚨", "siren"), examples=("👍👍",))

    assert [each.text for each in corpus_of(catalog_of(odd, flow("mute", name="🙂"))).samples] == ["siren", "🙂"]


def test_names_of_programming_languages_do_not_make_a_registry_foreign() -> None:
    own = tuple(f"{how} in C++" for how in ("templates", "a lambda", "a loop", "C# and .NET"))

    assert table_for(corpus_of(catalog_of(flow("one", name="C++", examples=own)))).english


def test_many_examples_are_thinned_evenly() -> None:
    many = catalog_of(
        flow("many", examples=tuple(f"question number {number} about ships" for number in range(5000))), TECHNICAL
    )

    corpus = corpus_of(many)

    assert len(corpus.samples) <= 3000
    assert {sample.intent for sample in corpus.samples} == set(range(len(corpus.intents)))


class Echo:
    """An encoder that knows one word; what it is asked tells which questions reached it."""

    name = "echo"
    meaning = 3.0
    alignment = 1.0
    english = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.asked += texts
        return np.array([[1, 0] if "ship" in text else [0, 1] for text in texts], np.float32)


def test_the_stronger_encoder_is_asked_only_where_the_first_is_unsure() -> None:
    echo = Echo()
    router = fit_router(BUNDLED, stronger=echo)
    echo.asked.clear()

    router.read("write a short story about a lighthouse keeper")
    assert echo.asked == []

    reading = router.read("what about our ship")
    assert echo.asked == ["what about our ship"]
    assert router.contributions(reading, "creative-orientation") is not None


def test_an_english_encoder_is_not_asked_about_a_catalog_in_another_language() -> None:
    german = catalog_of(
        flow("billing", examples=("Bitte schicken Sie mir die Rechnung", "Warum wurde zweimal abgebucht?")),
        flow("hotel", examples=("Ich möchte ein Zimmer buchen", "Gibt es im Hotel ein Frühstück?")),
    )

    assert fit_router(german, stronger=Echo()).stronger is None


@pytest.mark.skipif(strong_encoder(BUNDLED) is None, reason="the extra `encoder` is not installed")
def test_the_extra_s_encoder_puts_like_meanings_close() -> None:
    encoder = strong_encoder(BUNDLED)
    assert encoder is not None

    slow, fast, cake = encoder.encode(["my query is slow", "speed up the database", "bake a cake"])

    assert slow @ slow == pytest.approx(1, abs=1e-3)
    assert slow @ fast > slow @ cake
