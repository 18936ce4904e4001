"""The second stage behind an OpenAI-compatible server of embeddings."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from routing.catalogs import catalog_of, flow
from routing.embeddings import Embeddings, serving

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import EncoderUnavailable
from agentic_flywheel.routing import FittedRouter, RouterSlot, fit_router, strong_encoder
from agentic_flywheel.routing import server as module

SHIPS = ("when does the boat leave", "the harbour is closed", "how do I sail to the island")
CAKES = ("which oven do I need", "my bread is burnt", "bake something sweet")


@pytest.fixture
def embeddings() -> Iterator[Embeddings]:
    with serving() as told:
        yield told


def catalog(told: Embeddings, **encoder: str) -> Catalog:
    server = {"url": told.url, "model": "tiny", **encoder}
    return catalog_of(flow("travel", examples=SHIPS), flow("kitchen", examples=CAKES), encoder=server)


def router_of(told: Embeddings, folder: Path | None = None, **encoder: str) -> FittedRouter:
    told_catalog = catalog(told, **encoder)
    return fit_router(told_catalog, stronger=strong_encoder(told_catalog, folder), cache_dir=folder)


def test_a_question_that_the_first_stage_is_unsure_of_is_read_by_the_server(embeddings: Embeddings) -> None:
    router = router_of(embeddings)
    embeddings.calls.clear()

    reading = router.read("船 Schiff")

    assert embeddings.calls == [["船 Schiff"]]
    assert router.flows[reading.best] == "travel"
    assert reading.reader.read_by.startswith("server-")
    assert set(embeddings.models) == {"tiny"}


def test_a_question_that_the_first_stage_is_sure_of_is_not_sent(embeddings: Embeddings) -> None:
    router = router_of(embeddings)
    embeddings.calls.clear()

    assert router.flows[router.read("my bread is burnt").best] == "kitchen"
    assert embeddings.calls == []


def test_the_catalog_s_texts_are_asked_for_once_and_kept(embeddings: Embeddings, tmp_path: Path) -> None:
    router_of(embeddings, tmp_path)
    first = {text for call in embeddings.calls for text in call}
    embeddings.calls.clear()

    router_of(embeddings, tmp_path)
    assert embeddings.calls == []

    more = catalog_of(
        flow("travel", examples=(*SHIPS, "rent a boat")),
        flow("kitchen", examples=CAKES),
        encoder={"url": embeddings.url, "model": "tiny"},
    )
    fit_router(more, stronger=strong_encoder(more, tmp_path), cache_dir=tmp_path)

    assert set(SHIPS) <= first
    assert embeddings.calls == [["rent a boat"]]


def test_the_key_comes_from_the_named_variable_and_is_told_to_nobody(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EMBEDDINGS_KEY", "sk-very-secret")
    router = router_of(embeddings, api_key_env="EMBEDDINGS_KEY")
    embeddings.status = 401

    with caplog.at_level(logging.DEBUG):
        router.read("船")

    assert set(embeddings.keys) == {"Bearer sk-very-secret"}
    assert "status 401" in caplog.text
    assert "very-secret" not in caplog.text


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (200, b"not json"),
        (200, b'{"data": []}'),
        (200, b'{"data": [{"index": 0, "embedding": [1, "a"]}]}'),
        (200, b'{"data": [{"index": 0, "embedding": [NaN, 1, 1]}]}'),
        (200, b'{"data": [{"index": 0, "embedding": [0, 0, 0]}]}'),
        (200, b'{"data": [{"index": 0, "embedding": [1, 1]}]}'),
        (200, b"[" * 100_000),
        (302, b""),
    ],
)
def test_whatever_the_server_answers_the_first_stage_s_reading_stays(
    status: int, body: bytes, embeddings: Embeddings
) -> None:
    router = router_of(embeddings)
    embeddings.status, embeddings.body = status, body

    assert router.read("船").reader is router


def test_a_slow_server_is_not_waited_for(embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    router = router_of(embeddings)
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    embeddings.delay = 1.0

    assert router.read("船").reader is router


def test_a_server_that_keeps_failing_is_left_alone_and_tried_again_later(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = router_of(embeddings)
    embeddings.calls.clear()
    embeddings.status = 503

    for _ in range(10):
        assert router.read("船").reader is router
    assert len(embeddings.calls) == 3

    embeddings.status = 200
    monkeypatch.setattr(module, "time", type("Later", (), {"monotonic": staticmethod(lambda: 1e12)}))
    assert router.read("船").reader is not router


def test_a_router_is_fitted_without_a_server_that_is_away_and_gets_it_later(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agentic_flywheel.routing.slot._AGAIN", 0.05)
    embeddings.status = 503

    slot = RouterSlot(catalog(embeddings), stronger=strong_encoder)
    assert slot.wait(30)
    assert slot.current.stronger is None
    assert "no second stage" in caplog.text
    embeddings.status = 200

    ends = time.monotonic() + 30
    while slot.current.stronger is None and time.monotonic() < ends:
        time.sleep(0.05)
    assert slot.current.stronger is not None


def test_vectors_of_another_length_are_an_error_that_says_what_to_do(embeddings: Embeddings, tmp_path: Path) -> None:
    encoder = strong_encoder(catalog(embeddings), tmp_path)
    assert encoder is not None
    encoder.encode(SHIPS)
    embeddings.width = 7

    with pytest.raises(EncoderUnavailable) as refused:
        encoder.encode([*SHIPS, *CAKES])

    assert "another length" in str(refused.value)
    assert len(refused.value.recovery_suggestions) >= 3
    assert encoder.encode([*SHIPS, *CAKES]).shape == (6, 7)
