"""``flywheel flows import``: what a registry should say of the flows of a Flowise server, shown and then written."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr

from agentic_flywheel.addresses import checked_address, holds_login, without_secrets
from agentic_flywheel.backends import ListedFlow
from agentic_flywheel.errors import InvalidSetting
from agentic_flywheel.registry import bundled_registry, find_registry, import_flows, load_catalog
from agentic_flywheel.settings import Settings, flow_key, load_settings, usual_server
from producer.cli import options
from producer.cli.safe_text import one_line
from producer.cli.screen import Screen

_LISTS_NONE = "The server lists no flow to take: write its flows into the registry, or use `flywheel flows add`."

if TYPE_CHECKING:
    from agentic_flywheel.catalog import Catalog
    from agentic_flywheel.registry.importing import FlowProposal
    from agentic_flywheel.servers import FlowServer

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", show_default=False, help="Flowise's address; else FLOWISE_BASE_URL."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        show_default=False,
        help="An API key that may view chatflows; `-` reads it from stdin. Else FLOWISE_API_KEY.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="NAME", show_default=False, help="One of the registry's `servers`, in place of `--url`."
    ),
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select", metavar="NAME", help="Only flows of this name or id; `*` stands for any text. Repeatable."
    ),
]
Domain = Annotated[
    str | None,
    typer.Option("--domain", metavar="DOMAIN", help="The domain of all new flows; else each has one of its own."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Write without asking.")]

#: Models that are named where some have to be chosen.
_NAMED = 20
#: Characters of what a server says of a flow, and names of overrides, that are shown.
_SHOWN = 200
_MARKS = {
    "add": ("+ ", "bold green"),
    "update": ("~ ", "bold yellow"),
    "skip": ("! ", "yellow"),
    "none": ("= ", "dim"),
    "gone": ("✗ ", "bold red"),
}


@dataclass(frozen=True)
class Import:
    """What an import would write, and where."""

    path: Path
    url: str
    proposals: list[FlowProposal]
    #: That of the registry which was compared; None: there is none but the bundled one.
    revision: str | None

    @property
    def added(self) -> dict[str, dict[str, Any]]:
        return {each.key: each.fields for each in self.proposals if each.change == "add"}

    @property
    def changed(self) -> dict[str, dict[str, Any]]:
        return {each.key: each.fields for each in self.proposals if each.change == "update"}

    @property
    def takes_questions(self) -> bool:
        """Whether a question could go to some flow of the registry: one that takes none at all is no registry."""
        new = self.added.values()
        return self.revision is not None or any(each.get("active", True) and not each.get("form") for each in new)


def import_(
    url: Url = None,
    server: Server = None,
    key: Key = None,
    select: Select = None,
    domain: Domain = None,
    yes: Yes = False,
    json: options.Json = False,
) -> None:
    """Take the flows of a Flowise server into the registry: show what would change, then write it.

    A flow is recognised by its id, and nothing that you have written is overwritten but its name. Without `--yes` you
    are asked; where nobody can be asked, nothing is written. With `--server` it may be a server of another kind, such
    as an OpenAI-compatible one: `--select` then says which of its models become flows.
    """
    from agentic_flywheel.stack import stack_settings

    screen = Screen(json)
    with screen.reporting():
        if server is not None:
            carry_out(screen, named_import(stack_settings(), server, url, key, select or [], domain), yes=yes)
            return
        settings = server_settings(stack_settings(), url, key)
        found = read_import(settings, select or [], domain)
        written = carry_out(screen, found, yes=yes)
        if written and load_settings().flowise_base_url is None:
            screen.note(f"Workers ask the Flowise that FLOWISE_BASE_URL names: set it to {found.url}.")


def server_settings(settings: Settings, url: str | None, key: str | None) -> Settings:
    """Return the settings with the address and the key that were given. Raises InvalidSetting, BadParameter."""
    given: dict[str, Any] = {}
    if url is not None:
        try:
            given["flowise_base_url"] = checked_address(url)
        except ValueError as refused:
            raise InvalidSetting("FLOWISE_BASE_URL", str(refused)) from None
    if key is not None:
        given["flowise_api_key"] = _given_key(key)
    settings = settings.model_copy(update=given)
    address = settings.flowise_base_url
    if address is None:
        raise InvalidSetting("FLOWISE_BASE_URL", "it is not set and no stack runs here: give `--url`")
    if settings.flowise_api_key and holds_login(address):
        raise InvalidSetting(
            "FLOWISE_BASE_URL",
            "it holds a user and a password, and with an API key both would be the Authorization header",
        )
    return settings


def _given_key(key: str) -> SecretStr | None:
    secret = sys.stdin.readline().strip() if key == "-" else key
    return SecretStr(secret) if secret else None


def named_import(
    settings: Settings, name: str, url: str | None, key: str | None, select: list[str], domain: str | None
) -> Import:
    """Compare the flows of a server of the registry with it. Raises what asking the server and reading it raise."""
    from agentic_flywheel.registry.gone import gone, unlisted, without_known
    from agentic_flywheel.registry.importing_models import chosen, model_proposals
    from producer.cli.server_flows import models_of

    if url is not None:
        raise typer.BadParameter("the server has its address in the registry.", param_hint="--url")
    _checked(domain)
    path = find_registry(settings.registry)
    catalog = load_catalog(path)
    server = catalog.servers.get(name)
    if server is None:
        there = ", ".join(catalog.servers) or "none"
        raise typer.BadParameter(
            f"the registry has no server {one_line(name, 60)!r}; it has: {there}.", param_hint="--server"
        )
    usual = settings.flowise_api_key if server.backend == "flowise" else None
    api_key = _given_key(key) if key is not None else flow_key(server.api_key_env, usual)
    if server.backend == "flowise":
        proposed = _compared(catalog, server, api_key, select, name=name, domain=domain)
        return Import(path, without_secrets(server.address), proposed, catalog.revision)
    listed = asyncio.run(models_of(server, api_key))
    if not select and listed:
        names = ", ".join(one_line(each.id, 60) for each in listed[:_NAMED])
        more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
        raise typer.BadParameter(f"say which of its models become flows: {names}{more}.", param_hint="--select")
    ours = [flow for flow in catalog.flows.values() if flow.server == server.address]
    # A server that lists nothing says nothing of them: it may answer for models that it does not list.
    missing = unlisted(ours, [each.id for each in listed], select) if listed else []
    models, unknown = chosen(listed, select)
    _known(without_known(unknown, missing), lists=bool(listed))
    proposed = [*model_proposals(catalog, models, server=name, domain=domain), *map(gone, missing)]
    return Import(path, without_secrets(server.address), proposed, catalog.revision)


def _checked(domain: str | None) -> None:
    from agentic_flywheel.registry.importing import is_slug

    if domain is not None and not is_slug(domain):
        raise typer.BadParameter(f"{options.shown(domain)} is no name of a domain.", param_hint="--domain")


def _compared(
    catalog: Catalog | None,
    server: FlowServer,
    api_key: SecretStr | None,
    select: list[str],
    *,
    name: str | None = None,
    domain: str | None,
) -> list[FlowProposal]:
    """Return what becomes of the flows of a Flowise, and which of the registry's flows there it has no more."""
    from agentic_flywheel.registry.gone import gone, unlisted, without_known
    from agentic_flywheel.registry.importing import flows_at, proposals, selected
    from producer.cli.server_flows import flows_of, gone_of

    url, base = server.address, load_settings().flowise_base_url
    listed = asyncio.run(flows_of(server, api_key))
    missing = unlisted(flows_at(catalog, url=url, base=base), [each.flow.id for each in listed], select)
    found, unknown = selected(listed, select)
    _known(without_known(unknown, missing), lists=bool(listed))
    left = asyncio.run(gone_of(server, missing)) if missing else []
    return [*proposals(catalog, found, url=url, base=base, name=name, domain=domain), *map(gone, left)]


