"""``flywheel flows``: the flows of the registry."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentic_flywheel.addresses import without_secrets
from agentic_flywheel.catalog import Catalog
from agentic_flywheel.errors import InvalidRegistry
from agentic_flywheel.registry import (
    RegistryReading,
    add_flow,
    bundled_registry,
    find_registry,
    load_catalog,
    read_registry,
)
from agentic_flywheel.registry.variables import ELSEWHERE
from agentic_flywheel.secret_values import without_secret_values
from agentic_flywheel.settings import Settings
from agentic_flywheel.stack import stack_settings
from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.flow_import import import_
from producer.cli.lint import lint
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen

if TYPE_CHECKING:
    from agentic_flywheel.backends import FlowReport

flows = options.command_group("List, check, add and import the flows of the registry.")
flows.command()(lint)
flows.command("import")(import_)


@flows.command("list")
def list_(json: options.Json = False) -> None:
    """List the flows, and which registry they come from."""
    screen = Screen(json)
    with screen.reporting():
        catalog = load_catalog(find_registry(stack_settings().registry))
    if json:
        for flow in catalog.flows.values():
            value = flow.model_dump(mode="json")
            value["config"] = without_secret_values(flow.config)
            value["server"] = without_secrets(flow.server) if flow.server else None
            screen.object({**value, "revision": flow.revision, "default": flow.key == catalog.default.key})
        return
    # Where all are in Flowise, there is nothing to say of it.
    others = any(flow.backend != "flowise" for flow in catalog.flows.values())
    screen.table(
        ("flow", *(["backend"] if others else []), "domain", "active", "answers kept", "memory", "what for"),
        [
            (
                flow.key,
                *([flow.backend] if others else []),
                flow.domain,
                "default" if flow.key == catalog.default.key else "yes" if flow.active else ("no", "dim"),
                "not" if flow.cache == "off" else f"{_span(flow.ttl.total_seconds())}, {flow.cache}",
                flow.memory,
                one_line(flow.purpose or flow.description or flow.title, 70),
            )
            for flow in catalog.flows.values()
        ],
    )
    screen.line((f"from {catalog.source}", "dim"))


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


@flows.command("show-bundled")
def show_bundled() -> None:
    """Print the bundled registry: the example to start from, with a comment at each key."""
    sys.stdout.write(bundled_registry().read_text("utf-8"))


@flows.command()
def add(
    key: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="Its name here.")],
    id_: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="UUID", show_default=False, help="The chatflow's id in Flowise; others need none."
        ),
    ] = None,
    domain: Annotated[str | None, typer.Option("--domain", metavar="DOMAIN")] = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="NAME", help="One of the registry's servers, or an address.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="The model, of an OpenAI server.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT")] = None,
    description: Annotated[str | None, typer.Option("--description", metavar="TEXT")] = None,
    keyword: Annotated[list[str] | None, typer.Option("--keyword", metavar="WORD", help="Repeatable.")] = None,
    example: Annotated[list[str] | None, typer.Option("--example", metavar="QUESTION", help="Repeatable.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any other key, such as ttl=1d or memory=history; repeatable."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Add a flow to the registry. Running workers take it over by themselves."""
    screen = Screen(json)
    fields: dict[str, Any] = {
        "key": key,
        "id": id_,
        "name": name,
        "description": description,
        "domain": domain,
        "server": server,
        "model": model,
        "intent_keywords": keyword,
        "examples": example,
        **options.pairs(setting or [], "--set"),
    }
    with screen.reporting():
        given = {field: value for field, value in fields.items() if value}
        written = add_flow(find_registry(stack_settings().registry), given, cwd=Path.cwd())
    if json:
        screen.object({"flow": key, "registry": str(written)})
    else:
        screen.line(f"The flow {key} is in {written}.")


