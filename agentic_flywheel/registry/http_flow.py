"""What is wrong with the ``request`` and ``answer`` of a flow that is asked over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from agentic_flywheel.http_flows import (
    MEMBERS,
    NAMES,
    PLACEHOLDER,
    AnswerPlace,
    Frame,
    HttpRequest,
    LateAnswer,
    RequestTemplate,
    StreamRule,
    names_in,
)
from agentic_flywheel.registry.document import Where

_POINTER = "a JSON pointer: empty for the whole, else such as /outputs/0/text"
_FRAME = "a mapping: `when` (pointers and the values there) or `event` (a name), and `at` (a pointer)"
#: What each key should be, whatever it is part of.
_MEANING = {
    "request": "a mapping: `path`, and as needed `method`, `headers`, `body`, `abort`, `probe`",
    "answer": "a mapping: `text` or `data`, and as needed `usage`, `model`, `sources`, `error`, `format`, `statuses`, "
    "`stream`, `late`",
    "method": "GET, POST, PUT, PATCH or DELETE",
    "path": "a path that begins with `/`, without white space, `#` and `\\`",
    "headers": "a mapping of names to texts",
    "body": "what is sent as JSON",
    "abort": "a request: `path`, and as needed `method`, `headers`, `body`",
    "probe": "a mapping: `path`, and as needed `version` (a pointer)",
    "format": "json or text",
    "statuses": "a mapping of statuses from 200 to 599 to answer, retry, wait, refused or failed",
    "usage": "a mapping of pointers: `input`, `output`, `total`",
    "stream": "a mapping: `token`, `instead`, `whole`, `end`, `error`",
    **dict.fromkeys(("token", "instead", "whole", "end"), _FRAME),
    "when": "a mapping of pointers to values",
    "event": "the name of an event, or a list of names",
    "late": "a mapping: `request`, `where` and `text`, and as needed `entries`",
    "where": "a mapping of pointers to values, {{chat_id}} among them",
}
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Headers that are ours to send.
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"})
#: What stands for more than one value.
_MANY = frozenset({"history", "uploads", "config", "form"})
#: What is known of an attempt once it is over.
_LATER = frozenset({"chat_id", "flow_id"})

Fault = tuple[Where, str]


def http_faults(given: Mapping[str, Any], where: Where) -> Iterator[Fault]:
    """Yield the faults of a flow's own keys as a registry has them; ``where`` is the flow's place in it."""
    read: dict[str, Any] = {}
    if given.get("request") is None:
        yield (*where, "request"), f"is missing: {_MEANING['request']}"
    for name, model in (("request", RequestTemplate), ("answer", AnswerPlace)):
        try:
            read[name] = None if given.get(name) is None else model.model_validate(given[name])
        except ValidationError as refused:
            yield from _unread(refused, (*where, name))
    if isinstance(template := read.get("request"), RequestTemplate):
        if given.get("form") and not any(name.startswith("form") for name in names_in(template)):
            yield (*where, "form"), "is filled in for nothing: the `request` has no {{form}} and no {{form.NAME}}"
        yield from _of_request(template, (*where, "request"))
        if template.abort is not None:
            yield from _of_request(template.abort, (*where, "request", "abort"), known=_LATER)
        if template.probe is not None:
            yield from _of_path(template.probe.path, (*where, "request", "probe", "path"), frozenset({"flow_id"}))
    if isinstance(place := read.get("answer"), AnswerPlace):
        yield from _of_answer(place, (*where, "answer"))
        if place.late is not None and template is not None:
            yield from _of_late(place.late, template, (*where, "answer", "late"))


def _unread(refused: ValidationError, where: Where) -> Iterator[Fault]:
    said: dict[Where, str] = {}
    for each in refused.errors(include_url=False, include_input=False):
        # pydantic names a mapping's bad key with the key and a marker, and a choice's member by its type.
        way = tuple(step for step in each["loc"] if step != "[key]" and not _is_a_choice(step))
        name = next((str(step) for step in reversed(way) if step in _MEANING), str(where[-1]))
        if each["type"] == "extra_forbidden":
            said[*where, *way] = f"is not a key that is read here: {_MEANING[_around(where, way)]}"
        elif each["type"] == "missing":
            said[*where, *way] = f"is missing: {_MEANING.get(str(way[-1]), _POINTER)}"
        elif "[key]" in each["loc"] and name != "statuses":
            said[*where, *way] = f"should be {_POINTER}"
        else:
            said[*where, *way] = (
                f"should be {_MEANING[name] if not way or name == way[-1] or _is_inner(name) else _POINTER}"
            )
    yield from said.items()


def _is_a_choice(step: int | str) -> bool:
    return isinstance(step, str) and (step in ("str", "tuple[str, ...]") or step.startswith("function-"))


def _is_inner(name: str) -> bool:
    return name in ("headers", "statuses", "event", "body")


def _around(where: Where, way: Where) -> str:
    around = [str(step) for step in (*where, *way[:-1]) if step in _MEANING and step != "error"]
    return "token" if "error" in way[:-1] else around[-1]


def _of_request(template: HttpRequest, where: Where, *, known: frozenset[str] = NAMES) -> Iterator[Fault]:
    members = known == NAMES
    single = known - _MANY
    yield from _unknown(template.body, (*where, "body"), known, members=members, many=True)
    yield from _of_path(template.path, (*where, "path"), single, members=members)
    if template.body is not None and template.method == "GET":
        yield (*where, "body"), "goes with no GET: name another `method`, or put the values behind a `?` of the path"
    for name, text in template.headers.items():
        place = (*where, "headers", name)
        if not _TOKEN.fullmatch(name):
            yield place, "is no name of a header"
        elif name.lower() in _OURS:
            yield place, "is not given by hand"
        elif not (text.isascii() and text.isprintable()):
            yield place, "holds a character that no header can carry"
        elif "${" in text:
            yield (
                place,
                "has `${`: variables stand in the headers of the server, here {{key}} stands for the flow's key",
            )
        yield from _unknown(text, place, (_LATER | {"key", "session_id"}) if members else (_LATER | {"key"}))


def _of_path(path: str, where: Where, known: frozenset[str], *, members: bool = False) -> Iterator[Fault]:
    yield from _unknown(path, where, known, members=members)
    if {".", ".."} & set(path.partition("?")[0].split("/")):
        yield where, "has a step `.` or `..`: name the path itself"


def _unknown(
    template: Any, where: Where, known: frozenset[str], *, members: bool = False, many: bool = False
) -> Iterator[Fault]:
    """Yield the placeholders of a template that stand for nothing, and braces that are none.

    ``members``: whether ``config.NAME`` and ``form.NAME`` are known; ``many``: whether several values may stand there.
    """
    if isinstance(template, dict):
        for name, each in template.items():
            if "{{" in name or "}}" in name:
                yield (*where, name), "has a placeholder in its name: these stand for values only"
            yield from _unknown(each, (*where, name), known, members=members, many=many)
    elif isinstance(template, list):
        for number, each in enumerate(template):
            yield from _unknown(each, (*where, number), known, members=members, many=many)
    elif isinstance(template, float) and template - template != 0:
        yield where, "should be a finite number"
    elif isinstance(template, str):
        rest = PLACEHOLDER.sub("", template)
        if "{{" in rest or "}}" in rest:
            yield where, "has `{{` or `}}` without the other: a placeholder is a name between both"
        for name in PLACEHOLDER.findall(template):
            of_member = members and any(name.startswith(each) and name != each for each in MEMBERS)
            if name not in known and not of_member:
                yield where, _stranger(name, known, members=members)
            elif name == "uploads" and not PLACEHOLDER.fullmatch(template):
                yield where, "has more than {{uploads}}, which stands for a list: give it a member of its own"


def _stranger(name: str, known: frozenset[str], *, members: bool) -> str:
    if name == "key":
        return "has {{key}}, which stands in headers alone: what stands elsewhere is written down on the way"
    names = [f"{{{{{each}}}}}" for each in sorted(known)]
    names += ["{{config.NAME}}", "{{form.NAME}}"] if members else []
    return f"has {{{{{name}}}}}, which stands for nothing here; these do: {', '.join(names)}"


def _of_answer(place: AnswerPlace, where: Where) -> Iterator[Fault]:
    rule = place.stream
    if place.format == "text" and (place.text or place.data is not None or rule is not None):
        yield (*where, "format"), "is text: the whole body is the answer, without `text`, `data` and `stream`"
    elif place.format == "json" and place.text is None and place.data is None and not (rule and rule.token):
        yield where, "needs `text` or `data`: where the answer stands"
    if rule is None:
        return
    if rule.end is None and rule.whole is None:
        yield (*where, "stream"), "needs `end` or `whole`: without, an answer that was cut would pass for a whole one"
    if rule.token is None and rule.whole is None:
        yield (*where, "stream"), "needs `token` or `whole`: where the text stands"
    for name in StreamRule.model_fields:
        frame: Frame | None = getattr(rule, name)
        if frame is not None and frame.when is None and frame.event is None:
            yield (*where, "stream", name), "needs `when` or `event`: which frames are meant"


def _of_late(late: LateAnswer, template: RequestTemplate, where: Where) -> Iterator[Fault]:
    yield from _of_request(late.request, (*where, "request"), known=_LATER)
    yield from _unknown(dict(late.where), (*where, "where"), _LATER)
    if "chat_id" not in names_in(dict(late.where)):
        yield (
            (*where, "where"),
            "needs a value with {{chat_id}}: else another attempt's answer would be taken",
        )
    if "chat_id" not in names_in(template):
        yield (
            (*where, "where"),
            "has {{chat_id}}, which the flow's `request` does not send: nothing is found by it",
        )
    if late.text is None and late.data is None:
        yield where, "needs `text` or `data`: where the answer stands in an entry"
