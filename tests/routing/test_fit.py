"""What a fit learns, keeps and replaces."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from routing.catalogs import BUNDLED, CREATIVE, DOCUMENTS, TECHNICAL, catalog_of, flow

from agentic_flywheel.routing import FittedRouter, RouterSlot, fit_router


def test_a_fit_is_read_back_from_disk_as_it_was(tmp_path: Path, router: FittedRouter) -> None:
    fit_router(BUNDLED, cache_dir=tmp_path)
    (stored,) = tmp_path.iterdir()
    written = stored.stat().st_mtime_ns

    again = fit_router(BUNDLED, cache_dir=tmp_path)

    assert stored.stat().st_mtime_ns == written
    assert np.allclose(again.read("why is my query slow").flows, router.read("why is my query slow").flows, atol=1e-4)


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
    assert again.read("write a poem").flows.argmax() == router.read("write a poem").flows.argmax()
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
