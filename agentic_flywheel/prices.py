"""What calls of flows cost: the prices of models, and sums of money that never pass through a float."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import Field, PlainSerializer, ValidationError

from agentic_flywheel.base import Model

#: Prices are for so many tokens.
PER = 1_000_000
#: How exact sums of costs are kept where whole numbers are needed: so many parts of one unit of the currency.
PARTS = 10**9
#: Units of a currency that one call is counted with at most: Redis adds up whole numbers of 64 bits.
MOST_COUNTED = 1_000_000
#: The date or the number of a version behind a model's name, such as in `gpt-4.1-2025-04-14`.
_VERSION = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")


def plain(amount: Decimal) -> str:
    """Return an amount without an exponent and without zeros at its end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


Amount = Annotated[Decimal, PlainSerializer(plain, return_type=str, when_used="json")]


class Cost(Model):
    """A sum of money."""

    amount: Annotated[Amount, Field(ge=0, allow_inf_nan=False)]
    #: Such as `USD`; empty for nothing, which is the same in every currency.
    currency: str = ""

    def __str__(self) -> str:
        return f"{plain(self.amount)} {self.currency}".rstrip()

    @property
    def parts(self) -> int:
        """The amount in whole billionths of the currency's unit, as it is counted: at most ``MOST_COUNTED`` units."""
        return round(min(self.amount, Decimal(MOST_COUNTED)) * PARTS)

    @classmethod
    def of_parts(cls, parts: int, currency: str) -> Cost:
        """Return the sum that so many billionths are."""
        return cls(amount=Decimal(parts) / PARTS, currency=currency)


def rounded(cost: Cost) -> str:
    """Return a sum for people: with two digits that count, where that is more than two places."""
    places = max(2, 1 - cost.amount.adjusted()) if cost.amount else 0
    return f"{cost.amount:,.{places}f} {cost.currency}".rstrip()


def cost_told(text: object) -> Cost | None:
    """Return the sum that ``str`` made a text of; None where it is none."""
    amount, _, currency = str(text).partition(" ")
    try:
        return Cost(amount=Decimal(amount), currency=currency)
    except (InvalidOperation, ValidationError):
        return None


#: What an answer costs for which no flow was called.
FREE = Cost(amount=Decimal(0))


def together(costs: Iterable[Cost | None]) -> Cost | None:
    """Return the sum; None where one is not known, where there are none, or where currencies differ."""
    found = list(costs)
    known = [cost for cost in found if cost is not None]
    currencies = {cost.currency for cost in known if cost.amount or cost.currency}
    if not known or len(known) < len(found) or len(currencies) > 1:
        return None
    return Cost(amount=sum((cost.amount for cost in known), Decimal(0)), currency=next(iter(currencies), ""))


class Price(Model):
    """What a model's tokens cost, for a million of them."""

    input: Decimal
    output: Decimal
    #: Of tokens that the model's server had kept from an earlier call; None: as any other.
    cached_input: Decimal | None = None


class Prices(Model):
    """The registry's ``prices``: what models cost, all in one currency."""

    currency: str = ""
    models: dict[str, Price] = {}

    def of(self, model: str) -> Price | None:
        """Return the price of a model, or of the one that this is a version of."""
        return self.models.get(model) or self.models.get(_VERSION.sub("", model))

    def cost(self, model: str | None, *, input_tokens: int, cached: int, output_tokens: int) -> Cost | None:
        """Return what a call cost; None where the model is not known or has no price.

        ``cached``: how many of ``input_tokens`` the model's server had kept.
        """
        price = self.of(model) if model else None
        if price is None:
            return None
        kept = price.input if price.cached_input is None else price.cached_input
        cached = min(cached, input_tokens)
        whole = (input_tokens - cached) * price.input + cached * kept + output_tokens * price.output
        return Cost(amount=whole / PER, currency=self.currency)
