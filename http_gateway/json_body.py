"""Read a body of JSON: what it may cost is looked at before anything is made of it, large ones beside the loop."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from agentic_flywheel import texts
from agentic_flywheel.errors import InvalidQuery, RequestTooLarge
from agentic_flywheel.once import GivenTwice, once
from agentic_flywheel.weighing import TOO_MANY, divided

_Body = TypeVar("_Body", bound=BaseModel)
_Read = TypeVar("_Read")

#: Bytes of a small body, of a feedback or a decision, and of a question, which may have six for a character of two.
SMALL_BODY, QUESTION_BODY = 2**16, 2**20
#: Bytes from which a body is read beside the loop.
_LARGE = 2**16
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def received(request: Request, most: int) -> bytes:
    """Return the bytes of a body. Raises RequestTooLarge, and what the entrance says of one that does not come."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise RequestTooLarge(most)
    return bytes(body)


async def beside_loop(read: Callable[[bytes], _Read], body: bytes) -> _Read:
    """Return what is read of a body, which is done in a thread where it takes a while."""
    return await asyncio.to_thread(read, body) if len(body) > _LARGE else read(body)


def read_json(
    body: bytes | str, *, name: str = "body", most: int | None = None, content: int = 2**62, halves: bool = False
) -> Any:
    """Return the value of a body, or of the field of a form that ``name`` says. Raises InvalidQuery, RequestTooLarge.

    ``most``: bytes, beside the contents of files: `data:` URLs, and texts of more than ``content`` bytes. ``halves``:
    whether half of a character is let through, because whoever reads the value judges its parts one by one.
    """
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    _weigh(raw, name, most, content)
    try:
        # Decoded here: `json` would also take UTF-16, in which the values were not counted.
        given = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_number, object_pairs_hook=once)
    except UnicodeDecodeError:
        raise InvalidQuery(name, "it should be in UTF-8") from None
    except GivenTwice as twice:
        raise InvalidQuery(name, str(twice)) from None
    except (ValueError, RecursionError):
        raise InvalidQuery(name, "it should be JSON") from None
    if not halves and _SURROGATE.search(raw) and (found := _lone_surrogate_in(given)):
        place, fault = found
        raise InvalidQuery(place or name, fault)
    return given


def _no_number(name: str) -> None:
    raise ValueError(name)


def _lone_surrogate_in(given: Any) -> tuple[str, str] | None:
    """Return where half of a character stands, and which: it could not even be shown in an answer."""
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return texts.place_of_fault(given)
    return None


def _weigh(raw: bytes, name: str, most: int | None, content: int) -> None:
    pieces = divided(raw)
    if pieces is None:
        raise InvalidQuery(name, TOO_MANY)
    if most is None:
        return
    size = len(raw) - sum(len(each) for each in pieces[1::2] if len(each) > content or each[:5] == b"data:")
    if size > most:
        raise RequestTooLarge(most, size)


def values_in(value: Any) -> int:
    """Return how many values there are in one, itself and lists and objects included."""
    found, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        found += 1
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each
    return found


class BodyOf(Generic[_Body]):
    """The dependency of a route that takes JSON: `given: Annotated[Ask, Depends(ASK)]`, where ASK is a BodyOf(Ask).

    FastAPI itself reads a body before it asks who calls; dependencies are solved in their order, the caller first.
    """

    #: The models of all of them, whose schemas the description of the API has.
    models: ClassVar[list[type[BaseModel]]] = []

    def __init__(self, model: type[_Body], most: int = SMALL_BODY, *, halves: bool = False) -> None:
        """``halves``: as ``read_json`` has it."""
        self._model, self._most, self._halves = model, most, halves
        self.models.append(model)

    @property
    def shown(self) -> dict[str, Any]:
        """What the description says of the route, which FastAPI does not know: `openapi_extra`."""
        schema = {"$ref": f"#/components/schemas/{self._model.__name__}"}
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    async def __call__(self, request: Request) -> _Body:
        return await beside_loop(self._model_of, await received(request, self._most))

    def _model_of(self, body: bytes) -> _Body:
        try:
            return self._model.model_validate(read_json(body, halves=self._halves))
        except ValidationError as refused:
            faults = refused.errors(include_url=False, include_input=False)[:20]
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in faults]) from None
