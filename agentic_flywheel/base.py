"""The base of every noun, and the types that several of them share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

#: Decimals of what is measured: more say nothing, and are stored with every query.
_DECIMALS = 6


def _rounded(value: float) -> float:
    return round(value, _DECIMALS)


Measure = Annotated[float, AfterValidator(_rounded)]
Probability = Annotated[Measure, Field(ge=0.0, le=1.0)]
Band = Literal["high", "medium", "low"]


class Model(BaseModel):
    """Base of every noun: frozen, and closed against unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
