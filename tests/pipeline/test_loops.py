"""The loops that every worker runs beside its queries."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from workers import runtime


async def test_why_a_loop_pauses_is_said_once_until_it_is_another_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "random", SimpleNamespace(uniform=lambda *_: 0.0))
    reasons = ["nobody listens", "nobody listens", "no route", "nobody listens"]

    async def loop() -> None:
        if not reasons:
            await asyncio.Event().wait()
        raise OSError(reasons.pop(0))

    running = asyncio.create_task(runtime._forever(loop))
    while reasons:
        await asyncio.sleep(0)
    running.cancel()

    said = [each.getMessage().rpartition(": ")[2] for each in caplog.records]
    assert said == ["nobody listens", "no route", "nobody listens"]