def _known(unknown: list[str], *, lists: bool) -> None:
    if unknown and not lists:
        raise typer.BadParameter(_LISTS_NONE, param_hint="--select")
    if unknown:
        raise typer.BadParameter(
            f"the server has no flow of the name or id {', '.join(one_line(each, 60) for each in unknown)}.",
            param_hint="--select",
        )


def read_import(settings: Settings, select: list[str], domain: str | None) -> Import:
    """Compare a server's flows with the registry in force. Raises what asking the server and reading it raise."""
    _checked(domain)
    path = find_registry(settings.registry)
    catalog = None if path == bundled_registry() else load_catalog(path)
    url = settings.flowise_base_url or ""
    found = _compared(catalog, usual_server(settings), settings.flowise_api_key, select, domain=domain)
    if holds_login(url) and any("server" in each.fields for each in found):
        reason = "it holds a user and a password, which a registry's `server` must not: set FLOWISE_BASE_URL to it"
        raise InvalidSetting("--url", reason)
    return Import(path, without_secrets(url), found, catalog.revision if catalog else None)


def carry_out(screen: Screen, found: Import, *, yes: bool) -> bool:
    """Show an import and write it, where there is something to write and it is wanted. Returns whether it is written.

    Raises InvalidRegistry.
    """
    for each in found.proposals:
        _show(screen, each)
    same, gone = (sum(each.change == change for each in found.proposals) for change in ("none", "gone"))
    there = bool(found.added or found.changed)
    if there and not found.takes_questions:
        screen.note("A registry needs an active flow that questions can go to, and none of these is one.")
    wanted = there and found.takes_questions
    target, written = found.path, False
    if wanted and (yes or _confirmed(screen, found)):
        head = (
            f"# Flows of {one_line(found.url)}, written by `flywheel flows import`. docs/registry.md tells every key."
        )
        target = import_flows(
            found.path, found.added, found.changed, head=head, cwd=Path.cwd(), revision=found.revision
        )
        written = True
    if screen.json:
        told = {"kind": "summary", "server": found.url, "registry": str(target), "written": written}
        screen.object({**told, "added": len(found.added), "updated": len(found.changed), "same": same, "gone": gone})
        return written
    left = f", {gone} gone from the server" if gone else ""
    what = f"{len(found.added)} new, {len(found.changed)} changed, {same} as they are{left}"
    if written:
        screen.line(("✓ ", "green"), f"{what}: written to {target}")
    elif there:
        screen.line(
            f"{what}. Nothing was written", "; `--yes` writes it" if wanted and not sys.stdin.isatty() else "", "."
        )
    elif gone:
        screen.line(f"{what}. There is nothing to write.")
    else:
        screen.line(f"The registry {target} has these flows already." if same else _LISTS_NONE)
    return written


