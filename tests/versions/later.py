"""A made-up next version of the product: a copy of the packages with one field, one reason and one script more.

In that version a query may have a ``tone``. One that has it takes a nap before it is answered. Answers have a ``mood``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from processes import REPOSITORY

VERSION = 2
_PACKAGES = ("agentic_flywheel", "workers", "producer", "flowise_sandbox")

_NAP = """-- Let a query that has a tone take a nap before it is answered.
--
-- id: text
-- queue: text            base queue in whose delayed set it waits
-- place: text            where it comes back
-- nap_ms: whole
--
--> napping
--> awake                  it had its nap before
--> gone                   the query has ended
local key = record_key(id)
local state, napped = unpack(redis.call('HMGET', key, 'state', 'napped'))
if not state or TERMINAL[state] then promote(id) return reply.gone() end
if napped then return reply.awake() end
redis.call('HSET', key, STEP.napped, 'napped', 1)
emit(id, EVENT.waiting, cjson.encode({reason = REASON.napping}))
delay(id, '', queue, place, now_ms() + nap_ms)
return reply.napping()
"""

#: What the next version changes: by file, a regular expression that matches once, and what is put behind its match.
_ADDED = {
    "agentic_flywheel/models.py": [
        (r"class WaitReason\(enum\.StrEnum\):\n.*\n\n", '    NAPPING = "napping"\n'),
        (r'    client: Slug = "python"\n', "    tone: Slug | None = None\n"),
        (r"class Answer\(Model\):\n.*\n\n    query_id: str\n", '    mood: str = "well rested"\n'),
    ],
    "agentic_flywheel/broker/lifecycle.py": [
        (
            r"STEPS = \(\n",
            '    _step("napped", "it takes a nap", before=_ROUTED, after=State.WAITING, reason=WaitReason.NAPPING,\n'
            "          event=EventKind.WAITING),\n",
        )
    ],
    "workers/answering.py": [
        (
            r"        raise NotServedHere\(profile_named, .*\n",
            "    if version >= 2 and query.tone is not None and not part:\n"
            "        napped = await scripts.nap(\n"
            "            runtime.batch, id=query_id, queue=wire.domain_queue(flow.domain), nap_ms=400,\n"
            "            place=answer_parcel(query_id, query, flow, version=version).place)\n"
            "        if not isinstance(napped, scripts.NapAwake):\n"
            "            return None\n",
        ),
        (
            r"from __future__ import annotations\n",
            "from agentic_flywheel.broker import scripts, wire\n"
            "from agentic_flywheel.broker.messages import answer_parcel\n",
        ),
    ],
}


def write_later(folder: Path) -> Path:
    """Write the next version into a folder, and return the folder."""
    for package in _PACKAGES:
        shutil.copytree(
            REPOSITORY / package, folder / package, copy_function=_copy, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name, additions in _ADDED.items():
        for pattern, added in additions:
            _change(folder / name, pattern, lambda found, added=added: found[0] + added)
    _change(folder / "agentic_flywheel" / "broker" / "wire.py", r"^VERSION = \d+$", lambda _: f"VERSION = {VERSION}")
    (folder / "agentic_flywheel" / "broker" / "lua" / "nap.lua").write_text(_NAP)
    (folder / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "engine.md", folder / "docs")
    subprocess.run(
        [sys.executable, "-m", "agentic_flywheel.broker.generate"],
        env={**os.environ, **environment(folder)},
        check=True,
        capture_output=True,
    )
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return what has a process run the version in a folder."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY / "tests")]), "PYTHONSAFEPATH": "1"}


def _copy(source: str, target: str) -> None:
    """Copy a file; of the large tables of words, which no version changes, make a link."""
    if os.path.getsize(source) > 500_000:
        os.symlink(source, target)
    else:
        shutil.copy(source, target)


def _change(path: Path, pattern: str, changed: object) -> None:
    text, number = re.subn(pattern, changed, path.read_text(), flags=re.MULTILINE)  # type: ignore[call-overload]
    assert number == 1, f"{path}: {pattern} matches {number} times"
    path.write_text(text)
