"""The registry's ``prices`` and ``currency`` as Prices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from agentic_flywheel.prices import Price, Prices
from agentic_flywheel.registry.document import Where
from agentic_flywheel.registry.entry import Fault
from agentic_flywheel.written import as_text

SECTION, CURRENCY = "prices", "currency"
#: Most models that have a price.
_MOST = 2000
#: The highest price of a million tokens, in any currency.
_HIGHEST = 10**9
_CODE = re.compile(r"[A-Z]{3}")

_PRICE = "a price of a million tokens, such as 2.50: a number from 0 to a billion"
_NAMES = tuple(Price.model_fields)


def prices_of(data: Mapping[str, Any]) -> tuple[Prices, list[Fault]]:
    """Return the prices of a registry, and the faults; with faults there are no prices."""
    section, currency = data.get(SECTION), data.get(CURRENCY)
    faults: list[Fault] = []
    if currency is not None and not (isinstance(currency, str) and _CODE.fullmatch(currency)):
        faults.append(((CURRENCY,), "should be the three capital letters of one currency, such as USD"))
    if section is None:
        return Prices(), faults
    if not isinstance(section, dict) or len(section) > _MOST:
        faults.append(((SECTION,), f"should be a mapping of at most {_MOST} models to their prices"))
        return Prices(), faults
    if section and currency is None:
        faults.append(((SECTION,), "need their `currency`, once at the top of the file, such as `currency: USD`"))
    models: dict[str, Price] = {}
    for model, given in section.items():
        price, wrong = _price_of((SECTION, model), given)
        faults += wrong
        if price is not None:
            models[model] = price
    return (Prices(), faults) if faults else (Prices(currency=currency or "", models=models), [])


def _price_of(where: Where, given: Any) -> tuple[Price | None, list[Fault]]:
    if not isinstance(given, dict):
        return None, [(where, "should be a mapping: `input`, `output` and, where it is another price, `cached_input`")]
    faults: list[Fault] = [
        ((*where, name), f"is not a price that is read: {', '.join(_NAMES)}") for name in given.keys() - set(_NAMES)
    ]
    found: dict[str, Decimal] = {}
    for name in _NAMES:
        if given.get(name) is None:
            if Price.model_fields[name].is_required():
                faults.append(((*where, name), f"is missing: {_PRICE}"))
        elif (amount := _amount(given[name])) is None:
            faults.append(((*where, name), f"should be {_PRICE}"))
        else:
            found[name] = amount
    return (None, faults) if faults else (Price.model_validate(found), [])


def _amount(given: Any) -> Decimal | None:
    """Return a price exactly as it was written; None where it is none."""
    if isinstance(given, bool) or len(text := str(as_text(given))) > 30:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount <= _HIGHEST else None
