"""What one check of `flywheel doctor` found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.errors import FlywheelError
from agentic_flywheel.models import Model

#: What a library says of a failure may repeat the address that it was given.
Shown = Annotated[str, AfterValidator(without_secrets)]


class Check(Model):
    """The result of one check."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: Shown
    advice: Shown = ""


def failed_by(name: str, error: FlywheelError) -> Check:
    """Return a check that ended with an error."""
    return Check(name=name, state="failed", found=error.message, advice=error.advice[0])