def _confirmed(screen: Screen, found: Import) -> bool:
    if screen.json or not sys.stdin.isatty():
        return False
    place = "a new registry" if found.revision is None else str(found.path)
    return typer.confirm(f"Write this to {place}?", default=True)


def _show(screen: Screen, proposal: FlowProposal) -> None:
    listed = proposal.listed
    if isinstance(listed, ListedFlow):
        _show_model(screen, proposal, listed)
        return
    flow = listed.flow
    if screen.json:
        told = {"flow": proposal.key or None, "id": flow.id[:_SHOWN], "name": flow.name[:_SHOWN]}
        screen.object(
            {
                **told,
                "change": proposal.change,
                "fields": proposal.fields,
                "before": proposal.before,
                "notes": list(proposal.notes),
                "type": flow.kind[:_SHOWN],
                "streams": listed.streams,
                "keyed": flow.keyed,
                "overridable": [each[:_SHOWN] for each in flow.overridable[:_SHOWN]],
            }
        )
        return
    facts = [
        one_line(flow.kind.lower(), 20),
        "streams" if listed.streams else "",
        "needs a key" if flow.keyed else "",
    ]
    names = ", ".join(flow.overridable[:_SHOWN])
    facts += [f"honours {one_line(names, 100)}" if names else "honours no overrides"]
    _show_lines(screen, proposal, flow.id, ", ".join(filter(None, facts)))


def _show_model(screen: Screen, proposal: FlowProposal, model: ListedFlow) -> None:
    if not screen.json:
        _show_lines(screen, proposal, model.id, "")
        return
    told = {"flow": proposal.key or None, "id": model.id[:_SHOWN], "name": model.name[:_SHOWN]}
    said = {"fields": proposal.fields, "before": proposal.before, "notes": list(proposal.notes)}
    screen.object({**told, "change": proposal.change, **said})


def _show_lines(screen: Screen, proposal: FlowProposal, id_: str, facts: str) -> None:
    name = proposal.key or one_line(id_, 60)
    screen.line(_MARKS[proposal.change], (name, "bold"), (f"  {facts}" if facts else "", "dim"))
    for field, value in proposal.fields.items():
        before = f"{_value(proposal.before[field])} → " if field in proposal.before else ""
        screen.line(f"    {field}: {before}{_value(value)}")
    for note in proposal.notes:
        screen.line(("    ! ", "yellow"), note)


def _value(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 100)
