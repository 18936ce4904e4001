"""Forms: checked at every entrance against the registry, by the worker against the server, part of what is the same."""

from __future__ import annotations

import json
import re
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest
import typer
from celery import Celery

from agentic_flywheel.broker.persistence import front_digest, generate_cache_key
from agentic_flywheel.catalog import Catalog, Flow, FormField
from agentic_flywheel.errors import FlywheelError, FormRefused, InvalidQuery
from agentic_flywheel.forms import fitted
from agentic_flywheel.models import Query
from agentic_flywheel.profiles import Briefing
from pipeline.house import House
from producer import AsyncProducer, Producer
from producer.cli import options
from workers.context import compose

EXPENSES = "00000000-0000-4000-8000-00000000000a"
UNDECLARED = "00000000-0000-4000-8000-00000000000b"


def filled_in(**changes: Any) -> dict[str, Any]:
    return {"employee": f"Kari {uuid.uuid4().hex[:8]}", "amount": 12.5, "kind": "meal", **changes}


def sent_of(house: House, form: dict[str, Any]) -> dict[str, Any]:
    with urllib.request.urlopen(f"{house.flowise_url}/sandbox/calls", timeout=30) as response:
        recent = json.load(response)["recent"]
    (call,) = [each for each in recent if each.get("form", {}).get("employee") == form["employee"]]
    return dict(call)


async def test_a_form_is_sent_in_place_of_a_question(producer: AsyncProducer, house: House) -> None:
    form = filled_in(urgent=True)

    answer = await producer.ask(form=form, flow="expenses", session_id=f"s-{uuid.uuid4().hex}", wait=20)

    sent = sent_of(house, form)
    assert sent["form"] == form
    assert "question" not in sent
    assert answer.text == f"form: {form['employee']}, 12.5, meal, True"
    (turn,) = await producer.history(answer.session_id or "")
    assert turn.question == f"employee: {form['employee']}\namount: 12.5\nkind: meal\nurgent: true"


async def test_numbers_and_truths_that_were_written_as_texts_are_sent_as_such(
    producer: AsyncProducer, house: House
) -> None:
    form = filled_in(amount="7", urgent="True")

    await producer.ask(form=form, flow="expenses", wait=20)

    assert sent_of(house, form)["form"] == {**form, "amount": 7, "urgent": True}


async def test_the_same_form_is_answered_from_the_cache_in_whatever_order_it_is_filled_in(
    producer: AsyncProducer,
) -> None:
    form = filled_in()

    first = await producer.ask(form=form, flow="expenses", wait=20)
    again = await producer.ask(form=dict(reversed(form.items())), flow="expenses", wait=20)
    other = await producer.ask(form=form | {"amount": 13}, flow="expenses", wait=20)

    assert (first.cached, again.cached, other.cached) == (False, True, False)


def test_two_forms_that_read_alike_are_not_the_same_one() -> None:
    flow, one, two = Flow(key="f", id="f", domain="d"), {"a": "1\nb: 2"}, {"a": "1", "b": "2"}
    catalog = Catalog(flows={"f": flow})

    queries = [Query.model_validate({"form": form, "flow": "f"}) for form in (one, two)]

    assert queries[0].question == queries[1].question
    keys = {generate_cache_key(each.question, flow, form=each.form) for each in queries}
    fronts = {front_digest(each, catalog) for each in queries}
    assert (len(keys), len(fronts)) == (2, 2)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"form": {}, "question": "What may I spend?"}, "begins with a form"),
    ({"form": filled_in(question="hm")}, "no field 'question'"),
    ({"form": filled_in(emploee="x")}, "did you mean 'employee'"),
    ({"form": {"employee": "Kari", "kind": "meal"}}, "missing: `amount` (number)"),
    ({"form": filled_in(employee="")}, "missing: `employee` (string)"),
    ({"form": filled_in(kind="bribe")}, "one of travel, meal"),
    ({"form": filled_in(amount="much")}, "should be a number"),
    ({"form": filled_in(urgent="soon")}, "true or false"),
    ({"form": filled_in(amount=[1])}, "a text, a number, true or false"),
    ({"form": filled_in(employee=b"Kari")}, "form.employee: it should be a text, a number, true or false"),
    ({"form": [1]}, "form: it should be an object"),
    ({"form": filled_in(), "question": "And why?"}, "a form or a question, not both"),
    ({"form": filled_in(employee="x" * 32_001)}, "form: as a text it has 32,"),
]


