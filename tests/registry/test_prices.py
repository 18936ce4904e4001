"""What a registry says of prices, and what it may not say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from agentic_flywheel.prices import Price, Prices
from agentic_flywheel.registry import check_registry, load_catalog, update_flow

from .conftest import GOOD, Write

PRICES = """\
currency: USD
prices:
  gpt-4.1: {input: 2.00, output: 8.00, cached_input: 0.50}
  llama: {input: 0.059, output: 0}
"""


def of(path: Path) -> Prices:
    return load_catalog(path).prices


def test_prices_are_read_as_they_are_written(write: Write) -> None:
    prices = of(write(PRICES + GOOD))

    assert prices.currency == "USD"
    assert prices.models["gpt-4.1"] == Price(input=Decimal(2), output=Decimal(8), cached_input=Decimal("0.5"))
    assert prices.models["llama"].input == Decimal("0.059"), "no float has been between"
    assert of(write(GOOD)) == Prices()


def test_a_cost_is_exact_and_follows_a_models_versions(write: Write) -> None:
    prices = of(write(PRICES + GOOD))

    exact = prices.cost("llama", input_tokens=1, cached=0, output_tokens=7)
    kept = prices.cost("gpt-4.1-2025-04-14", input_tokens=1000, cached=600, output_tokens=100)

    assert str(exact) == "0.000000059 USD"
    assert str(kept) == "0.0019 USD"
    for unknown in ("gpt-4.1-mini", "gpt-4", "", None):
        assert prices.cost(unknown, input_tokens=1, cached=0, output_tokens=1) is None


def test_a_rewrite_keeps_prices(write: Write, tmp_path: Path) -> None:
    path = write(PRICES + GOOD)

    update_flow(path, "poet", {"description": "another"}, cwd=tmp_path)

    assert path.read_text().startswith(PRICES)
    assert of(path).models["llama"].input == Decimal("0.059")


@pytest.mark.parametrize(
    ("written", "line", "key", "reason"),
    [
        ("prices: {m: {input: 1, output: 2}}", 1, "prices", "need their `currency`"),
        ("currency: usd", 1, "currency", "three capital letters"),
        ("currency: USD\nprices: 7", 2, "prices", "a mapping of at most 2000 models"),
        ("currency: USD\nprices:\n  m: 3", 3, "prices.m", "`input`, `output`"),
        ("currency: USD\nprices:\n  m: {input: 1}", 3, "prices.m.output", "is missing: a price of a million tokens"),
        ("currency: USD\nprices:\n  m:\n    input: -1\n    output: 2", 4, "prices.m.input", "from 0 to a billion"),
        ("currency: USD\nprices:\n  m:\n    input: .nan\n    output: 2", 4, "prices.m.input", "from 0 to a billion"),
        ("currency: USD\nprices:\n  m:\n    input: true\n    output: 2", 4, "prices.m.input", "from 0 to a billion"),
        ("currency: USD\nprices:\n  m:\n    input: $2\n    output: 2", 4, "prices.m.input", "from 0 to a billion"),
        ("currency: USD\nprices:\n  m: {input: 1, output: 2, inptu: 3}", 3, "prices.m.inptu", "input, output, cached_"),
    ],
)
def test_a_price_that_is_none_is_refused_with_its_line(
    write: Write, written: str, line: int, key: str, reason: str
) -> None:
    ((fault),) = check_registry(write(f"{written}\n{GOOD}"))

    assert (fault.line, fault.key) == (line, key)
    assert reason in fault.reason


def with_model(model: str) -> str:
    return GOOD.replace("    intent_keywords: [poem]\n", f"    intent_keywords: [poem]\n    model: {model}\n")


def test_a_flow_of_any_backend_may_name_the_model_whose_price_it_has(write: Write) -> None:
    flow = load_catalog(write(with_model("gpt-4.1"))).flows["poet"]

    assert (flow.backend, flow.model) == ("flowise", "gpt-4.1")
    assert flow.revision == load_catalog(write(GOOD)).flows["poet"].revision, "its kept answers stay"
    for own in ("[a, b]", "{name: x}", "''", "x" * 201):  # an older registry may have such a key for itself
        assert load_catalog(write(with_model(own))).flows["poet"].model is None
