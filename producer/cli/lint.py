"""``flywheel flows lint``: report entries of the registry that do not do what their author will expect."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.registry import RegistryReading, find_registry, read_registry
from agentic_flywheel.registry.document import read_document
from agentic_flywheel.registry.places import line_of
from agentic_flywheel.registry.variables import ELSEWHERE
from producer.cli import options
from producer.cli.exits import Exit
from producer.cli.screen import Screen

if TYPE_CHECKING:
    from agentic_flywheel.learning.lint import LintFinding
    from agentic_flywheel.settings import Settings


#: At most so many findings of one kind and level are shown; ``--json`` has them all.
_SHOWN = 20


def lint(json: options.Json = False) -> None:
    """Look for flows that overlap, contradictory or weak examples, keywords that never decide, ignored overrides,
    keys that are not set, and values that were hardly meant.

    It ends with code 1 where a problem was found; a remark may be meant. Which overrides Flowise will ignore is asked
    of Flowise, where one is set or runs here.
    """
    from agentic_flywheel.learning.lint import lint as found_in
    from agentic_flywheel.stack import stack_settings

    screen = Screen(json)
    with screen.reporting():
        settings = stack_settings()
        path = find_registry(settings.registry)
        reading = read_registry(path)
        catalog = reading.catalog_or_raise()
        ignored = asyncio.run(_ignored(catalog, settings))
        findings = [*found_in(catalog), *ignored, *_unset(reading), *_remarks(reading)]
    if json:
        _print(screen, path, findings)
    else:
        _show(screen, path, findings)
        if settings.flowise_base_url is None and not all(each.server for each in catalog.active.values()):
            screen.note(("FLOWISE_BASE_URL is not set and no stack runs here: overrides were not looked at.", "dim"))
        if reading.variables:
            names = ", ".join(sorted({each.name for each in reading.variables}))
            screen.note((f"{names}: looked up here alone; {ELSEWHERE}.", "dim"))
    if any(each.level == "problem" for each in findings):
        raise typer.Exit(Exit.FAILED)


async def _ignored(catalog: Catalog, settings: Settings) -> list[LintFinding]:
    from agentic_flywheel.learning.lint import LintFinding
    from producer.cli.flow_check import check_flows

    return [
        LintFinding(
            kind="ignored_override",
            level="remark",
            flow=report.flow,
            place="config",
            text=", ".join(report.ignored),
            said=f"Flowise ignores the override of {', '.join(report.ignored)}: its flow has to allow it",
        )
        for report in await check_flows(catalog, settings)
        if report.ignored
    ]


def _unset(reading: RegistryReading) -> Iterator[LintFinding]:
    from agentic_flywheel.learning.lint import LintFinding

    for each in reading.variables:
        if each.fault:
            for flow in each.flows:
                said = f"{each.fault}; line {each.line}, {each.key}, names it"
                yield LintFinding(kind="unset_variable", level="remark", flow=flow, text=each.name, said=said)


def _remarks(reading: RegistryReading) -> Iterator[LintFinding]:
    from agentic_flywheel.learning.lint import LintFinding

    for each in reading.warnings:
        yield LintFinding(kind="registry", level="remark", line=each.line, said=f"{each.key}: {each.text}")


def _lines(path: Path, findings: Sequence[LintFinding]) -> list[int]:
    from agentic_flywheel.learning.changes import EXAMPLES, KEYWORDS

    document = read_document(path)
    ways = {KEYWORDS: ("intent_keywords",), EXAMPLES: ("examples",), "config": ("config",), "": ()}
    return [
        each.line
        or (
            line_of(document, each.flow, ways.get(each.place, ("topics", each.place)), each.text)
            if each.kind != "overlap"
            else line_of(document, each.flow)
        )
        for each in findings
    ]


def _print(screen: Screen, path: Path, findings: Sequence[LintFinding]) -> None:
    problems = sum(each.level == "problem" for each in findings)
    screen.object({"registry": str(path), "ok": not problems, "problems": problems, "findings": len(findings)})
    for line, each in zip(_lines(path, findings), findings, strict=True):
        screen.object({**each.model_dump(mode="json"), "line": line})


def _show(screen: Screen, path: Path, findings: Sequence[LintFinding]) -> None:
    found: Counter[tuple[str, str]] = Counter()
    marks = {"problem": ("✗ ", "bold red"), "remark": ("! ", "yellow")}
    for line, each in zip(_lines(path, findings), findings, strict=True):
        found[each.level, each.kind] += 1
        if found[each.level, each.kind] <= _SHOWN:
            screen.line(marks[each.level], f"{path}:{line}: {f'{each.flow}: ' if each.flow else ''}{each.said}")
    for (level, kind), count in found.items():
        if count > _SHOWN:
            screen.line(marks[level], f"{path}: {count - _SHOWN} more of this kind ({kind}): --json has them all")
    if not findings:
        screen.line(("✓ ", "green"), f"{path} has nothing that stands in the way of routing")