@pytest.mark.parametrize(("given", "why"), UNFIT, ids=[why for _, why in UNFIT])
async def test_an_unfit_form_is_refused_before_it_is_queued(
    producer: AsyncProducer, given: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidQuery) as refused:
        await producer.submit(**given, flow="expenses")
    (of_many,) = await producer.submit_many([given.get("question", "")], form=given["form"], flow="expenses")

    assert why in refused.value.message
    assert isinstance(of_many, InvalidQuery)
    assert why in of_many.message


async def test_a_form_names_its_flow(producer: AsyncProducer) -> None:
    with pytest.raises(InvalidQuery, match="name that flow"):
        await producer.submit(form=filled_in())


def test_a_plain_celery_clients_form_is_checked_too(house: House) -> None:
    app = Celery(broker=house.broker.url, backend=house.broker.url)
    asked = {"form": filled_in(), "flow": "expenses"}
    try:
        answer = app.send_task("flywheel.classify", args=[asked], queue="classify").get(timeout=20)
        unfit = {**asked, "form": {"employee": "Kari"}}
        with pytest.raises(Exception, match="what it needs is missing"):
            app.send_task("flywheel.classify", args=[unfit], queue="classify").get(timeout=20)
        with pytest.raises(Exception, match="name that flow"):
            app.send_task("flywheel.classify", args=[{"form": filled_in()}], queue="classify").get(timeout=20)
    finally:
        app.close()

    assert answer["text"].startswith("form: Kari")


async def failure_of(producer: AsyncProducer, **fields: Any) -> FlywheelError:
    with pytest.raises(FlywheelError) as failed:
        await producer.ask(**fields, wait=20)
    return failed.value


async def test_a_worker_checks_a_form_that_the_registry_does_not_describe_against_the_server(
    producer: AsyncProducer, house: House
) -> None:
    house.build(UNDECLARED, style="form", form=[{"name": "size", "type": "number"}])

    unknown = await failure_of(producer, form={"colour": "red", "size": 3}, flow="undeclared")
    missing = await failure_of(producer, form={"colour": "red"}, flow="undeclared")
    fits = await producer.ask(form={"size": "3"}, flow="undeclared", wait=20)

    assert isinstance(unknown, FormRefused)
    assert "no field 'colour'" in unknown.message
    assert isinstance(missing, FormRefused)
    assert fits.text == "form: 3"


#: Names of fields as people give them in Flowise's editor.
NAMES = (
    *(
        "a=b",
        "=",
        "two words",
        "-x",
        "--form",
        '"quoted"',
        "it's",
        "{colour}",
        "{",
        "farge på bil",
        "色",
        "الاسم",
        "🎨",
    ),
    *("a.b", "a[0]", "$x", "%s", "__proto__", "null", "back\\slash", "semi;colon", "#", "@x", "a,b", "x" * 1_000),
)


#: A name with one of these is written as JSON.
_QUOTED = set('={"')


async def test_every_field_that_a_server_may_have_can_be_filled_in(producer: AsyncProducer, house: House) -> None:
    house.build(UNDECLARED, style="form", form=[{"name": each} for each in ("employee", *NAMES)])
    form = {"employee": f"Kari {uuid.uuid4().hex}"} | {each: f"{at}=" for at, each in enumerate(NAMES)}
    written = [f"{name if not set(name) & _QUOTED else json.dumps(name)}={form[name]}" for name in form]
    assert options.filled_in(written) == form

    await producer.ask(form=options.filled_in(written), flow="undeclared", wait=20)
    assert sent_of(house, form)["form"] == form

    # As a registry has them, and alone: what begins with a brace is JSON.
    fields = tuple(FormField(name=name) for name in form)
    assert fitted(Query.model_validate({"form": form, "flow": "f"}).form, fields) == form
    assert all(options.filled_in([f"{json.dumps(name)}={value}"]) == {name: value} for name, value in form.items())


