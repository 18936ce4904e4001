"""Write what is made from the scripts' heads and the table of steps: ``python -m agentic_flywheel.broker.generate``.

Makes Python's side of the border (``scripts.py``, ``transport_scripts.py``) and the marked parts of
``docs/engine.md``. A test says whether all of it is current.
"""

from __future__ import annotations

from collections.abc import Iterable

from agentic_flywheel.broker.assembly import InvalidDeclaration
from agentic_flywheel.broker.declaration import scripts_in
from agentic_flywheel.broker.lifecycle import OPEN, STEPS
from agentic_flywheel.broker.wrappers import MODULES, PACKAGE, module
from agentic_flywheel.models import TERMINAL, State

DOCUMENT = PACKAGE.parent.parent / "docs" / "engine.md"


def document(text: str) -> str:
    """Return ``docs/engine.md`` with its marked parts made anew. Raises InvalidDeclaration where a mark is missing."""
    for name, made in (("scripts", _scripts()), ("picture", _picture()), ("steps", _steps())):
        before, opening, rest = text.partition(f"<!-- {name}: made by agentic_flywheel.broker.generate -->\n")
        _, closing, after = rest.partition(f"<!-- end of {name} -->")
        if not (opening and closing):
            raise InvalidDeclaration(f"the document has no part that is marked as {name}")
        text = f"{before}{opening}{made}{closing}{after}"
    return text


def main() -> None:
    """Write all of it."""
    for folder, path in MODULES.items():
        path.write_text(module(folder))
    DOCUMENT.write_text(document(DOCUMENT.read_text()))


def _scripts() -> str:
    rows = ["| Script | What it does | Replies |", "|---|---|---|"]
    for folder in MODULES:
        for script in scripts_in(folder):
            replies = ", ".join(f"`{reply.name}`" for reply in script.replies)
            rows.append(f"| `{script.path}` | {script.summary} | {replies} |")
    return "\n".join([*rows, ""])


def _picture() -> str:
    labels: dict[tuple[str, str], list[str]] = {}
    choices: list[str] = []
    for step in STEPS:
        if step.ends and len(step.after) > 1:
            # All arrows of such a step pass through one point, which has its name.
            choices.append(f"state {step.name} <<choice>>")
            choices += [f"{before} --> {step.name}" for before in sorted(step.before)]
            choices += [f"{step.name} --> {after}" for after in sorted(step.after)]
            continue
        for after in sorted(step.after):
            for before in sorted(map(str, step.before)) or ["[*]"]:
                if before != after:
                    labels.setdefault((before, after), []).append(step.name)
    lines = [f"{before} --> {after}: {', '.join(names)}" for (before, after), names in labels.items()]
    lines += [*choices, *(f"{state} --> [*]" for state in State if state.terminal)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```", ""])


def _steps() -> str:
    rows = ["| Step | From | To | Reason | Event | When |", "|---|---|---|---|---|---|"]
    for step in STEPS:
        before = "not known" if not step.before else "any open state" if step.before == OPEN else _list(step.before)
        after = "any final state" if step.after == TERMINAL else _list(step.after)
        reasons = _list(step.reasons or ())
        rows.append(f"| `{step.name}` | {before} | {after} | {reasons} | {step.event or ''} | {step.meaning} |")
    return "\n".join([*rows, ""])


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


if __name__ == "__main__":
    main()