@flows.command()
def check(json: options.Json = False) -> None:
    """Check the registry, then ask each flow's server: is it there, is its key right, what will be ignored."""
    from producer.cli.flow_check import check_flows

    screen = Screen(json)
    with screen.reporting():
        settings = stack_settings()
        path = find_registry(settings.registry)
        reading = read_registry(path)
        _show_reading(screen, path, reading)
        if reading.catalog is None:
            raise typer.Exit(Exit.UNUSABLE)
        if not json and (unasked := _unasked(reading.catalog, settings)):
            screen.note(f"FLOWISE_BASE_URL is not set and no stack runs here: only the registry was checked{unasked}.")
        reports = asyncio.run(check_flows(reading.catalog, settings))
    for report in reports:
        show_report(screen, report)
    if any(report.problems for report in reports):
        raise typer.Exit(Exit.FAILED)


def _unasked(catalog: Catalog, settings: Settings) -> str:
    """Return of which flows no server is known; empty where each has one."""
    names = [flow.key for flow in catalog.active.values() if not (flow.server or settings.flowise_base_url)]
    return f" of {', '.join(names)}" if names else ""


def _show_reading(screen: Screen, path: Path, reading: RegistryReading) -> None:
    if screen.json:
        faults = [{"line": fault.line, "key": fault.key, "reason": fault.reason} for fault in reading.faults]
        warnings = [{"line": each.line, "key": each.key, "text": each.text} for each in reading.warnings]
        unset = [{"line": each.line, "key": each.key, "text": each.fault} for each in reading.variables if each.fault]
        told = {"registry": str(path), "ok": not faults, "faults": faults, "warnings": [*warnings, *unset]}
        screen.object({**told, "cache_unsaid": list(_unsaid_caches(reading))})
        return
    for fault in reading.faults:
        _show_fault(screen, fault)
    for warning in reading.warnings:
        screen.line(("! ", "yellow"), one_line(f"{path}:{warning.line}: {warning.key}: {warning.text}"))
    for each in reading.variables:
        if each.fault:
            screen.line(("! ", "yellow"), one_line(f"{path}:{each.line}: {each.key}: {each.fault}"))
    if not reading.faults:
        screen.line(("✓ ", "green"), f"{path} is acceptable")
    if unsaid := ", ".join(_unsaid_caches(reading)):
        screen.line(
            ("→ ", "cyan"),
            f"{unsaid}: answers are kept for each user apart. Where they are the same for everybody, and the flow does "
            "nothing for the one who asks, say `cache: shared`; else say `cache: owner`.",
        )
    if reading.variables:
        names = ", ".join(sorted({each.name for each in reading.variables}))
        screen.line(("→ ", "cyan"), f"{names}: looked up here alone; {ELSEWHERE}.")


def _unsaid_caches(reading: RegistryReading) -> Iterator[str]:
    """Yield the flows of which nobody said whose their answers are."""
    for flow in reading.catalog.active.values() if reading.catalog else ():
        if "cache" not in flow.model_fields_set:
            yield flow.key


def _show_fault(screen: Screen, fault: InvalidRegistry) -> None:
    screen.line(("✗ ", "bold red"), one_line(f"{fault.path}:{fault.line}: {fault.key}: {fault.reason}"))


def show_report(screen: Screen, report: FlowReport) -> None:
    """Print what its server says about one flow."""
    if screen.json:
        screen.object({**report.model_dump(mode="json"), "ok": not report.problems})
        return
    mark = ("✗ ", "bold red") if report.problems else ("! ", "yellow") if report.remarks else ("✓ ", "green")
    known = [f"key {report.key}"] if report.key != "not known" else []
    known += ["streams" if report.streams else "does not stream"] if report.streams is not None else []
    name = one_line(report.name or "", 60)
    screen.line(mark, (report.flow, "bold"), (f"  {name}" if name else ""), f"  {', '.join(known)}")
    for text in (*report.problems, *report.remarks):
        screen.line("    ", one_line(text))
