"""The base of every noun, and the types that several of them share."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

#: Decimals of what is measured: more say nothing, and are stored with every query.
_DECIMALS = 6


# Python's own function and the core's own bounds: several measures are checked for every query.
_ROUNDED = AfterValidator(partial(round, ndigits=_DECIMALS))
Measure = Annotated[float, _ROUNDED]
Probability = Annotated[float, Field(ge=0.0, le=1.0), _ROUNDED]
Band = Literal["high", "medium", "low"]


class Model(BaseModel):
    """Base of every noun: frozen, and closed against unknown fields.

    Its checks are built at its first use, or by ``build_models``: a command needs few of all nouns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def build_models(of: type[Model] = Model) -> None:
    """Build the checks of all nouns that are known by now: who serves does it once, before the first query."""
    for noun in of.__subclasses__():
        noun.model_rebuild()
        build_models(noun)