async def test_a_form_that_was_changed_on_the_server_since_is_taken_at_once(
    producer: AsyncProducer, house: House
) -> None:
    house.build(UNDECLARED, style="form", form=[{"name": "size", "type": "number"}])
    refused = await failure_of(producer, form={"height": 3}, flow="undeclared")
    house.build(UNDECLARED, style="form", form=[{"name": "height", "type": "number"}])

    answer = await producer.ask(form={"height": 4}, flow="undeclared", wait=20)

    assert isinstance(refused, FormRefused)
    assert answer.text == "form: 4"


async def test_a_form_for_a_flow_that_begins_with_none_is_refused_by_the_worker(producer: AsyncProducer) -> None:
    refused = await failure_of(producer, form={"size": 3}, flow="technical-analysis")

    assert isinstance(refused, FormRefused)
    assert "no form" in refused.message


async def test_a_question_never_finds_its_way_to_a_flow_with_a_form(producer: AsyncProducer) -> None:
    answer = await producer.ask(f"My expenses form for a meal and travel {uuid.uuid4().hex}", wait=20)

    assert answer.flow != "expenses"


def test_a_query_with_a_form_can_be_asked_again_as_it_is(house: House) -> None:
    query = Query.model_validate({"form": filled_in(), "flow": "expenses"})

    with Producer(house.settings) as producer:
        first = producer.ask(query, wait=20)
        again = producer.ask(producer.status(first.query_id).query, cache="bypass", wait=20)

    assert again.text == first.text


def test_a_form_is_written_on_the_command_line_by_field_or_as_json() -> None:
    assert options.filled_in(["name=Kari", "zip=01067"]) == {"name": "Kari", "zip": "01067"}
    assert options.filled_in(['{"name": "Kari", "count": 2}']) == {"name": "Kari", "count": 2}
    for wrong in ("name", "=Kari", '{"name": '):
        with pytest.raises(typer.BadParameter):
            options.filled_in([wrong])


def test_where_a_profile_cannot_be_told_the_answer_says_so() -> None:
    told = Briefing(profile="p", kind="general", text="secret", confidential=True, digest="d")
    query = Query.model_validate({"form": {"name": "Kari"}, "flow": "f"})
    flow = Flow(key="f", id="f", domain="d")

    untold = compose(query, flow, [], told)
    by_vars = compose(query, flow.model_copy(update={"injection": "vars"}), [], told)

    assert "not told" in untold.warnings[0]
    assert (untold.carried, untold.private) == ({}, True)
    assert by_vars.warnings == ()
    assert "secret" in str(by_vars.carried)


@pytest.mark.parametrize("given", [["n=a", "n=b"], ["n=a", "n=a"], ['{"n": 1, "n": 2}']])
def test_a_field_that_is_given_twice_on_the_command_line_is_refused(given: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match="'n' is given twice"):
        options.filled_in(given)


def test_fields_that_are_given_once_on_the_command_line_are_taken() -> None:
    assert options.filled_in(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    assert options.filled_in(['{"a": 9007199254740993}']) == {"a": 9007199254740993}


def test_what_to_do_about_a_refused_field_is_about_that_field() -> None:
    headings = (Path(__file__).parents[2] / "docs" / "uploads.md").read_text().splitlines()
    for field, advice in InvalidQuery.of_field.items():
        assert InvalidQuery(f"{field}.name", "x").recovery_suggestions[1] == advice
        for named in re.findall(r"under (\w+)", advice):
            assert f"## {named}" in headings
    assert "32,000" in InvalidQuery("question", "x").recovery_suggestions[1]
    # What is said of a question is said of no other field.
    assert "32,000" not in "".join(InvalidQuery("decision", "x").recovery_suggestions)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"vars": "Oslo"}, "config.vars: it should be an object of variables"),
        ({"vars.city": "Oslo"}, 'config: a variable stands in `vars`: {"vars": {"city": …}}'),
    ],
)
async def test_variables_that_no_flow_could_be_given_are_refused(
    producer: AsyncProducer, config: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidQuery, match=re.escape(why)):
        await producer.submit("What is the weather?", flow="technical-analysis", config=config)
