"""What holds for the text of the sources: who imports whom, who reads the environment, what is never in a file."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import REPOSITORY
from shipping.source_tree import circles, imports_of, methods_of, modules_of

from producer.cli.commands import COMMANDS

#: http_gateway -> mcp_bridge -> producer -> agentic_flywheel <- workers, flowise_sandbox
MAY_IMPORT = {
    "agentic_flywheel": {"agentic_flywheel"},
    "workers": {"workers", "agentic_flywheel"},
    "producer": {"producer", "agentic_flywheel"},
    "mcp_bridge": {"mcp_bridge", "producer", "agentic_flywheel"},
    "http_gateway": {"http_gateway", "mcp_bridge", "producer", "agentic_flywheel"},
    "flowise_sandbox": {"flowise_sandbox", "agentic_flywheel"},
}
MODULES = [path for package in MAY_IMPORT for path in sorted((REPOSITORY / package).rglob("*.py"))]
READS_ENVIRONMENT = {"agentic_flywheel/settings.py"}
#: Modules that write files, and say themselves which one cannot be written, or only open them for others.
NAMES_WHAT_IT_WRITES = {
    "agentic_flywheel/access/file.py",
    "agentic_flywheel/broker/generate.py",  # run by whoever changes a script
    "agentic_flywheel/broker/large_files.py",
    "agentic_flywheel/log_files.py",
    "agentic_flywheel/private_files.py",
    "agentic_flywheel/registry/editing.py",
}

#: Modules that write JSON for the broker with escapes, and why. An escape makes a Chinese text twice as long.
MAY_ESCAPE = {
    "workers/ending.py": "an error of a plain client's message may name half a surrogate pair, which UTF-8 cannot hold",
    "workers/outcomes.py": "the same",
    "workers/wishes.py": "what a plain client linked may hold one",
}

#: What starts processes; the command line alone uses it. A client, a bridge or a replay is given addresses.
SUPERVISOR, USES_SUPERVISOR = "producer.stack", "producer.cli"

#: What is run without the command line, or in its place.
PROGRAMS = (
    *(f"{each}.__main__" for each in ("workers", "http_gateway", "mcp_bridge", "flowise_sandbox")),
    "producer.stack.flower",
)

#: Where it stands what to move where.
LIMITS = "docs/architecture.md, Where a limit is reached"
LONGEST_MODULE = 350
MOST_METHODS = 15
#: Modules that may be longer, and why.
MAY_BE_LONGER = {"agentic_flywheel.broker.scripts": "made by a program from the heads of the Lua scripts"}
#: Classes with more methods, and why.
MAY_HAVE_MORE_METHODS = {
    "workers.engine.pool.AsyncIOPool": "ten of them are Celery's interface of a pool",
    "producer.client.AsyncProducer": "the public face of the product",
    "producer.blocking.Producer": "the public face of the product",
}


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imported_by(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported, wherever in the file, also by name at run time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide who imports whom"
            yield node.module or ""
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def reads_environment(tree: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and any(each.name in names for each in node.names))
        for node in ast.walk(tree)
    )


def breaches(rule: Callable[[str, ast.Module], bool]) -> list[str]:
    """Return the modules for which ``rule``, given their name and tree, does not hold."""
    trees = ((relative(path), ast.parse(path.read_text())) for path in MODULES)
    return [name for name, tree in trees if not rule(name, tree)]


def test_packages_import_each_other_only_in_the_agreed_direction() -> None:
    def agreed(name: str, tree: ast.Module) -> bool:
        ours = {imported.split(".")[0] for imported in imported_by(tree)} & set(MAY_IMPORT)
        return ours <= MAY_IMPORT[name.split("/")[0]]

    assert breaches(agreed) == []


def test_only_the_settings_read_the_environment() -> None:
    assert breaches(lambda name, tree: name in READS_ENVIRONMENT or not reads_environment(tree)) == []


def test_what_is_written_to_the_broker_has_no_needless_escapes() -> None:
    def plain(name: str, tree: ast.Module) -> bool:
        return (
            name in MAY_ESCAPE
            or not name.startswith(("workers/", "agentic_flywheel/broker/"))
            or all(
                any(given.arg == "ensure_ascii" for given in node.keywords)
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "json.dumps"
            )
        )

    assert breaches(plain) == []


def looks_for_home(tree: ast.AST) -> bool:
    """Whether a module asks for the home folder itself, which not every user has."""
    return any(
        isinstance(node, ast.Attribute)
        and (node.attr == "expanduser" or (node.attr == "home" and ast.unparse(node.value) == "Path"))
        for node in ast.walk(tree)
    )


def test_only_places_asks_for_the_home_folder() -> None:
    """A user may have none, and what asks for it fails then: one module knows."""
    assert breaches(lambda name, tree: name == "agentic_flywheel/places.py" or not looks_for_home(tree)) == []


def takes_beginnings_of_options(tree: ast.AST) -> bool:
    """Whether a command line takes `--queue` for `--queues`: a new option would change what an old line means."""
    return any(
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("ArgumentParser")
        and all(each.arg != "allow_abbrev" for each in node.keywords)
        for node in ast.walk(tree)
    )


def test_options_are_written_in_full() -> None:
    assert breaches(lambda _, tree: not takes_beginnings_of_options(tree)) == []


def writes_unnamed(tree: ast.AST) -> bool:
    """Whether a module writes into a file outside of ``naming``: where there is no room, the error names no file."""
    if isinstance(tree, ast.With) and any(ast.unparse(each).startswith("naming(") for each in tree.items):
        return False
    if isinstance(tree, ast.Call):
        opens = ast.unparse(tree.func).rpartition(".")[2]
        modes = [each.value for each in tree.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        writing = opens in ("open", "fdopen") and any(re.fullmatch("[rbt+]*[wax][bt+]*", mode) for mode in modes)
        if writing or opens in ("write_text", "write_bytes"):
            return True
    return any(map(writes_unnamed, ast.iter_child_nodes(tree)))


def test_what_cannot_be_written_is_named() -> None:
    assert breaches(lambda name, tree: name in NAMES_WHAT_IT_WRITES or not writes_unnamed(tree)) == []


def test_every_module_says_in_its_docstring_what_it_is_for() -> None:
    assert (
        breaches(lambda _, tree: isinstance(tree, ast.Module) and bool(ast.get_docstring(tree) or not tree.body)) == []
    )


SOURCES = modules_of([*MAY_IMPORT, "benchmarks"])


def test_no_module_imports_another_one_that_imports_it() -> None:
    names = [each.name for each in SOURCES]

    assert circles({each.name: imports_of(each.tree, names) - {each.name} for each in SOURCES}) == []


def test_only_the_command_line_imports_what_starts_processes() -> None:
    supervisor = {each.name for each in SOURCES if f"{each.name}.".startswith(f"{SUPERVISOR}.")}
    users = {each.name for each in SOURCES if imports_of(each.tree, supervisor)}
    allowed = {name for name in users if name.startswith((f"{USES_SUPERVISOR}.", "benchmarks."))}

    assert f"{USES_SUPERVISOR}.up" in allowed
    assert users - supervisor - allowed == set()


def imported_at_once(tree: ast.Module) -> set[str]:
    """Return what a module imports while it is imported itself: not in functions, and not for type checkers."""
    at_once = [each for each in tree.body if isinstance(each, ast.Import | ast.ImportFrom)]
    found = {name for each in at_once for name in imported_by(each)}
    # ``from package import module`` imports the module too.
    return found | {
        f"{each.module}.{one.name}" for each in at_once if isinstance(each, ast.ImportFrom) for one in each.names
    }


def test_no_command_opens_what_a_variable_of_tls_names_before_it_has_read_its_settings() -> None:
    """aiohttp and tornado open it while they are imported, and wait for ever where it is a pipe."""
    imports = {each.name: imported_at_once(each.tree) for each in SOURCES}
    commands = {f"producer.cli.{each.module}" for each in COMMANDS.values()}
    ahead = [*commands, *PROGRAMS]
    met = set[str]()
    while ahead:
        name = ahead.pop()
        packages = {name.rpartition(".")[0]} - {""}
        ahead += (packages | imports.get(name, set())) - met
        met |= packages | imports.get(name, set())

    assert commands <= imports.keys()
    assert {"agentic_flywheel.settings", "celery"} <= met
    assert {name.partition(".")[0] for name in met} & {"aiohttp", "flower", "httpx", "tornado"} == set()


def test_no_module_is_too_long() -> None:
    too_long = {each.name for each in SOURCES if each.lines > LONGEST_MODULE}

    assert too_long == MAY_BE_LONGER.keys(), f"move a subject into a module of its own: {LIMITS}"


def test_no_class_has_too_many_methods() -> None:
    owners = {f"{each.name}.{one.name}": methods_of(one) for each in SOURCES for one in each.classes()}
    too_many = {name for name, methods in owners.items() if methods > MOST_METHODS}

    assert too_many == MAY_HAVE_MORE_METHODS.keys(), f"move a subject into a class of its own: {LIMITS}"


def test_no_two_public_classes_have_the_same_name() -> None:
    places = defaultdict(list)
    for each in SOURCES:
        for one in each.classes():
            if not one.name.startswith("_"):
                places[one.name].append(each.name)

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_circle_of_imports_is_found_wherever_the_imports_stand() -> None:
    hidden = ast.parse("if TYPE_CHECKING:\n    from p.b import B\ndef f():\n    from p import c")
    assert imports_of(hidden, ["p", "p.b", "p.c"]) == {"p.b", "p.c"}
    assert imports_of(ast.parse("from p import name\nimport p.c, other"), ["p", "p.c"]) == {"p", "p.c"}

    ladder = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert circles(ladder) == []
    assert circles(ladder | {"c": {"d"}, "d": {"a"}, "e": {"a"}}) == [["a", "b", "c", "d"]]
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}) == [["a", "b"], ["c", "d"]]


def test_the_rules_would_notice_a_breach() -> None:
    assert list(imported_by(ast.parse("def f():\n    from producer.cli import main\n    import workers.app"))) == [
        "producer.cli",
        "workers.app",
    ]
    assert list(imported_by(ast.parse("importlib.import_module('workers.tasks')"))) == ["workers.tasks"]
    assert reads_environment(ast.parse("import os\nos.getenv('X')"))
    assert reads_environment(ast.parse("from os import environ"))
    assert not reads_environment(ast.parse("import os\nos.kill(1, 2)"))
    assert takes_beginnings_of_options(ast.parse("argparse.ArgumentParser(prog='x')"))
    assert looks_for_home(ast.parse("folder = Path.home() / 'x'"))
    assert looks_for_home(ast.parse("given.expanduser().absolute()"))
    assert not looks_for_home(ast.parse("settings.home.mkdir()"))
    assert writes_unnamed(ast.parse("with open(made, 'w', encoding='utf-8') as file:\n    file.write('')"))
    assert writes_unnamed(ast.parse("path.write_text('')"))
    assert not writes_unnamed(ast.parse("with naming(path), path.open('ab') as file:\n    file.write(b'')"))
    assert not writes_unnamed(ast.parse("open(path, 'rb')"))


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = REPOSITORY / name
        if path.is_file() and path != Path(__file__):
            yield name, path.read_bytes().decode(errors="replace")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<![\w.~$}-])/(?:work|root|farm)/",
        r"(?<![\w.~$}-])/home/(?!<|\$|user\b|you\b)\w+/",
        r"pypi\.org|pythonhosted\.org|registry\.npmjs|artifactory|/simple/",
    ],
    ids=["paths of one machine", "somebody's home", "package registries"],
)
def test_no_tracked_file_names(pattern: str) -> None:
    found = [f"{name}: {match[0]}" for name, text in tracked_texts() for match in re.finditer(pattern, text)]

    # Flowise's image keeps its data in this folder.
    assert [each for each in found if not each.startswith("compose.yaml: /root/")] == []
